"""Pictures of every page of the built book, light and dark, wide and as narrow as a telephone: to be looked at before a release.

python docs/screenshots.py docs/_build/html /tmp/pages            # needs chromium
python docs/screenshots.py docs/_build/html /tmp/pages files.html ten_minutes.html
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_LONGEST = 6_000  # pixels of a page that are shown
_SHAPES = {"wide": 1400, "narrow": 400}


def pages_of(site: Path) -> list[str]:
    """The pages that people read: not the sources, the index, or the reference room by room."""
    left_out = ("_modules", "_static", "_sources", "reference/api", "genindex", "search", "py-modindex")
    found = (path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    return sorted(name for name in found if not name.startswith(left_out))


def take(browser: str, site: Path, name: str, picture: Path, width: int, dark: bool) -> None:
    """One picture of a page, inside a frame of that width: a window of its own has a least width."""
    frame = f'<iframe src="{(site / name).resolve().as_uri()}" style="width:{width}px;height:{_LONGEST}px;border:0"></iframe>'
    with tempfile.TemporaryDirectory() as made:
        page = Path(made) / "frame.html"
        page.write_text(f'<body style="margin:0">{frame}</body>')
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={picture}"]
        options += [f"--window-size={width},{_LONGEST}", "--virtual-time-budget=4000"]
        options += ["--blink-settings=preferredColorScheme=0"] if dark else []
        subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True, timeout=120)


def main() -> None:
    """Write a picture for every page, width and style."""
    site, out, *names = sys.argv[1:]
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"no browser: install one of {', '.join(_BROWSERS)}")
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in names or pages_of(Path(site)):
        for shape, width in _SHAPES.items():
            for dark in (False, True):
                picture = Path(out) / f"{name.removesuffix('.html').replace('/', '_')}_{shape}_{'dark' if dark else 'light'}.png"
                take(browser, Path(site), name, picture.resolve(), width, dark)
                print(picture)


if __name__ == "__main__":
    main()
