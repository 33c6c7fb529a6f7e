"""The solvers against general ones: same instances, one run, medians, ratios. Prints the table and writes it as JSON.

    python benchmarks/solvers.py --quick     a minute or two, to see that it runs
    python benchmarks/solvers.py             an hour or so: references that reach 60 s count as 60 s
    REFERENCE_LIMIT_SECONDS=10 python benchmarks/solvers.py --instances 1 --reference-seconds 1
    python benchmarks/solvers.py --only "joint projection"     these parts anew; rows of others stay in the file

Families on which a target is missed stay in the table and are marked.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
if sys.path and Path(sys.path[0]).resolve() == _ROOT / "benchmarks":
    sys.path[0] = str(_ROOT)  # started as a script: `solvers` must be the package, not this file

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.general_solvers import (
    LIMIT_SECONDS,
    highs_linear,
    highs_mixed_integer,
    ortools_answers,
    ortools_missing,
    scipy_mixed_integer,
)
from benchmarks.instances import FAMILIES, draw_scores, make, second_costs
from benchmarks.machine import compile_kernels, first_call_seconds, machine, versions
from benchmarks.rows import Row, behind, excess, print_rows, row_of, timed
from benchmarks.several_budgets import FAMILIES as SEVERAL
from benchmarks.several_budgets import public_times, several_times
from benchmarks.staged_programs import entropy_start_times, joint_projection_times
from solvers import Blocks, BudgetedBlocks, BudgetOracle, Status, project_to_budget
from solvers.knapsack import Knapsack, increments, solve_exact


def main(
    quick: bool = False,
    out: Path = _ROOT / "benchmarks" / "results" / "solvers.json",
    seed: int = 0,
    instances: int = 5,
    reference_seconds: float = 60.0,
    mmkp: Path | None = None,
    only: tuple[str, ...] = (),
) -> None:
    """Run the benchmark.

    Args:
        quick: two families, the smaller sizes, fewer instances.
        out: the JSON file.
        seed: of the instances.
        instances: of a family at most; a quick run draws 2.
        reference_seconds: of HiGHS's time a row of exact programs: after that no further instance is drawn.
        mmkp: the folder of the public instances with several budgets, see ``benchmarks/mmkp.py``; without it they are left out.
        only: beginnings of the names of parts, such as "two budgets 20x12": those alone, for a file that is there.
    """
    console = Console(width=170)
    began = time.time()
    families = FAMILIES[:2] if quick else FAMILIES
    jobs = list(_jobs(families, quick, seed, 2 if quick else instances, reference_seconds, mmkp))
    known = json.loads(out.read_text(encoding="utf-8")) if only else None
    if only:
        jobs = [(name, job) for name, job in jobs if name.startswith(only)]
    delays = first_call_seconds(_ROOT) if known is None else known["first_call_seconds"]
    compile_kernels()
    rows: list[Row] = []
    done = 0
    columns = (TextColumn("{task.description:60}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(jobs))
        for name, job in jobs:
            progress.update(task, description=name)
            rows += job()
            done += 1
            record = _record(rows, delays, (seed, reference_seconds), quick, began, len(jobs) - done)
            _write(out, record if known is None else _renewed(known, record, only))
            progress.advance(task)
    print_rows(rows, console)
    for name, (passed, computed) in delays.items():
        console.print(f"{name}: {passed:.4f} s, {computed:.4f} s of them computing")
    console.print(f"written to {out.name}")


def _record(
    rows: Sequence[Row], delays: dict[str, list[float]], drawn: tuple[int, float], quick: bool, began: float, left: int
) -> dict[str, Any]:
    return {
        "machine": machine(),
        "versions": versions(),
        "seed": drawn[0],
        "reference_seconds": drawn[1],
        "limit_seconds": LIMIT_SECONDS,
        "load": os.getloadavg()[2],
        "quick": quick,
        "parts_left": left,
        "seconds": time.time() - began,
        "first_call_seconds": delays,
        "rows": [asdict(row) | {"verdict": row.verdict} for row in rows],
    }


def _renewed(known: dict[str, Any], record: dict[str, Any], only: Sequence[str]) -> dict[str, Any]:
    """A record of some parts put into the one ``known``, which says which they are, and of what run."""
    names = "program", "family", "ours", "against"
    found = {tuple(row[name] for name in names): row for row in known["rows"] + record["rows"]}
    run = {name: record[name] for name in ("limit_seconds", "reference_seconds", "load", "seconds", "parts_left")}
    return known | {"rows": list(found.values()), "anew": [*known.get("anew", []), {"only": list(only), **run}]}


def _write(out: Path, record: dict[str, Any]) -> None:
    """Write what there is so far: a run is long, and may be ended."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _jobs(
    families: Sequence[str], quick: bool, seed: int, count: int, patience: float, mmkp: Path | None
) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """Name and work of each part of the run; where references take longest comes last."""
    sizes = ((20, 12, 40.0, 100.0), (10_000, 12, 150.0, 1000.0), (1000, 100, 250.0, None))
    for groups, options, highs, glop in sizes[:1] if quick else sizes:
        family = families if groups == 20 else families[:1]
        draws = 2 * count if groups < 10_000 else 3  # GLOP takes half a minute for each of the largest
        for name in family:
            yield f"oracle {groups}x{options}, {name}", partial(_oracle, groups, options, name, highs, glop, draws, seed)
    yield "joint projection", lambda: _staged("joint projection", joint_projection_times(5 if quick else 40, seed), 15.0)
    yield "maximum-entropy start", lambda: _staged("maximum-entropy start", entropy_start_times(3 if quick else 15, seed), 100.0)

    def exact(groups: int, target: float) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
        for name in families:
            yield f"exact {groups}x12, {name}", partial(_exact, groups, 12, name, target, count, seed, patience)

    def two_budgets(groups: int) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
        for name in families:
            if name != "budget: beyond":  # there the second budget alone binds: the one-budget program again
                yield f"two budgets {groups}x12, {name}", partial(_two_budgets, groups, name, count, seed, patience)

    for name in SEVERAL:
        yield f"several budgets, {name}", partial(_several, name, partial(several_times, name, count, seed, LIMIT_SECONDS / 6))
    if mmkp is not None:
        yield "several budgets, public", partial(_several, "MMKP, public", partial(public_times, mmkp, LIMIT_SECONDS / 6))
    yield from exact(20, 300.0)
    yield from two_budgets(20)
    yield from exact(1000, 1000.0)
    if not quick:
        yield from two_budgets(100)
        yield from exact(10_000, 5000.0)


