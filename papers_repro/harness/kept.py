"""What a folder kept of an earlier run of a script, and whether a new run may go on from there.

A script started again goes on where the options are the same. Where they are not it says which differ, and the user decides:
``--resume`` uses what still applies (every kept piece is checked by itself), ``--no-resume`` starts over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from graphs.files import read_json, save_json, shortened
from papers_repro.harness.rows import plain, versions

# What decides no result, only where and by how many processes it is computed.
_ELSEWHERE = ("out", "resume", "processes", "workers", "data_root")
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
    path, resume = folder / f".{name}.options.json", _field(options, "resume")
    known = {package: number for package, number in versions().items() if package in _DECIDING}
    now = {"options": _deciding(options), "versions": known}
    goes_on = bool(resume) and path.exists()
    if goes_on and not insist:
        before = read_json(path, "options of a script")
        differing = _differences(before if isinstance(before, dict) else {}, plain(now))
        if differing:
            more = f"; and {len(differing) - 4} more" if len(differing) > 4 else ""
            raise ValueError(
                f"{folder} holds results of other options: {'; '.join(differing[:4])}{more}. Start over with --no-resume, which "
                "removes them, use what still applies with --resume, or give another --out"
            )
    save_json(plain(now), path)
    return goes_on


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
