"""Conditions beyond one option a group within limits from above, as a program that knows only those.

Linked groups are merged: each option of the merged group is one option of all, and its scores and costs are their sums. A bound
from below turns into a limit from above on what a selection spends less than the costliest would: ``sum (greatest - cost) <=
sum greatest - floor``. "a forbids b" is a budget of 1 in which both cost 1; "a needs b" forbids a beside every other option of b's
group.

Costs written in decimals are counted in whole units, so all this is exact. Where measured costs round, the program is widened by as
much: it holds every selection that fits, and maybe some that miss a bound by rounding, which whoever solves it leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets import BudgetedKnapsack
from solvers.knapsack import exact_sum, whole_units
from solvers.results import InfeasibleError
from solvers.tables import ROUND_OFF, ScoreTable


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What selections must keep beside their budgets, in positions of the flat table.

    Attributes:
        leader: (n,) for each option the same option of the first group it is linked with; itself where its group is not linked.
        clashes: pairs of an option and the options it cannot stand beside.
        links, needs, forbids: as they were given.
    """

    leader: IntArray
    clashes: tuple[tuple[int, IntArray], ...]
    links: tuple[Any, ...] = ()
    needs: tuple[Any, ...] = ()
    forbids: tuple[Any, ...] = ()

    @classmethod
    def read(cls, table: ScoreTable, links: Any, needs: Any, forbids: Any) -> Rules:
        """The rules in positions of the table; see ``solvers.project_to_budget`` for what may be given.

        Raises:
            ValueError: an unknown group or option, linked groups whose options differ, or a rule that is not a pair of options.
        """
        leader = np.arange(len(table.scores))
        for members in _classes(table, links or ()):
            first, end = table.offsets[members[0]], table.offsets[members[0] + 1]
            for member in members[1:]:
                positions = range(int(table.offsets[member]), int(table.offsets[member + 1]))
                what = f"links: {table.group_label(members[0])} and {table.group_label(member)}"
                if table.options is None:
                    if len(positions) != end - first:
                        raise ValueError(
                            f"{what} have {end - first} and {len(positions)} options, linked groups as many as one another"
                        )
                    leader[positions] = np.arange(first, end)
                    continue
                where = {name: int(first) + k for k, name in enumerate(table.options[first:end])}
                names = [table.options[position] for position in positions]
                if set(names) != set(where):
                    differing = sorted(set(names) ^ set(where), key=repr)
                    raise ValueError(f"{what} have different options: {differing!r} only in one of them")
                leader[positions] = [where[name] for name in names]
        clashes = []
        for label, pairs in (("needs", needs or ()), ("forbids", forbids or ())):
            for pair in pairs:
                one, other = _pair(table, pair, label)
                group = int(np.searchsorted(table.offsets, other, side="right")) - 1
                rest = np.arange(table.offsets[group], table.offsets[group + 1])
                clashes.append((one, rest[rest != other] if label == "needs" else np.array([other])))
        return cls(leader, tuple(clashes), tuple(links or ()), tuple(needs or ()), tuple(forbids or ()))

    @property
    def given(self) -> tuple[Any, Any, Any]:
        """Links, needs and forbids as :meth:`read` takes them."""
        return self.links, self.needs, self.forbids

    def broken(self, flat: IntArray, table: ScoreTable) -> str | None:
        """The first rule that the options ``flat`` break, in words; None if they keep all."""
        groups = np.searchsorted(table.offsets, self.leader[flat], side="right") - 1
        for group, (option, first) in enumerate(zip(self.leader[flat].tolist(), groups.tolist(), strict=True)):
            if option != flat[first]:
                return f"{table.group_label(group)} and {table.group_label(first)} are linked but take different options"
        chosen = set(flat.tolist())
        for one, others in self.clashes:
            if one in chosen and (hit := chosen.intersection(others.tolist())):
                return f"{table.option_label(one)} cannot stand beside {table.option_label(hit.pop())}"
        return None


