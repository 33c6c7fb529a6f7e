"""Limits as they are typed on a command line: ``--budget NAME=LIMIT``, several times, each name once."""

from __future__ import annotations

from collections.abc import Sequence


def parse_limits(given: Sequence[str], what: str = "NAME") -> dict[str, float]:
    """Limits by name, of ``("latency_ms=40", "params=5e6")``; a name may hold ``=`` itself.

    Args:
        what: what the name is of, for messages.

    Raises:
        ValueError: no ``NAME=LIMIT``, a name given twice, or a limit that is no number.
    """
    limits: dict[str, float] = {}
    for text in given:
        name, equals, limit = text.rpartition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"--budget {text}: expected {what}=LIMIT, for example latency_ms=40")
        if name in limits:
            raise ValueError(f"--budget {text}: {what.lower()} {name!r} has a budget already")
        try:
            limits[name] = float(limit)
        except ValueError as error:
            raise ValueError(f"--budget {text}: expected a number after the '=', got {limit!r}") from error
    return limits
