"""PruNet under an explicit budget: the best network of what a search has left, exactly.

    max  sum_l [ log p_l(block) - kappa ln(v / v*)^2 ]   s.t.  every budget,

over all surviving blocks and all their permissible widths v, v* being the width that Algorithm 1 picked. It is a multiple-choice
knapsack, solved to optimality with a certificate. Where nothing that survived fits, options that were pruned return, as few as will
do; the answer says which.

Where the answer shall also use most of its budget, its latency is bounded from below too: the same program with a second row, in
which an option costs what it saves against the costliest of its layer.

The budget's shadow price in that program is also stated as an alpha: that of a penalty ``alpha (ln LAT)^beta``, in units of the
scores, at which the same choice would come out of the (relaxed) program without a budget. Beyond the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constrained_nas.methods.prunet.loss import latency_penalty
from constrained_nas.problem import SearchProblem
from graphs import Architecture
from solvers import Certificate, InfeasibleError, Quadratic, Selection, ShadowPrice, project_to_budget, shadow_prices
from solvers.arrays import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class LayerScores:
    """The options of a layer.

    Attributes:
        scores: (options,); -inf for what the search does not know.
        survives: (options,), whether the option's block (or the skip) is left.
    """

    scores: FloatArray
    survives: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Projection:
    """The exact answer.

    Attributes:
        architecture: it fits every budget.
        choices: its option in every layer.
        returned: the options in it that had been pruned: ``layer: option``.
        alphas: the least and the greatest alpha that would have led here, in units of the scores; 0 where the budget does not bind,
            None without a budget on the latency, or where the bound from below decided.
        certificate: of the knapsack, whose last group stands for what every network spends.
        objective: the summed scores; what cannot be chosen has ``-1e300``.
    """

    architecture: Architecture
    choices: tuple[int, ...]
    returned: tuple[str, ...]
    alphas: tuple[float, float] | None
    certificate: Certificate
    objective: Quadratic


def layer_scores(
    logarithms: FloatArray, members: Sequence[Sequence[int]], references: Sequence[Sequence[float]], kappa: float, options: int
) -> FloatArray:
    """The scores (options,) of a layer's options before any is held to have been pruned.

    Args:
        logarithms: of the slots' probabilities, (slots,).
        members: the options of every slot.
        references: v / v* of every one of these.
        kappa: weight of ``ln(v / v*)^2``.
    """
    scores = np.full(options, -np.inf)
    for logarithm, indices, ratios in zip(logarithms.tolist(), members, references, strict=True):
        for index, ratio in zip(indices, ratios, strict=True):
            scores[index] = logarithm - kappa * math.log(ratio) ** 2
    return scores


def project_survivors(
    problem: SearchProblem,
    layers: Mapping[str, LayerScores],
    latency: str,
    beta: float,
    prices: bool = True,
    least_use: float = 0.0,
) -> Projection:
    """The network of greatest score that meets every budget of ``problem``.

    Args:
        problem: its budgets are on costs that add up over the layers.
        layers: by decision, in the order of the space.
        latency: name of the cost whose budget's price is stated as an alpha.
        beta: exponent of that penalty.
        prices: whether to find the alphas at all.
        least_use: share of that budget that the answer shall use at least, where something can; see ``Projection.alphas``.

    Raises:
        ValueError: no budget, or a cost that does not add up over the layers.
        InfeasibleError: nothing fits, pruned or not; with the least cost there is.
    """
    costs, limits = _costs(problem, list(layers))
    surviving = [np.where(layer.survives, layer.scores, -np.inf) for layer in layers.values()]
    tables = [*surviving, np.zeros(1)]
    try:
        found = project_to_budget(tables, costs, limits)
    except InfeasibleError:
        tables = [*_with_pruned(list(layers.values())), np.zeros(1)]
        found = project_to_budget(tables, costs, limits)
    limit = next((budget.limit for budget in problem.budgets if budget.cost.name == latency), None)
    if limit is not None and least_use > 0:
        fuller = _using(tables, costs, limits, latency, least_use * limit)
        if fuller is not None:
            prices = prices and fuller.choices == found.choices
            found = fuller
    choices = tuple(int(choice) for choice in found.choices[:-1])
    point = np.concatenate([np.eye(len(layer.scores))[choice] for layer, choice in zip(layers.values(), choices, strict=True)])
    architecture = problem.space.architecture(point)
    returned = tuple(
        f"{decision.name}: {decision.options[choice]}"
        for decision, layer, choice in zip(problem.space.decisions, layers.values(), choices, strict=True)
        if not layer.survives[choice]
    )
    alphas = None
    if prices and latency in {budget.cost.name for budget in problem.budgets}:
        price = shadow_prices(tables, costs, limits)
        cost = next(budget.cost for budget in problem.budgets if budget.cost.name == latency)
        _, slope = latency_penalty(cost.cost(architecture), 1.0, beta)
        one = price if isinstance(price, ShadowPrice) else price[latency]
        alphas = one.more / slope, one.less / slope
    summed = Quadratic.of(0.0, np.maximum(np.concatenate(tables[:-1]), -1e300))
    return Projection(architecture, choices, returned, alphas, found.certificate, summed)


def _costs(problem: SearchProblem, names: Sequence[str]) -> tuple[Any, Any]:
    """Tables and limits as ``project_to_budget`` takes them, with a last group of one option: what every network spends."""
    tables, limits = {}, {}
    for budget, quadratic in zip(problem.budgets, problem.quadratics("PruNet with hard=True"), strict=True):
        if quadratic.theta.any():
            raise ValueError(f"PruNet with hard=True needs costs that add up over the layers; {budget.cost.name!r} does not")
        tables[budget.cost.name] = [*(quadratic.linear[problem.space.slice(name)] for name in names), np.array([quadratic.offset])]
        limits[budget.cost.name] = budget.limit
    if len(tables) > 1:
        return tables, limits
    (name,) = tables
    return tables[name], limits[name]


def _using(tables: list[FloatArray], costs: Any, limits: Any, latency: str, least: float) -> Selection | None:
    """The best selection that fits and whose latency is at least ``least``; None where there is none."""
    spent = costs[latency] if isinstance(costs, dict) else costs
    costliest = [float(table[np.isfinite(scores)].max()) for table, scores in zip(spent, tables, strict=True)]
    saved = [np.maximum(most - table, 0.0) for most, table in zip(costliest, spent, strict=True)]
    given = (costs, limits) if isinstance(costs, dict) else ({latency: costs}, {latency: limits})
    room = math.fsum(costliest) - least
    if room < 0:
        return None
    try:
        return project_to_budget(tables, {**given[0], "unused": saved}, {**given[1], "unused": room})
    except InfeasibleError:
        return None


def _with_pruned(layers: Sequence[LayerScores]) -> list[FloatArray]:
    """Scores under which fewer pruned options beat more, whatever else they are worth."""
    known = [layer.scores[np.isfinite(layer.scores)] for layer in layers]
    toll = 1.0 + sum(float(np.ptp(scores)) for scores in known)
    return [layer.scores - toll * ~layer.survives for layer in layers]
