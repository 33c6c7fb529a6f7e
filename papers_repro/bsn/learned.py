"""Rows of what a contest of budgeted super-networks learned: chosen on validation data, reported on test data.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 5.1: every epoch of every run is a candidate, the Pareto front of cost
and validation accuracy is what is kept, its test accuracy is what is reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers_repro.bsn.networks import Family, published_unit
from papers_repro.bsn.published import CostName
from papers_repro.bsn.runs import ContestBudget, ContestRun, EpochRecord, Method, RunsRecord, ScratchRecord, pareto_front
from papers_repro.harness import Column, Row, Rows, compared, half_width, mean

_MEANT: dict[Method, str] = {
    "soft": "searched under a penalty for what exceeds the budget",
    "hard": "every sample projected onto the budget",
    "plain": "the reference network, trained alone for as many epochs",
}


def families_in(record: RunsRecord) -> list[Family]:
    """Those that the record has runs of."""
    return list(dict.fromkeys(run.network.family for run in record.runs))


def runs_of(record: RunsRecord, family: Family, cost: CostName, method: Method) -> list[ContestRun]:
    """The runs of one kind; plain ones are under no cost, so they are those of every cost."""
    return [
        run
        for run in record.runs
        if (run.network.family, run.method) == (family, method) and (run.budget is None or run.budget.cost == cost)
    ]


def budgets_in(record: RunsRecord, family: Family, cost: CostName) -> list[ContestBudget]:
    """The budgets on a cost, the least first."""
    found = {run.budget for run in record.runs if run.network.family == family and run.budget and run.budget.cost == cost}
    return sorted(found, key=lambda budget: budget.limit)


def chosen_of_seeds(record: RunsRecord, family: Family, budget: ContestBudget, method: Method) -> dict[int, EpochRecord | None]:
    """By seed, the network of the best validation accuracy that fits, of all penalties and epochs; None where none fits.

    For ``plain``, the reference network that the budget is named after; empty where it is named after none.
    """
    runs = runs_of(record, family, budget.cost, method)
    if method == "plain":
        runs = [run for run in runs if run.network.title == budget.name]
    else:
        runs = [run for run in runs if run.budget == budget]
    best: dict[int, EpochRecord | None] = {}
    for run in runs:
        found, before = run.chosen(budget.cost, budget.limit), best.get(run.seed)
        if before is None or (found is not None and found.validation > before.validation):
            best[run.seed] = found
    return best


def budget_rows(record: RunsRecord, cost: CostName, families: Sequence[Family]) -> Rows:
    """What was found within each budget: cost, whether it fits, test accuracy over the seeds."""
    rows, limits = [], [budget.limit for family in families for budget in budgets_in(record, family, cost)]
    unit, size = published_unit(cost, limits)
    for family in families:
        for budget in budgets_in(record, family, cost):
            for method in _MEANT:
                chosen = chosen_of_seeds(record, family, budget, method)
                if chosen:
                    rows.append(_budget_row(record, family, budget, method, chosen, size))
    columns = [
        Column("network", "network", "; ".join(f"{method}: {meaning}" for method, meaning in _MEANT.items())),
        Column("limit", f"budget, {unit}", "what the reference network of that name costs, or a share of the whole", ".4g"),
        Column("cost", "cost", "mean over the seeds' networks that fit, in the same unit", ".4g"),
        Column("fits", "fit", "seeds for which an epoch's network fits the budget, of all seeds"),
        Column("ended", "end fits", "seeds whose network after the last epoch fits"),
        Column("validation", "valid. %", "mean validation accuracy of the chosen networks, by which they were chosen", ".1f"),
        Column("accuracy", "test %", "mean test accuracy of the same networks", ".1f"),
        Column("half", "±", "half the 95 % interval of the mean over seeds (Student's t)", ".1f"),
        Column("seconds", "s", "mean wall time of a run", ".0f"),
    ]
    return Rows(_title("Networks within each budget", record), columns, rows)


def _budget_row(
    record: RunsRecord, family: Family, budget: ContestBudget, method: Method, chosen: dict[int, EpochRecord | None], size: float
) -> Row:
    runs = [run for run in runs_of(record, family, budget.cost, method) if run.budget in (None, budget)]
    if method == "plain":
        runs = [run for run in runs if run.network.title == budget.name]
    fitting = [entry for entry in chosen.values() if entry is not None]
    ended = {run.seed for run in runs if run.history[-1].costs[budget.cost] <= budget.limit}
    row: Row = {
        "network": f"{budget.name}, plain" if method == "plain" else f"{family}, {method}, {budget.name}",
        "limit": budget.limit / size,
        "fits": f"{len(fitting)}/{len(chosen)}",
        "ended": f"{len(ended)}/{len(chosen)}",
        "seconds": float(np.mean([run.seconds for run in runs])),
    }
    if fitting:
        accuracies = [100 * entry.test for entry in fitting]
        row |= {
            "cost": float(np.mean([entry.costs[budget.cost] for entry in fitting])) / size,
            "validation": 100 * float(np.mean([entry.validation for entry in fitting])),
            "accuracy": float(np.mean(accuracies)),
            "half": half_width(accuracies),
        }
    return row


def scratch_of_seeds(record: RunsRecord, family: Family, budget: ContestBudget, method: Method) -> dict[int, list[ScratchRecord]]:
    """By seed, the networks trained alone: those at the end of a method's searches that fit, random ones, or for ``plain`` the
    costliest reference network that the budget holds."""
    runs = runs_of(record, family, budget.cost, method)
    if method == "plain":
        within = [run for run in runs if run.scratch and run.scratch[0].costs[budget.cost] <= budget.limit]
        dearest = max((run.scratch[0].costs[budget.cost] for run in within), default=0.0)
        runs = [run for run in within if run.scratch[0].costs[budget.cost] == dearest]
    else:
        runs = [run for run in runs if run.budget == budget]
    found: dict[int, list[ScratchRecord]] = {}
    for run in runs:
        fitting = [network for network in run.scratch if network.costs[budget.cost] <= budget.limit]
        if fitting:
            found.setdefault(run.seed, []).extend(fitting)
    return found


def scratch_rows(record: RunsRecord, cost: CostName, families: Sequence[Family]) -> Rows:
    """Networks trained alone from new weights: learned, random ones that fit, and the plain one of equal cost, paired by seed."""
    rows: list[Row] = []
    unit, size = published_unit(cost, [budget.limit for family in families for budget in budgets_in(record, family, cost)])
    for family in families:
        for budget in budgets_in(record, family, cost):
            for method in ("soft", "hard"):
                learned = scratch_of_seeds(record, family, budget, method)
                if learned:
                    rows.append(_scratch_row(record, family, budget, method, learned, size))
    columns = [
        Column("network", "network", "super-network, method and budget; the network at the end of each search"),
        Column("limit", f"budget, {unit}", "what the reference network of that name costs, or a share of the whole", ".4g"),
        Column("cost", "cost", "mean of the networks found, in the same unit", ".4g"),
        Column("accuracy", "learned, test %", "mean over the seeds, trained alone from new weights", ".1f"),
        Column("random", "random that fits", "the same of random networks that use the budget as well as any", ".1f"),
        Column("plain", "plain of equal cost", "the same of the costliest reference network that the budget holds", ".1f"),
        Column("over_random", "learned - random", "mean difference over seeds ± half its 95 % interval"),
        Column("over_plain", "learned - plain", "the same"),
    ]
    if cost == "macs" and any(family != "ResNet" for family in families):
        meaning = "the cost as the paper counts, with convolutions after up-sampling at a fourth"
        columns.insert(3, Column("published", "as published", meaning, ".4g"))
    return Rows(_title("Networks trained alone from new weights", record), columns, rows)


def _scratch_row(
    record: RunsRecord,
    family: Family,
    budget: ContestBudget,
    method: Method,
    learned: dict[int, list[ScratchRecord]],
    size: float,
) -> Row:
    networks = [network for networks in learned.values() for network in networks]
    row: Row = {
        "network": f"{family}, {method}, {budget.name}",
        "limit": budget.limit / size,
        "cost": mean(network.costs[budget.cost] for network in networks) / size,
        "accuracy": mean(_tests(learned).values()),
    }
    if budget.cost == "macs" and family != "ResNet":
        row["published"] = mean(network.costs["macs-published"] for network in networks) / size
    for other, name in (("random", "over_random"), ("plain", "over_plain")):
        theirs = _tests(scratch_of_seeds(record, family, budget, other))  # type: ignore[arg-type] # a Method
        both = sorted(theirs.keys() & learned.keys())
        if both:
            row[other] = mean(theirs.values())
            row[name] = compared([_tests(learned)[seed] for seed in both], [theirs[seed] for seed in both], "learned")
    return row


def _tests(found: dict[int, list[ScratchRecord]]) -> dict[int, float]:
    """Mean test accuracy in % by seed."""
    return {seed: 100 * mean(network.test for network in networks) for seed, networks in found.items()}


def difference_rows(record: RunsRecord, cost: CostName, families: Sequence[Family]) -> Rows:
    """Test accuracies within the same budget, paired by seed, and whether they can be told apart."""
    rows: list[Row] = []
    pairs: tuple[tuple[Method, Method], ...] = (("soft", "plain"), ("hard", "plain"), ("hard", "soft"))
    for family in families:
        for budget in budgets_in(record, family, cost):
            chosen = {method: chosen_of_seeds(record, family, budget, method) for method in _MEANT}
            for first, second in pairs:
                if chosen[first] and chosen[second]:
                    rows.append(
                        {
                            "pair": f"{family}, {budget.name}: {first} - {second}",
                            "difference": _compared(chosen[first], chosen[second], first),
                        }
                    )
    columns = [
        Column("pair", "test accuracy", "of two rows of the table above, under the same budget"),
        Column(
            "difference",
            "difference, points",
            "mean over seeds ± half the 95 % interval; it says so where they cannot be told apart",
        ),
    ]
    return Rows("Differences, paired by seed", columns, rows)


def _compared(first: dict[int, EpochRecord | None], second: dict[int, EpochRecord | None], name: str) -> str:
    both = [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
    pairs = [(100 * a.test, 100 * b.test) for a, b in both if a is not None and b is not None]
    if not pairs:
        return "no seed has both"
    text = compared([a for a, _ in pairs], [b for _, b in pairs], name)
    return text if len(pairs) == len(first) else f"{text} ({len(pairs)} of {len(first)} seeds)"


def front_rows(record: RunsRecord, cost: CostName, families: Sequence[Family]) -> Rows:
    """The Pareto front over all epochs of all searches of a super-network by one method: several may be of one run."""
    fronts = [
        (family, method, pareto_front(runs, cost))
        for family in families
        for method in ("soft", "hard")
        if (runs := runs_of(record, family, cost, method))
    ]
    unit, size = published_unit(cost, [entry.costs[cost] for _, _, front in fronts for _, entry in front])
    rows: list[Row] = [
        {
            "network": f"{family}, {method}",
            "cost": entry.costs[cost] / size,
            "budget": run.budget.name if run.budget else "",
            "fits": run.budget is not None and entry.costs[cost] <= run.budget.limit,
            "epoch": entry.epoch,
            "seed": run.seed,
            "validation": 100 * entry.validation,
            "accuracy": 100 * entry.test,
        }
        for family, method, front in fronts
        for run, entry in front
    ]
    columns = [
        Column("network", "network", "super-network and method"),
        Column("cost", unit, "cost of the network", ".4g"),
        Column("budget", "of the search for", "the budget of its run"),
        Column("fits", "fits", "that budget; networks of early epochs need not"),
        Column("epoch", "epoch", "after which it was the deterministic network of its run"),
        Column("seed", "seed", "of its run; seeds have validation images of their own"),
        Column("validation", "valid. %", "validation accuracy", ".1f"),
        Column("accuracy", "test %", "test accuracy", ".1f"),
    ]
    title = "The Pareto front of cost and validation accuracy over all epochs of all searches"
    return Rows(_title(title, record), columns, rows)


def _title(what: str, record: RunsRecord) -> str:
    seeds = len({run.seed for run in record.runs})
    return f"{what} ({record.data}, {record.scale} scale, {seeds} seed{'s' if seeds > 1 else ''})"