def _oracle(groups: int, options: int, family: str, highs: float, glop: float | None, count: int, seed: int) -> list[Row]:
    """Linear minimization with fresh objectives on one cost structure; HiGHS and GLOP start from their last basis.

    "warm start" is ours from the multiplier of the objective before, the same information.
    """
    instance = make(family, groups, options, seed)
    rng = np.random.default_rng([seed, 7])
    # Fresh scores of the family; where the costs determine them, rescaled.
    fixed = family in ("subset-sum", "proportional")
    gradients = np.array(
        [-draw_scores(family, instance.costs, rng) * (rng.uniform(0.5, 2.0) if fixed else 1.0) for _ in range(count)]
    )
    feasible = BudgetedBlocks.of(Blocks.of(np.diff(instance.offsets).tolist()), instance.costs, instance.budget)
    native, plain = BudgetOracle.of(feasible), BudgetOracle.of(feasible, "numpy")
    answers = [native.minimize(gradient) for gradient in gradients]
    found = [answer.certificate.primal if answer.certificate else math.nan for answer in answers]
    starts = [
        float(answer.certificate.dual[0]) if answer.certificate and answer.certificate.dual is not None else 0.0
        for answer in answers
    ]
    cold = [timed(partial(native.minimize, gradient)) for gradient in gradients]
    warm = [timed(partial(native.minimize, g, start=s)) for g, s in zip(gradients, starts[-1:] + starts[:-1], strict=True)]
    numpy = [timed(partial(plain.minimize, gradient)) for gradient in gradients]
    many = [timed(lambda: native.minimize_many(gradients)) / count]
    references = highs_linear(instance, gradients)
    worst = excess(found, references)
    seconds = [answer.seconds for answer in references]
    program = f"LP oracle {groups}x{options}"
    rows = [
        row_of(program, family, "native", "highspy, persistent", highs, cold, seconds, worst),
        row_of(program, family, "native, warm start", "highspy, persistent", highs, warm, seconds, worst),
        row_of(program, family, "native, minimize_many", "highspy, persistent", None, many, seconds, worst),
        row_of(program, family, "numpy", "highspy, persistent", 3.0 if groups == 20 else None, numpy, seconds, worst),
    ]
    if glop is None:
        return rows
    if (missing := ortools_missing()) is None:
        references = ortools_answers("glop", instance, gradients)
        times = [answer.seconds for answer in references]
        beyond = excess(found, references)
        rows.append(row_of(program, family, "native", "OR-tools GLOP", glop, cold, times, beyond))
        rows.append(row_of(program, family, "native, warm start", "OR-tools GLOP", glop, warm, times, beyond))
    else:
        rows.append(row_of(program, family, "native", "OR-tools GLOP", glop, cold, [], None, missing))
    if groups == 10_000:
        slopes = -increments(Knapsack(instance.scores, instance.costs, instance.offsets)).slope
        rng.shuffle(slopes)
        reading = [timed(lambda: (instance.scores.sum(), instance.costs.sum(), np.sort(slopes)))]
        rows.append(row_of(program, family, "native", "reading the data + one sort of the hull steps", 0.25, cold, reading, None))
    return rows


