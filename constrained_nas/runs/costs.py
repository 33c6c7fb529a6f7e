"""Costs by the names that budgets are given in, latency tables that suit a run, and the cheapest and largest networks of a space.

``latency_ms`` (by a table), ``params`` and ``macs`` in HardCoRe's and PruNet's spaces, ``params`` and ``macs`` where modules are
switched off, ``bops`` for bit widths, ``macs`` for numbers of filters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from constrained_nas.latency import device_name
from constrained_nas.methods.budgeted import ConnectedProgram
from constrained_nas.methods.filter_level import CountCost
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.runs.settings import RunSettings
from constrained_nas.runs.setup import heaviest_of
from constrained_nas.runs.spaces import FilterFamily, RunSpace, decisions_of
from graphs import Architecture, DagSpace, GPUNetSpace, MBConvSpace
from graphs.costs import (
    BitOperations,
    CostModel,
    LatencyTable,
    QuadraticCost,
    SlimmableMacs,
    TableConditions,
    WidthLatencyTable,
    connected_architecture,
    connected_macs,
    connected_parameters,
    latency_cost,
    load_latency_table,
    load_width_latency_table,
    mac_cost,
    parameter_cost,
    require_conditions,
    width_count_cost,
    width_latency_cost,
)
from solvers import InfeasibleError, cheapest_start

Table = LatencyTable | WidthLatencyTable


def costs_of(space: RunSpace, table: Table | None = None) -> dict[str, CostModel]:
    """The costs that a space knows, by the name a budget gives them; ``latency_ms`` with a table.

    Raises:
        ValueError: a table of another space or family, or with entries missing.
    """
    costs: dict[str, CostModel]
    if isinstance(space, FilterFamily):
        bits = space.space.kind == "quantization"
        costs = {"bops": BitOperations(space.space)} if bits else {"macs": SlimmableMacs(space.space)}
    elif isinstance(space, DagSpace):
        costs = {"params": connected_parameters(space), "macs": connected_macs(space, "exact")}
    elif isinstance(space, GPUNetSpace):
        costs = {"params": width_count_cost(space, "parameters"), "macs": width_count_cost(space, "macs")}
    else:
        costs = {"params": parameter_cost(space), "macs": mac_cost(space)}
    if table is None:
        return costs
    if isinstance(space, MBConvSpace) and isinstance(table, LatencyTable):
        return {"latency_ms": latency_cost(table, space), **costs}
    if isinstance(space, GPUNetSpace) and isinstance(table, WidthLatencyTable):
        return {"latency_ms": width_latency_cost(table, space), **costs}
    raise ValueError(f"a {table.kind} does not suit the space {decisions_of(space).name!r}")


def read_table(path: Path, space: RunSpace, settings: RunSettings) -> Table:
    """Read a table that was measured as the settings ask for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another space, device, batch, number of threads or unit; names both.
    """
    name = settings.latency_device
    device = device_name(name) if name == "cpu" or name.startswith("cuda") else name
    if isinstance(space, GPUNetSpace):
        widths = load_width_latency_table(path)
        found = {"device": widths.device, "batch": widths.batch, "threads": widths.threads}
        asked = {"device": device, "batch": settings.latency_batch, "threads": settings.latency_threads}
        different = [f"{what} {found[what]!r} where {asked[what]!r} is asked for" for what in found if found[what] != asked[what]]
        if different:
            raise ValueError(f"{path}: measured with {', '.join(different)}: measure or import a table for these conditions")
        return widths
    table = load_latency_table(path)
    asked_for = TableConditions(device, settings.latency_batch, "ms", settings.latency_threads)
    require_conditions(table, asked_for, str(path))
    return table


def make_problem(space: RunSpace, budgets: Mapping[str, float], costs: Mapping[str, CostModel]) -> SearchProblem:
    """The space under limits by name, each in its cost's own unit.

    Raises:
        ValueError: no budget, or one that the space's costs do not know.
    """
    decisions = decisions_of(space)
    if not budgets:
        raise ValueError(f"no budget: give at least one of {', '.join(costs)}, for example --budget {next(iter(costs))}=...")
    unknown = [name for name in budgets if name not in costs]
    if unknown:
        raise ValueError(f"space {decisions.name!r} has no cost {unknown[0]}: budgets there are on {', '.join(costs)}")
    return SearchProblem(decisions, tuple(Budget(costs[name], limit, costs[name].unit) for name, limit in budgets.items()))


def require_within_reach(space: RunSpace, problem: SearchProblem) -> None:
    """Nothing, if each budget by itself is met by some network.

    Raises:
        InfeasibleError: one is not; with the least cost there is.
    """
    for budget in problem.budgets:
        least = budget.cost.cost(cheapest_network(space, budget.cost))
        if least > budget.limit:
            raise InfeasibleError(
                f"budget on {budget.cost.name}: {budget.limit:.10g} {budget.unit} is below the cheapest network of "
                f"{problem.space.name!r} ({least:.10g} {budget.unit})"
            )


def cheapest_network(space: RunSpace, cost: CostModel) -> Architecture:
    """The network of least cost.

    Raises:
        ValueError: a cost that is not one of :func:`costs_of`.
    """
    if isinstance(space, FilterFamily) and isinstance(cost, CountCost):
        counts = cost.least()[0]
        return space.space.architecture(counts if space.space.kind == "quantization" else 1 + counts[:, 1])
    if isinstance(space, DagSpace):
        whole = Budget(cost, cost.cost(space.whole), cost.unit)
        found = ConnectedProgram.of(space, SearchProblem(space.space, (whole,))).model.cheapest[0].require_feasible()
        return connected_architecture(space, np.asarray(found.x) > 0.5)
    if isinstance(space, GPUNetSpace) and isinstance(cost, QuadraticCost):
        return _every_layer(space, cost, -1.0)
    if isinstance(space, MBConvSpace) and isinstance(cost, QuadraticCost):
        vertex = cheapest_start(space.staged, cost.quadratic, math.inf).require_feasible().x
        return space.space.architecture(np.asarray(vertex))
    raise ValueError(f"cost {cost.name!r} is none of {decisions_of(space).name!r}")


def largest_network(space: RunSpace, cost: CostModel) -> Architecture:
    """The whole network: every module, block and filter, at the widest; in PruNet's spaces the one of greatest cost."""
    if isinstance(space, FilterFamily):
        return space.space.homogeneous(len(space.space.operations) - 1)
    if isinstance(space, DagSpace):
        return space.whole
    if isinstance(space, GPUNetSpace) and isinstance(cost, QuadraticCost):
        return _every_layer(space, cost, 1.0)
    if isinstance(space, MBConvSpace):
        return heaviest_of(space)
    raise ValueError(f"cost {cost.name!r} is none of {decisions_of(space).name!r}")


def _every_layer(space: GPUNetSpace, cost: QuadraticCost, sign: float) -> Architecture:
    """The option of greatest ``sign x cost`` in every layer; costs of PruNet's spaces add up over the layers."""
    linear = sign * cost.quadratic.linear
    picks = {d.name: d.options[int(linear[space.space.slice(d.name)].argmax())] for d in space.space.decisions}
    return space.space.choose(picks)
