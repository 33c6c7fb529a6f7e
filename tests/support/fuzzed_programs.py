"""Random selections under budgets of every kind that has gone wrong somewhere, and what is right for each, in exact fractions."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from support.references import as_written

from solvers import InfeasibleError, SolverError, Status, project_to_budget

KINDS = ("uniform", "ties", "decimals", "magnitudes", "extreme", "offset", "sentinels", "ulps", "masked", "repeated")
_WITHIN_REACH = 1e-12  # a budget below its least cost by so much is met by the cheapest selection, as ``project_to_budget`` says
_EXACT = 1e-9


@dataclass(frozen=True)
class FuzzedProgram:
    """Scores and costs (ragged, one array a group), budgets, and the least that every allowed selection costs and is worth."""

    kind: str
    seed: int
    scores: list[np.ndarray]
    costs: list[list[np.ndarray]]
    budgets: list[float]

    def arguments(self) -> tuple:
        """As ``project_to_budget`` takes them."""
        if len(self.budgets) == 1:
            return self.scores, self.costs[0], self.budgets[0]
        return self.scores, dict(enumerate(self.costs)), dict(enumerate(self.budgets))


@dataclass
class Findings:
    """How often a program was solved, and every broken promise as a line of text."""

    solved: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, program: FuzzedProgram, how: str, what: str) -> None:
        self.faults.append(f"{program.kind} seed {program.seed} {how}: {what}")


def draw(kind: str, seed: int) -> FuzzedProgram:
    """The program of a kind and a seed."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    groups, m = int(rng.integers(1, 5)), int(rng.choice([1, 1, 2, 2, 3, 5]))
    sizes = rng.integers(1, 5, groups)
    if kind == "repeated":
        sizes = np.full(groups, 3)
    cuts = np.cumsum(sizes)[:-1]
    n = int(sizes.sum())
    scores, costs = rng.random(n), rng.random((m, n))
    if kind == "ties":
        scores, costs = rng.integers(-2, 4, n).astype(float), rng.integers(0, 4, (m, n)).astype(float)
    elif kind == "decimals":
        scores, costs = np.round(scores, 2), np.round(costs, int(rng.integers(1, 4)))
    elif kind == "magnitudes":
        costs = costs * 10.0 ** rng.integers(-3, 7, (m, n))
    elif kind == "extreme":
        scores = rng.choice([-1.0, 1.0], n) * scores * 10.0 ** rng.integers(-300, 298, n)
        costs = costs * 10.0 ** rng.integers(-300, 298, (m, n))
    elif kind == "offset":
        scores = scores + 1e9
    elif kind == "sentinels":
        scores = np.where(rng.random(n) < 0.3, rng.choice([-1.0, 1.0]) * 10.0 ** rng.integers(6, 14), scores)
    elif kind == "ulps":
        costs = 1e15 + np.round(costs, 1)
    elif kind == "repeated":
        scores, costs = np.tile(scores[:3], groups), np.tile(costs[:, :3], groups)
    if kind == "masked" or rng.random() < 0.1:
        scores = np.where(rng.random(n) < 0.2, -np.inf, scores)
        costs = np.where(rng.random((m, n)) < 0.1, np.inf, costs)
    parts = np.split(scores, cuts)
    tables = [np.split(row, cuts) for row in costs]
    pick = [int(rng.integers(k)) for k in sizes]
    budgets = []
    for table in tables:
        spent = math.fsum(row[o] for row, o in zip(table, pick, strict=True))
        least = math.fsum(float(row.min()) for row in table)
        most = math.fsum(float(row[np.isfinite(row)].max(initial=0.0)) for row in table)
        choices = [spent, spent, round(spent, 2) if spent < 1e9 else spent, least, math.inf, 0.0, 1.5 * spent]
        choices += [least + share * (most - least) for share in rng.random(3)] if math.isfinite(least) else []
        budget = float(choices[int(rng.integers(len(choices)))])
        budgets.append(budget if not math.isnan(budget) else math.inf)
    return FuzzedProgram(kind, seed, parts, tables, budgets)


