"""What a folder kept of an earlier run of a script, and whether a new run may go on from there.

A script started again goes on where the options are the same. Where they are not it says which differ, and the user decides:
``--resume`` uses what still applies (every kept piece is checked by itself), ``--no-resume`` starts over. Scripts that have nothing
to go on from take any options; what they had written under others is set aside first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import count
from pathlib import Path
from typing import Any

from graphs.files import read_json, save_json, shortened
from papers_repro.harness.rows import plain, versions

# What decides no result, only where and by how many processes it is computed.
_ELSEWHERE = ("out", "resume", "processes", "workers", "data_root")
_KINDS = (".json", ".png")  # of what every script writes
_DECIDING = ("constrained-nas", "torch", "numpy")


def check_kept(folder: Path, name: str, options: object, insist: bool) -> bool:
    """Compare the options with those that ``folder`` was written with, and note them; whether the run goes on from what is there.

    Args:
        folder: of the results.
        name: of the script: several may share a folder.
        options: a dataclass, with a field ``resume`` in it or in one of its parts; without one there is nothing to resume.
        insist: go on although options differ, from whatever still applies.

    Raises:
        ValueError: other options than before; names them and says what to do.
    """
    path, resume = _file(folder, name), _field(options, "resume")
    goes_on = bool(resume) and path.exists()
    if goes_on and not insist and (differing := _differing(folder, name, options)):
        raise ValueError(
            f"{folder} holds results of other options: {differing}. Start over with --no-resume, which "
            "removes them, use what still applies with --resume, or give another --out"
        )
    save_json(_stated(options), path)
    return goes_on


def set_aside(folder: Path, name: str, options: object) -> str | None:
    """Give what a script wrote under other options, which nothing else refuses, names of its own; a sentence that says which.

    None where there is nothing to set aside.
    """
    record = folder / f"{name}.json"
    if _field(options, "resume") or not (_file(folder, name).exists() and record.exists()):
        return None
    if not (differing := _differing(folder, name, options)):
        return None
    number = next(n for n in count(1) if not any((folder / f"{name}-{n}{kind}").exists() for kind in _KINDS))
    for kind in _KINDS:
        if (folder / f"{name}{kind}").exists():
            (folder / f"{name}{kind}").rename(folder / f"{name}-{number}{kind}")
    return f"what was found under other options ({differing}) is now in {folder / f'{name}-{number}.json'}"


def _file(folder: Path, name: str) -> Path:
    return folder / f".{name}.options.json"


def _stated(options: object) -> Any:
    known = {package: number for package, number in versions().items() if package in _DECIDING}
    return plain({"options": _deciding(options), "versions": known})


def _differing(folder: Path, name: str, options: object) -> str:
    """How the options differ from those that the folder was written with, in words; empty where they do not."""
    before = read_json(_file(folder, name), "options of a script")
    differing = _differences(before if isinstance(before, dict) else {}, _stated(options))
    return "; ".join(differing[:4]) + (f"; and {len(differing) - 4} more" if len(differing) > 4 else "")


def _deciding(options: Any) -> dict[str, Any]:
    return {
        field.name: _deciding(value) if is_dataclass(value) else str(value) if isinstance(value, Path) else value
        for field in fields(options)
        if field.name not in _ELSEWHERE
        for value in (getattr(options, field.name),)
    }


def _field(options: Any, name: str) -> Any:
    """The first field of that name in a dataclass or in its parts; None where there is none."""
    if hasattr(options, name):
        return getattr(options, name)
    parts = (getattr(options, field.name) for field in fields(options))
    return next((found for part in parts if is_dataclass(part) and (found := _field(part, name)) is not None), None)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    told = []
    for name in sorted({*before, *now}):
        was, value = before.get(name), now.get(name)
        if isinstance(was, Mapping) and isinstance(value, Mapping):
            told += _differences(was, value, prefix if name in ("options", "versions") else f"{prefix}{name}.")
        elif was != value:
            told.append(f"{prefix}{name} {shortened(str(was), 80)}, now {shortened(str(value), 80)}")
    return told
