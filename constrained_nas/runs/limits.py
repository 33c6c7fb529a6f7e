"""Limits as they are typed on a command line: ``--budget NAME=LIMIT``, several times, each name once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def parse_limits(given: Sequence[str], what: str = "NAME") -> dict[str, float]:
    """Limits by name, of ``("latency_ms=40", "params=5e6")``; a name may hold ``=`` itself.

    Args:
        what: what the name is of, for messages.

    Raises:
        ValueError: no ``NAME=LIMIT``, a name given twice, or a limit that is no number.
    """
    return {name: _number(limit, given[at]) for at, (name, limit) in enumerate(_named(given, what).items())}


def parse_bounds(given: Sequence[str], what: str = "NAME") -> dict[str, Any]:
    """Budgets as ``solvers.project_to_budget`` takes them: also ``"MB=60%"`` and, from both sides, ``"MB=3..5"``, ``"MB=3.."``.

    Raises:
        ValueError: as of :func:`parse_limits`.
    """
    found: dict[str, Any] = {}
    for at, (name, text) in enumerate(_named(given, what).items()):
        ends = [end.strip() for end in text.split("..")] if ".." in text else ["", text.strip()]
        if len(ends) > 2 or not any(ends):
            raise ValueError(f"--budget {given[at]}: expected one limit, or LOWER..UPPER, got {text!r}")
        lower, upper = ((end if end.endswith("%") else _number(end, given[at])) if end else None for end in ends)
        found[name] = upper if ".." not in text else (lower, upper)
    return found


def _named(given: Sequence[str], what: str) -> dict[str, str]:
    limits: dict[str, str] = {}
    for text in given:
        name, equals, limit = text.rpartition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"--budget {text}: expected {what}=LIMIT, for example latency_ms=40")
        if name in limits:
            raise ValueError(f"--budget {text}: {what.lower()} {name!r} has a budget already")
        limits[name] = limit
    return limits


def _number(limit: str, text: str) -> float:
    try:
        return float(limit)
    except ValueError as error:
        raise ValueError(f"--budget {text}: expected a number after the '=', got {limit!r}") from error
