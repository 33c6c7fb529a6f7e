"""What a choice of bit widths needs beside the choice: links and pins by pattern, and the choices that it is set against."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

import numpy as np

from constrained_nas.selections.table import SelectionTable

Links = Sequence[tuple[str, ...]]


def linked(groups: Iterable[str], patterns: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups that take one option: those that a pattern finds with the same captures, or all that it finds if it captures nothing.

    Raises:
        ValueError: a pattern that is no regular expression, or finds fewer than two groups.

    Example:
        >>> linked(["b0.q", "b0.k", "b1.q", "b1.k", "head"], [r"(b[0-9]+)[.](?:q|k)"])
        [('b0.q', 'b0.k'), ('b1.q', 'b1.k')]
    """
    names, found = list(groups), []
    for pattern in patterns:
        sets: dict[tuple[str | None, ...], list[str]] = {}
        for name, match in _matches(names, pattern, "--link"):
            sets.setdefault(match.groups(), []).append(name)
        several = [tuple(members) for members in sets.values() if len(members) > 1]
        if not several:
            raise ValueError(f"--link {pattern}: finds no two groups to link; there are {', '.join(names[:4])} ...")
        found += several
    return found


def pinned(table: SelectionTable, pins: Sequence[str]) -> SelectionTable:
    """The table with the groups that ``PATTERN=OPTION`` finds held to that option.

    Raises:
        ValueError: a pin without ``=``, one that finds no group, or an option that a group does not have.
    """
    scores = {group: dict(options) for group, options in table.scores.items()}
    for pin in pins:
        pattern, equals, option = pin.rpartition("=")
        if not equals:
            raise ValueError(f"--pin {pin}: expected PATTERN=OPTION")
        names = [name for name, _ in _matches(list(scores), pattern, "--pin")]
        if not names:
            raise ValueError(f"--pin {pin}: finds no group; there are {', '.join(list(scores)[:4])} ...")
        for name in names:
            if option not in scores[name]:
                raise ValueError(f"--pin {pin}: group {name!r} has no option {option!r}; it has {', '.join(scores[name])}")
            scores[name] = {option: scores[name][option]}
    costs = {
        cost: {group: {option: each[group][option] for option in options} for group, options in scores.items()}
        for cost, each in table.costs.items()
    }
    return replace(table, scores=scores, costs=costs)


def score_of(table: SelectionTable, choices: Mapping[str, str]) -> float:
    """The summed score of a selection."""
    return math.fsum(table.scores[group][option] for group, option in choices.items())


def costs_of(table: SelectionTable, choices: Mapping[str, str]) -> dict[str, float]:
    """The summed costs of a selection."""
    return {name: math.fsum(each[group][option] for group, option in choices.items()) for name, each in table.costs.items()}


def uniform_selections(table: SelectionTable) -> dict[str, dict[str, str]]:
    """One option for every group that offers it, by the option's name; a group of one option keeps that.

    Options that some group lacks, though it has others, are left out.
    """
    free = [options for options in table.scores.values() if len(options) > 1] or list(table.scores.values())
    shared = [option for option in free[0] if all(option in options for options in free)]
    return {
        option: {group: option if option in options else next(iter(options)) for group, options in table.scores.items()}
        for option in shared
    }


def greedy_selection(table: SelectionTable, budgets: Mapping[str, float], links: Links = ()) -> dict[str, str] | None:
    """The least losses first; then, until all budgets are kept, the change that adds least loss for each share of budget saved.

    What most tools do. None if no change is left that saves anything.
    """
    tied = {group for link in links for group in link}
    units = [*links, *((group,) for group in table.scores if group not in tied)]
    options = [[o for o in table.scores[unit[0]] if all(o in table.scores[group] for group in unit)] for unit in units]
    width = max(map(len, options))
    losses, costs = np.full((len(units), width), np.inf), {name: np.full((len(units), width), np.inf) for name in budgets}
    for row, (unit, offered) in enumerate(zip(units, options, strict=True)):
        for column, option in enumerate(offered):
            losses[row, column] = math.fsum(table.scores[group][option] for group in unit)
            for name, cost in costs.items():
                cost[row, column] = math.fsum(table.costs[name][group][option] for group in unit)
    shares = np.sum([cost / budgets[name] for name, cost in costs.items()], axis=0)
    picks = losses.argmin(1).tolist()

    def cheapest(row: int) -> tuple[float, int]:
        """The price of a unit's best change from its pick, and that change's place in the table."""
        saved = shares[row, picks[row]] - shares[row]
        price = np.where(saved > 0, (losses[row] - losses[row, picks[row]]) / np.where(saved > 0, saved, 1.0), np.inf)
        best = int(price.argmin())
        return float(price[best]), row * width + best

    spent = {name: [float(cost[row, pick]) for row, pick in enumerate(picks)] for name, cost in costs.items()}
    over = {name: math.fsum(each) - budgets[name] for name, each in spent.items()}
    waiting = [cheapest(row) for row in range(len(units))]
    heapify(waiting)  # a unit has one change there: a change touches no other unit's prices
    while any(left > 0 for left in over.values()):
        price, place = heappop(waiting)
        if not math.isfinite(price):
            return None
        row, picks[place // width] = place // width, place % width
        heappush(waiting, cheapest(row))
        for name, each in spent.items():
            before, each[row] = each[row], float(costs[name][row, picks[row]])
            over[name] += each[row] - before
            if abs(over[name]) <= 1e-9 * budgets[name]:  # what rounding may have added up to: exact near the limit
                over[name] = math.fsum(each) - budgets[name]
    chosen = {group: offered[pick] for unit, offered, pick in zip(units, options, picks, strict=True) for group in unit}
    return {group: chosen[group] for group in table.scores}


def _matches(names: Sequence[str], pattern: str, flag: str) -> list[tuple[str, re.Match[str]]]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{flag} {pattern}: not a regular expression: {error}") from error
    return [(name, match) for name in names if (match := compiled.fullmatch(name))]
