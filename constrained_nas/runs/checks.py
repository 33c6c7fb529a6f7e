"""What a run asks, checked before anything is trained: methods, tables and budgets that go together, and networks that fit.

What cannot be done is refused with the reason and what to use instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.runs.families import FAMILIES, Costs, Family, Plan
from graphs.costs import CostModel
from solvers import InfeasibleError


def check_method(plan: Plan, method: str | None = None) -> None:
    """Check that the method (the plan's by default) supports this space and number of budgets.

    Raises:
        ValueError: it does not; says why and what to use instead.
    """
    chosen, family, settings = method or plan.method, plan.family, plan.settings
    if chosen not in family.methods:
        searched = next(other.decides for other in FAMILIES.values() if chosen in other.methods)
        raise ValueError(
            f"--method {chosen} searches {searched}; {Path(settings.space).name} has other decisions: use --method "
            f"{' or '.join(family.methods)}"
        )
    if 0 < family.most_budgets < len(settings.limits):
        raise ValueError(
            f"--method {chosen} holds one budget, got {len(settings.limits)}: leave out all but one, or search another space "
            "(hardcore, budgeted and prunet hold several at once)"
        )


def check_tables(plan: Plan) -> None:
    """Check that latencies of such spaces can be tabulated.

    Raises:
        ValueError: they cannot; says what to use instead.
    """
    instead = plan.family.uncounted(plan.settings.space)
    if instead:
        raise ValueError(f"there are no latency tables of {plan.settings.space}: use {instead}, or another space")


def absolute_limit(family: Family, costs: Costs, name: str, limit: float | str) -> float:
    """A limit as a number: ``"60%"`` is that share of the largest network's cost.

    Raises:
        ValueError: a share of a cost that the space does not know.
    """
    if not isinstance(limit, str):
        return limit
    if name not in costs:
        raise ValueError(f"space {family.decisions.name!r} has no cost {name}: budgets there are on {', '.join(costs)}")
    most = costs[name].cost(family.largest(costs[name]))
    return float(f"{most * float(limit[:-1]) / 100:.10g}")


def loose_budgets(family: Family, problem: SearchProblem) -> list[str]:
    """Budgets that even the largest network meets: they decide nothing."""
    said = []
    for budget in problem.budgets:
        most = budget.cost.cost(family.largest(budget.cost))
        if most <= budget.limit:
            what = f"the budget on {budget.cost.name}, {budget.limit:.6g} {budget.unit},"
            said.append(f"{what} decides nothing: even the largest network has {most:.6g}")
    return said


def make_problem(family: Family, budgets: Mapping[str, float], costs: Mapping[str, CostModel]) -> SearchProblem:
    """The space under limits by name, each in its cost's own unit.

    Raises:
        ValueError: no budget, or one that the space's costs do not know.
    """
    if not budgets:
        raise ValueError(f"no budget: give at least one of {', '.join(costs)}, for example --budget {next(iter(costs))}=...")
    unknown = [name for name in budgets if name not in costs]
    if "energy_mj" in unknown:
        raise ValueError(
            "a budget in energy_mj needs energies: constrained-nas import-table FILE SPACE --unit mJ ..., then --energy-table"
        )
    if "activation_memory" in unknown:
        raise ValueError(
            f"space {family.decisions.name!r}: its method holds sums, and the peak of feature maps is none: budgets there are on "
            f"{', '.join(costs)}; activation_memory is held in hardcore and ofa spaces and networks with choices, by every method"
        )
    if unknown:
        raise ValueError(f"space {family.decisions.name!r} has no cost {unknown[0]}: budgets there are on {', '.join(costs)}")
    held = (Budget(costs[name], limit, costs[name].unit) for name, limit in budgets.items())
    return SearchProblem(family.decisions, tuple(held))


def check_feasible(plan: Plan, family: Family, problem: SearchProblem, costs: Costs) -> None:
    """Check that the plan's method supports the budgets, and that some network meets each of them and all together.

    Raises:
        ValueError: the method does not; says why and what to use instead.
        InfeasibleError: nothing fits; with the least cost there is.
    """
    check_method(plan)
    for budget in problem.budgets:
        least = budget.cost.cost(family.cheapest(budget.cost))
        if least > budget.limit:
            raise InfeasibleError(
                f"budget on {budget.cost.name}: {budget.limit:.10g} {budget.unit} is below the cheapest network of "
                f"{problem.space.name!r} ({least:.10g} {budget.unit})"
            )
    try:
        family.require_feasible(plan, problem, costs)
    except InfeasibleError as error:
        together = ", ".join(f"{b.cost.name} <= {b.limit:.10g} {b.unit}" for b in problem.budgets)
        raise InfeasibleError(f"no network of {problem.space.name!r} meets {together}: {error}") from error
