"""Budgets as people write them on a command line: ``latency=40ms``, ``params=5M``, ``size=2MB``, ``params=60%``, ``MB=3..5``.

A name says its unit (``latency_ms``, ``energy_mj``), and a limit may be in another of the same kind: it is converted. Nothing here
needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

_KIBI = Decimal(1024)
_TEN = Decimal(10)
# Kinds of units, each by what one of it is of the first.
_UNITS: dict[str, dict[str, Decimal]] = {
    "time": {"s": Decimal(1), "ms": _TEN**-3, "us": _TEN**-6, "ns": _TEN**-9},
    "energy": {"j": Decimal(1), "mj": _TEN**-3, "uj": _TEN**-6},
    "memory": {"b": Decimal(1), "bytes": Decimal(1)}
    | {f"{letter}b": _TEN ** (3 * power) for power, letter in enumerate("kmgt", 1)}
    | {f"{letter}ib": _KIBI**power for power, letter in enumerate("kmgt", 1)},
}
_MANY = {"k": _TEN**3, "K": _TEN**3, "M": _TEN**6, "G": _TEN**9, "B": _TEN**9, "T": _TEN**12}
_IN_BYTES = ("size", "memory")
_OTHERWISE = {"parameters": "params", "multiply-adds": "macs", "mult_adds": "macs"}
_FORM = re.compile(r"\s*(?P<number>[-+]?[\d._]+(?:[eE][-+]?\d+)?|[-+]?inf|nan)\s*(?P<unit>[A-Za-zµμ]*|%)\s*", re.IGNORECASE)


def read_amount(text: str, name: str) -> float:
    """A number as people write it, in the unit that ``name`` says.

    Example:
        >>> read_amount("40ms", "latency_ms"), read_amount("2.5 ms", "latency_us"), read_amount("5M", "params")
        (40.0, 2500.0, 5000000.0)

    Raises:
        ValueError: no number, or a unit that does not suit the name.
    """
    found = _FORM.fullmatch(text)
    try:
        number = Decimal(found["number"]) if found else None
    except InvalidOperation:
        number = None
    if found is None or number is None:
        raise ValueError(f"expected a number after the '=', got {text.strip()!r} (40, 5e6, 5M and 40ms are some)")
    unit = found["unit"].replace("µ", "u").replace("μ", "u")
    return float(number * _times(unit, name)) if number.is_finite() else float(number)


def read_limit(text: str, name: str) -> float | str:
    """:func:`read_amount`, or a share of the largest: ``"60%"``, as it is.

    Raises:
        ValueError: as of :func:`read_amount`, or a share that is none.
    """
    if not text.strip().endswith("%"):
        return read_amount(text, name)
    share = read_amount(text.strip()[:-1], "")
    if not share > 0:
        raise ValueError(f"expected a share above 0 %, got {text.strip()}")
    return f"{share:.15g}%"


def read_budgets(given: Sequence[str], known: Collection[str] = (), what: str = "NAME", flag: str = "--budget") -> dict[str, Any]:
    """Limits by name, of texts ``NAME=LIMIT``: numbers in the name's unit, shares as ``"60%"``, and pairs of ``LOWER..UPPER``.

    Args:
        given: as typed; a name may hold ``=`` itself.
        known: names there are; ``latency`` is found among them as ``latency_ms``. Any name will do where there are none.
        what, flag: for messages.

    Example:
        >>> read_budgets(["latency=40ms", "params=60%", "size=..2MB"], ("latency_ms", "params", "size"))
        {'latency_ms': 40.0, 'params': '60%', 'size': (None, 2000000.0)}

    Raises:
        ValueError: no ``NAME=LIMIT``, an unknown name (with the nearest there is) or one given twice, or a limit that is no number.
    """
    found: dict[str, Any] = {}
    for text in given:
        typed, equals, limit = (part.strip() for part in text.rpartition("="))
        if not equals or not typed:
            raise ValueError(f"{flag} {text}: expected {what}=LIMIT, for example latency_ms=40 or params=5M")
        try:
            name = name_among(typed, known, what.lower()) if known else typed
            bounds = _bounds(limit, name)
        except ValueError as error:
            raise ValueError(f"{flag} {text}: {error}") from error
        if name in found:
            raise ValueError(f"{flag} {text}: {what.lower()} {name!r} has a budget already")
        found[name] = bounds
    return found


def name_among(typed: str, known: Collection[str], what: str = "name") -> str:
    """The one of ``known`` that is meant: itself, without its unit (``latency``), or by another word (``parameters``).

    Raises:
        ValueError: there is none, or several; with the nearest.
    """
    name = _OTHERWISE.get(typed, typed)
    if name in known:
        return name
    meant = [each for each in known if each.rpartition("_")[0] == name and _kind_of(each)]
    if len(meant) == 1:
        return meant[0]
    if name.lower() in ("flops", "flop") and "macs" in known:
        raise ValueError("multiply-adds are counted here, not FLOPs: say macs=LIMIT with half as many")
    near = [each for each in known if each.endswith(f"_{name}")] or get_close_matches(name, list(known), 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    raise ValueError(f"no {what} {typed!r}; {hint}")


def _bounds(limit: str, name: str) -> Any:
    if ".." not in limit:
        return read_limit(limit, name)
    ends = [end.strip() for end in limit.split("..")]
    if len(ends) != 2 or not any(ends):
        raise ValueError(f"expected one limit, or LOWER..UPPER, got {limit!r}")
    return tuple(read_limit(end, name) if end else None for end in ends)


def _kind_of(name: str) -> tuple[str, Decimal] | None:
    """The kind of unit that a name says, and what one of its units is of the kind's first; None for counts and unknown words."""
    last = name.lower().rpartition("_")[2]
    if last in _IN_BYTES:
        return "memory", Decimal(1)
    return next(((kind, units[last]) for kind, units in _UNITS.items() if last in units), None)


def _times(unit: str, name: str) -> Decimal:
    """By what to multiply a number in ``unit`` to have it as ``name`` says."""
    own = _kind_of(name)
    if not unit:
        return Decimal(1)
    if own is None:
        if unit in _MANY:
            return _MANY[unit]
        said = f"{name!r} names no unit" if name else "a share has none"
        raise ValueError(f"{said}, so {unit!r} cannot be converted: give a plain number, or K, M, G")
    kind, one = own
    units = _UNITS[kind]
    if kind == "memory" and unit.lower() in ("k", "m", "g", "t"):
        unit += "B"
    if unit.lower() in units:
        return units[unit.lower()] / one
    if unit in _MANY:
        return _MANY[unit]
    raise ValueError(f"{name!r} is a {kind}, in {', '.join(units)}; got {unit!r}")