def selections(program: FuzzedProgram) -> Iterator[tuple[tuple[int, ...], Fraction, bool, bool]]:
    """Every allowed selection, its exact worth, whether it fits, and whether it does with budgets raised to what is in reach."""
    written = [as_written(table, budget) for table, budget in zip(program.costs, program.budgets, strict=True)]
    worth = [[Fraction(x) if math.isfinite(x) else None for x in row.tolist()] for row in program.scores]
    picks = [
        pick
        for pick in itertools.product(*(range(len(row)) for row in program.scores))
        if all(worth[g][o] is not None for g, o in enumerate(pick))
        and all(math.isfinite(table[g][o]) for table in program.costs for g, o in enumerate(pick))
    ]
    spent = [[math.fsum(table[g][o] for g, o in enumerate(pick)) for table, _, _ in written] for pick in picks]
    least = []
    for table, limit, _ in written:
        allowed = [
            [
                c
                for o, c in enumerate(row.tolist())
                if worth[g][o] is not None and all(math.isfinite(t[g][o]) for t in program.costs)
            ]
            for g, row in enumerate(table)
        ]
        least.append(math.fsum(min(row) for row in allowed) if all(allowed) else limit)
    limits = [limit for _, limit, _ in written]
    reach = [max(limit, low) if low <= limit * (1 + _WITHIN_REACH) else limit for limit, low in zip(limits, least, strict=True)]
    for pick, totals in zip(picks, spent, strict=True):
        value = sum((worth[g][o] for g, o in enumerate(pick)), Fraction(0))
        fits = all(total <= limit for total, limit in zip(totals, limits, strict=True))
        yield pick, value, fits, all(total <= limit for total, limit in zip(totals, reach, strict=True))


def check(program: FuzzedProgram, findings: Findings, ways: list[tuple[str, str]], *, limited: bool = False) -> None:
    """Solve a program in each of the ``ways`` (method, backend) and note every promise that is broken."""
    known = {pick: (value, fits, near) for pick, value, fits, near in selections(program)}
    near = {pick: value for pick, (value, _, within) in known.items() if within}
    best = max(near.values(), default=None)
    data = program.arguments()
    for method, backend in ways:
        how = f"{method}/{backend}"
        findings.solved[how] += 1
        began = time.perf_counter()
        try:
            found = project_to_budget(*data, method=method, backend=backend, time_limit_seconds=5.0 if limited else None)
        except InfeasibleError as error:
            if best is not None:
                findings.fault(program, how, f"false infeasible: {error}")
            continue
        except SolverError as error:
            if backend in ("native", "numpy") or program.kind != "ulps":
                findings.fault(program, how, f"SolverError: {error}")
            continue
        except Exception as error:
            findings.fault(program, how, f"{type(error).__name__}: {error}")
            continue
        if limited and time.perf_counter() - began > 5.55:
            findings.fault(program, how, "over time")
        value, fits, _ = known.get(found.choices, (None, False, False))
        if value is None or float(value) != found.value:
            findings.fault(program, how, f"worth {found.value!r}, not {value!r}")
            continue
        if found.choices not in near and method != "argmax":
            findings.fault(program, how, "violated")
            continue
        if fits != (found.certificate.violation == 0.0):
            findings.fault(program, how, f"violation {found.certificate.violation}, fits {fits}")
        bound = found.certificate.bound
        if best is not None and bound is not None and float(best) > bound:
            findings.fault(program, how, f"false bound {bound!r}, best {float(best)!r}")
        if best is not None and found.status is Status.OPTIMAL and method == "exact":
            lost = best - value
            if lost > Fraction(_EXACT) * max(1, abs(value)):
                findings.fault(program, how, f"wrong optimum {found.value!r}, best {float(best)!r}")
            elif lost > Fraction(_EXACT) * abs(best) and backend in ("native", "numpy"):
                findings.fault(program, how, f"optimum by scale only {found.value!r}, best {float(best)!r}")
        elif method == "exact" and backend in ("native", "numpy"):
            findings.fault(program, how, f"not proven: {found.status}")
        try:
            found.verify(*data)
        except Exception as error:
            findings.fault(program, how, f"verify: {error}")