@dataclass(frozen=True, slots=True, eq=False)
class ConstrainedProgram:
    """A program that holds a table's budgets and rules.

    Attributes:
        program: options are those of merged groups.
        owner: (n,) which option of the program each of the table belongs to; -1 where it can be in no selection.
        rows: of each row of the program, the table's budget and 1.0 for its limit, -1.0 for its floor; (-1, 0.0) for a rule.
        exact: nothing was rounded, so the program holds the selections that fit and no others.
    """

    program: BudgetedKnapsack
    owner: IntArray
    rows: tuple[tuple[int, float], ...]
    exact: bool
    table: ScoreTable

    def asked(self, least: Sequence[float]) -> list[str]:
        """Every bound in words, with how far it could be met alone; ``least`` are the least costs of the program's rows."""
        words = []
        for (row, sign), low, limit in zip(self.rows, least, self.program.budgets.tolist(), strict=True):
            if sign > 0.0:
                words.append(
                    f"{self.table.budget_label(row)} {float(self.table.budgets[row])} (least {self.table.stated(row, low)})"
                )
            elif sign < 0.0 and self.table.floors is not None:
                floor = float(self.table.floors[row])
                most = floor + self.table.stated(row, limit - low)
                words.append(f"{self.table.budget_label(row)} at least {floor} (greatest {most})")
        rules = len(self.rows) - len(words)
        return words + [f"{rules} needs and forbids"] * bool(rules)

    def expand(self, choices: IntArray) -> IntArray:
        """The options of the table, one a group, that the options ``choices`` of the program stand for."""
        chosen = np.zeros(len(self.program.values) + 1, dtype=bool)
        chosen[choices] = True  # the last entry is for -1
        return np.flatnonzero(chosen[self.owner])

    def net_duals(self, duals: FloatArray, budgets: int) -> FloatArray:
        """(budgets,) one multiplier a budget: that of its limit less that of its floor."""
        net = np.zeros(budgets)
        for dual, (row, sign) in zip(duals.tolist(), self.rows, strict=True):
            if sign:
                net[row] += sign * dual
        return net


def constrained_program(table: ScoreTable, rules: Rules, *, minimize: bool) -> ConstrainedProgram:
    """The program of a table under its budgets, floors and rules.

    Raises:
        InfeasibleError: every option of a group is forbidden, or a bound cannot be met by itself; it names the bound.
    """
    count = len(table.scores)
    leader = rules.leader
    alive = np.ones(count, dtype=bool)
    alive[leader[~table.allowed()]] = False
    alive &= leader == np.arange(count)
    groups = np.arange(len(table.offsets) - 1)
    leaders = np.searchsorted(table.offsets, leader[table.offsets[:-1]], side="right") - 1 == groups
    kept = np.flatnonzero(alive)
    cuts = np.searchsorted(kept, table.offsets)
    sizes = np.diff(cuts)[leaders]
    if not sizes.all():
        group = int(np.flatnonzero(leaders)[np.argmin(sizes)])
        hint = " or of one it is linked with" if rules.links else ""
        raise InfeasibleError(f"{table.group_label(group)}: every option of it{hint} is forbidden (an infinite cost or score)")
    owner = np.where(alive[leader], (np.cumsum(alive) - 1)[leader], -1)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    merge = _Merger(owner, len(kept))
    values = merge.sums(-table.scores if minimize else table.scores, toward=1.0)  # rounded up: a bound stays one
    costs: list[FloatArray] = []
    limits: list[float] = []
    rows: list[tuple[int, float]] = []
    spans = np.repeat(groups, np.diff(table.offsets))
    for row, upper in enumerate(table.budgets.tolist()):
        floor = -math.inf if table.floors is None else float(table.floors[row])
        whole = (places := table.places[row]) is not None
        units, limit, below = (whole_units(np.asarray(numbers), places or 0) for numbers in (table.costs[row], upper, floor))
        if upper < math.inf:
            costs.append(merge.costs(units, whole=whole))
            limits.append(_attainable(float(limit), costs[-1], offsets, table, row))
            rows.append((row, 1.0))
        if floor > -math.inf:
            greatest = np.maximum.reduceat(np.where(owner < 0, -np.inf, units), table.offsets[:-1])
            costs.append(merge.costs(greatest[spans], -units, whole=whole))
            terms = [*greatest.tolist(), -float(below)]
            # A selection whose cost rounds to its floor may be half an ulp below it.
            merge.exact = merge.exact and whole
            room = math.fsum(terms) if whole else math.nextafter(math.fsum([*terms, math.ulp(floor)]), math.inf)
            limits.append(_attainable(room, costs[-1], offsets, table, row, exact_sum(greatest)))
            rows.append((row, -1.0))
    if not rows:
        costs, limits, rows = [merge.costs(table.costs[0])], [math.inf], [(0, 1.0)]
    for one, others in rules.clashes:
        clash = np.zeros(len(kept) + 1)
        clash[owner[one]] += 1.0
        clash[owner[others]] += 1.0
        costs.append(clash[:-1])
        limits.append(1.0)
        rows.append((-1, 0.0))
    program = BudgetedKnapsack(values, np.array(costs), np.array(limits), offsets)
    return ConstrainedProgram(program, owner, tuple(rows), merge.exact, table)


