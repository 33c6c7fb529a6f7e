"""What a data set holds, in a few words that change whenever its images or labels do: no work on other data is taken up.

Paths are no part of it: a folder that was moved is the same data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Up to here files are read whole, in about a second; of larger sets names, sizes and times are taken.
_READ_WHOLE = 256 * 2**20


def files_identity(root: Path | str, paths: Iterable[Path | str]) -> dict[str, Any]:
    """Number and bytes of the files under ``root``, and a hash: of names and contents, or of names, sizes and times where they have
    more than 256 MiB together.

    Raises:
        OSError: a file cannot be read.
    """
    files = sorted(Path(path) for path in paths)
    facts = [path.stat() for path in files]
    total = sum(fact.st_size for fact in facts)
    digest = hashlib.sha256()
    for path, fact in zip(files, facts, strict=True):
        name = path.relative_to(root).as_posix()
        if total > _READ_WHOLE:
            digest.update(f"{name} {fact.st_size} {fact.st_mtime_ns}\n".encode())
        else:
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    kind = "names and times" if total > _READ_WHOLE else "content"
    return {"files": len(files), "bytes": total, kind: digest.hexdigest()[:24]}
