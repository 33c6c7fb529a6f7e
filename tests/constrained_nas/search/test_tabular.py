"""Searches on tabular truth: every network that is looked up counts once, gradients are what they claim to be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.macro import SPACE, counts, made_losses, points

from constrained_nas.ask_tell import Moment, Proposal
from constrained_nas.methods import HardCoRe, SoftPenalty
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import TabularTruth, search_table
from constrained_nas.search.tabular import OutOfEvaluationsError
from graphs import Architecture
from graphs.costs import mac_cost
from solvers.arrays import FloatArray


def truth(most: int, asked: list[str] | None = None) -> TabularTruth:
    """Made losses; the codes that are really looked up are noted."""
    losses = made_losses(0, 0.1)

    def loss(network: Architecture) -> float:
        code = SPACE.code(network)
        if asked is not None:
            asked.append(code)
        return float(losses[int(code, 3)])

    return TabularTruth(SPACE.space, loss, most)


def problem(quantile: float = 0.3) -> SearchProblem:
    cost = mac_cost(SPACE)
    return SearchProblem(SPACE.space, (Budget(cost, float(np.floor(np.quantile(counts()[0], quantile))), cost.unit),))


def test_every_network_counts_once() -> None:
    asked: list[str] = []
    table, x = truth(3, asked), points()
    assert table.losses(x[[5, 6, 5]]).tolist() == made_losses(0, 0.1)[[5, 6, 5]].tolist()
    assert table.count == 2 and table.losses(x[[6]]) == made_losses(0, 0.1)[6] and len(asked) == 2
    with pytest.raises(OutOfEvaluationsError, match="all 3"):
        table.losses(x[[7, 8]])
    assert table.count == 3 and len(asked) == 3 and np.array_equal(table.points(), x[[5, 6, 7]])


@pytest.mark.parametrize("gradients", ["regression", "differences"])
@pytest.mark.parametrize("make", [lambda: HardCoRe(SPACE.space, SPACE.staged), lambda: SoftPenalty(SPACE.space, SPACE.staged)])
def test_no_search_looks_up_more_than_it_may(make: Callable, gradients: str) -> None:
    asked: list[str] = []
    table = truth(40, asked)
    run = search_table(problem(), make(), table, rows=3, gradients=gradients, seed=1)  # type: ignore[arg-type]
    assert run.evaluations == len(asked) == len(set(asked)) <= 40
    assert run.best is None or problem().fits(run.best)
    codes = [SPACE.code(SPACE.space.architecture(point)) for point in table.points()]
    known = dict(zip(codes, table.known.values(), strict=True))
    assert set(known) == set(asked)
    fitting = [loss for code, loss in known.items() if problem().fits(SPACE.architecture(code))]
    if fitting:
        assert run.best is not None and known[SPACE.code(run.best)] == min(fitting)


class Noting(SoftPenalty):
    """Keeps what it is told."""

    def tell(self, problem, state, proposal: Proposal, feedback, moment: Moment):  # type: ignore[no-untyped-def]
        told.append((proposal, feedback, moment))
        return super().tell(problem, state, proposal, feedback, moment)


told: list = []


def test_differences_are_the_losses_of_the_neighbours() -> None:
    told.clear()
    search_table(problem(), Noting(SPACE.space, SPACE.staged), truth(120), rows=2, gradients="differences")
    proposal, feedback, moment = told[0]
    losses, layer = made_losses(0, 0.1), SPACE.space.decisions[3]
    x: FloatArray = np.concatenate([proposal.gates[d.name] for d in SPACE.space.decisions], 1)
    for row in range(2):
        for option in range(3):
            changed = x[row].copy()
            changed[SPACE.space.slice(layer.name)] = np.eye(3)[option]
            code = SPACE.code(SPACE.space.architecture(changed))
            assert feedback.gate_gradients[layer.name][row, option] == losses[int(code, 3)] / 2  # of the mean loss
    assert feedback.losses.tolist() == [losses[int(SPACE.code(SPACE.space.architecture(point)), 3)] for point in x]
    assert moment.progress == 0 and 0 < told[1][2].progress < 1


def test_regression_finds_additive_losses() -> None:
    told.clear()
    table = truth(400)
    table.loss = lambda network: float(made_losses(0, 0.0)[int(SPACE.code(network), 3)])
    search_table(problem(), Noting(SPACE.space, SPACE.staged, 0.0, 1e-9), table, rows=50)
    rows = told[-1][1].gate_gradients["layer4"]
    gradient = rows[0] * len(rows)
    x, losses = points(), made_losses(0, 0.0)
    means = np.array([losses[x[:, 9 + option] == 1].mean() for option in range(3)])
    assert np.allclose(gradient - gradient.mean(), means - means.mean(), atol=0.02 * np.ptp(means))


def test_relaxed_gates_are_refused() -> None:
    class Relaxed(SoftPenalty):
        def ask(self, problem, state, rows, moment, generator):  # type: ignore[no-untyped-def]
            return Proposal({d.name: np.full(len(d.options), 1 / len(d.options)) for d in SPACE.space.decisions}, frozenset(), {})

    with pytest.raises(ValueError, match="not an architecture"):
        search_table(problem(), Relaxed(SPACE.space, SPACE.staged), truth(5))