class _Merger:
    """Sums over the options that are one option of the program."""

    def __init__(self, owner: IntArray, size: int) -> None:
        self.live = np.flatnonzero(owner >= 0)
        self.owner, self.size = owner[self.live], size
        self.alone = len(self.live) == size
        self.exact = True

    def costs(self, *parts: FloatArray, whole: bool = False) -> FloatArray:
        """(size,) summed costs, rounded down where they are no floats."""
        if whole or (self.alone and len(parts) == 1):
            return self._plain(parts)
        sums = self.sums(*parts, toward=-1.0)
        self.exact = self.exact and bool((sums == self.sums(*parts, toward=1.0)).all())
        return sums

    def sums(self, *parts: FloatArray, toward: float) -> FloatArray:
        """(size,) sums rounded up (``toward`` 1.0) or down (-1.0)."""
        if self.alone and len(parts) == 1:
            return self._plain(parts)
        sums = self._plain(parts)
        several = np.bincount(self.owner, minlength=self.size)[self.owner] * len(parts) > 1
        terms: dict[int, list[float]] = {}
        for part in parts:
            for option, number in zip(self.owner[several].tolist(), part[self.live[several]].tolist(), strict=True):
                terms.setdefault(option, []).append(number)
        for option, each in terms.items():
            sums[option] = _directed(each, toward)
        return sums

    def _plain(self, parts: Sequence[FloatArray]) -> FloatArray:
        return np.bincount(self.owner, np.sum([part[self.live] for part in parts], axis=0), self.size).astype(np.float64)


def _directed(terms: Sequence[float], toward: float) -> float:
    """The sum of ``terms``, rounded up or down where it is no float."""
    total = math.fsum(terms)
    missed = math.fsum([*terms, -total])
    return math.nextafter(total, toward * math.inf) if missed * toward > 0.0 else total


def _attainable(
    limit: float, costs: FloatArray, offsets: IntArray, table: ScoreTable, row: int, greatest: float | None = None
) -> float:
    """``limit``, or the least cost there is where it is missed by rounding (1e-12 relative).

    Args:
        greatest: for a floor, what the costliest selection costs; the costs are then what each option falls short of it.

    Raises:
        InfeasibleError: it is missed by more.
    """
    least = exact_sum(np.minimum.reduceat(costs, offsets[:-1]))
    if least <= limit:
        return limit
    if greatest is None:
        upper, cost = float(table.budgets[row]), table.stated(row, least)
        if cost > upper * (1.0 + ROUND_OFF):
            raise InfeasibleError(f"nothing fits: {table.budget_label(row)} is {upper!r}, the least possible cost is {cost!r}")
        return least
    floor, cost = float(table.floors[row]) if table.floors is not None else -math.inf, table.stated(row, greatest - least)
    if cost < floor - abs(floor) * ROUND_OFF:
        what = f"{table.budget_label(row)} must be at least {floor!r}, the greatest possible sum is {cost!r}"
        raise InfeasibleError(f"nothing fits: {what}")
    return least


def _classes(table: ScoreTable, links: Iterable[Any]) -> list[list[int]]:
    """Groups that are linked, directly or through others: ascending in each class."""
    root = list(range(len(table.offsets) - 1))

    def top(group: int) -> int:
        while root[group] != group:
            group = root[group]
        return group

    known = {name: place for place, name in enumerate(table.groups or ())}  # thousands of links: no search for each
    for link in links:
        if isinstance(link, str) or not hasattr(link, "__len__") or len(link) < 2:
            raise ValueError(f"links: expected tuples of two or more groups, got {link!r}")
        named = [known.get(group) if isinstance(group, str) else None for group in link]
        places = [table.group_index(group, "links") if at is None else at for group, at in zip(link, named, strict=True)]
        members = [top(place) for place in places]
        for member in members:
            root[member] = min(members)
    classes: dict[int, list[int]] = {}
    for group in range(len(root)):
        classes.setdefault(top(group), []).append(group)
    return [members for members in classes.values() if len(members) > 1]


def _pair(table: ScoreTable, pair: Any, label: str) -> tuple[int, int]:
    """Flat positions of the two options of a rule, which are of different groups."""
    wanted = f"{label}: expected pairs of options, ((group, option), (group, option)), got {pair!r}"
    try:
        (first, one), (second, other) = pair
    except (TypeError, ValueError) as error:
        raise ValueError(wanted) from error
    if table.group_index(first, label) == table.group_index(second, label):
        raise ValueError(f"{label}: both options of {pair!r} are of one group, of which only one is chosen anyway")
    return table.position(first, one, label), table.position(second, other, label)