def _exact(groups: int, options: int, family: str, target: float, count: int, seed: int, patience: float) -> list[Row]:
    """The exact 0-1 program; references' choices are re-costed, and count only if they fit."""
    program = f"exact MCKP {groups}x{options}"
    times: dict[str, list[float]] = {"native": [], "project_to_budget": [], "numpy": [], "highs": [], "scipy": [], "cp-sat": []}
    worst: dict[str, float | None] = {"highs": None, "scipy": None, "cp-sat": None}
    unproven, missing = 0, ortools_missing()
    while len(times["highs"]) < count and sum(times["highs"]) < patience:
        instance = make(family, groups, options, seed + len(times["highs"]))
        knapsack, budget = Knapsack(instance.scores, instance.costs, instance.offsets), instance.budget
        found = solve_exact(knapsack, budget)
        unproven += found.status is not Status.OPTIMAL
        times["native"].append(timed(partial(solve_exact, knapsack, budget)))
        times["numpy"].append(timed(partial(solve_exact, knapsack, budget, backend="numpy")))
        even = len(set(np.diff(instance.offsets).tolist())) == 1
        scores, costs = instance.rows
        table = (np.array(scores), np.array(costs), budget) if even else (scores, costs, budget)
        times["project_to_budget"].append(timed(partial(project_to_budget, *table)))
        references = {"highs": highs_mixed_integer(instance, [instance.costs], [budget])}
        if groups == 20:
            references["scipy"] = scipy_mixed_integer(instance)
            if missing is None:
                references["cp-sat"] = ortools_answers("cp-sat", instance)[0]
        for name, answer in references.items():
            times[name].append(answer.seconds)
            shortfall = behind(found.value, answer, instance, [instance.costs], [budget])
            if shortfall is not None:
                before = worst[name]
                worst[name] = shortfall if before is None else max(shortfall, before)
    note = f"{unproven} not proven" if unproven else ""
    highs = times["highs"]
    rows = [
        row_of(program, family, "native", "HiGHS MIP, gap 0", target, times["native"], highs, worst["highs"], note),
        row_of(program, family, "project_to_budget", "HiGHS MIP, gap 0", None, times["project_to_budget"], highs, worst["highs"]),
        row_of(program, family, "numpy", "HiGHS MIP, gap 0", None, times["numpy"], highs, worst["highs"]),
    ]
    if groups == 20:
        rows.append(row_of(program, family, "native", "scipy.optimize.milp", None, times["native"], times["scipy"], worst["scipy"]))
        rows.append(
            row_of(
                program,
                family,
                "native",
                "CP-SAT, one worker",
                200.0,
                times["native"],
                times["cp-sat"],
                worst["cp-sat"],
                missing or "",
            )
        )
    return rows


def _two_budgets(groups: int, family: str, count: int, seed: int, patience: float) -> list[Row]:
    """The exact program under two budgets, through the front door."""
    ours: list[float] = []
    theirs: list[float] = []
    worst: float | None = None
    unproven = 0
    while len(theirs) < count and sum(theirs) < patience:
        instance = make(family, groups, 12, seed + len(theirs))
        more, limit = second_costs(instance, seed)
        parts = instance.rows[0], {"a": instance.rows[1], "b": np.split(more, instance.offsets[1:-1])}
        budgets = {"a": instance.budget, "b": limit}
        try:
            found = project_to_budget(*parts, budgets, time_limit_seconds=LIMIT_SECONDS)
        except ValueError:  # at the least cost of one budget the other may be out of reach
            program = f"two budgets {groups}x12"
            return [Row(program, family, "native", "HiGHS MIP, gap 0", 20.0, None, None, None, 0, None, "infeasible")]
        unproven += found.status is not Status.OPTIMAL
        seconds = found.seconds if found.seconds > 1.0 else timed(partial(project_to_budget, *parts, budgets))
        ours.append(seconds)
        rows, limits = [instance.costs, more], [instance.budget, limit]
        answer = highs_mixed_integer(instance, rows, limits)
        theirs.append(answer.seconds)
        shortfall = behind(found.value, answer, instance, rows, limits)
        if shortfall is not None:
            worst = shortfall if worst is None else max(worst, shortfall)
    note = f"{unproven} not proven" if unproven else ""
    return [row_of(f"two budgets {groups}x12", family, "project_to_budget", "HiGHS MIP, gap 0", 20.0, ours, theirs, worst, note)]


def _several(family: str, measure: Callable[[], tuple[list[float], list[float], float, str, str, float]]) -> list[Row]:
    ours, theirs, worst, against, note, target = measure()
    return [row_of("several budgets", family, "project_to_budget", against, target, ours, theirs, worst, note)]


def _staged(program: str, measured: tuple[list[float], list[float], float, str, str], target: float) -> list[Row]:
    ours, theirs, worst, against, note = measured
    return [row_of(program, "HardCoRe size", "native", against, target, ours, theirs, worst, note)]


if __name__ == "__main__":
    tyro.cli(main)
