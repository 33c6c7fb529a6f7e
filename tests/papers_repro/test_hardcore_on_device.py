"""Networks held to their budgets on a simulated machine that is slower than beside its table, and drifts while it measures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.fakes import true_table
from support.tiny import tiny_space

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import Timer, measured_together, reference_architecture, tightened, with_limit
from constrained_nas.methods.staged import project_point
from constrained_nas.problem import Budget, SearchProblem
from graphs import Architecture
from graphs.costs import latency_cost
from papers_repro.hardcore import Found, Outcome, ReferenceRounds

SPACE = tiny_space()
COST = latency_cost(true_table(SPACE), SPACE)
PROBLEM = SearchProblem(SPACE.space, (Budget(COST, 1.0, "ms"),))
REFERENCE = reference_architecture(SPACE)
WRONG = 1.06  # networks but the reference take so much more than the table says


class Machine:
    """Each run takes its network's time, by the speed of the moment; the speed swings and falls with the runs."""

    def __init__(self, slower: float, drift: float) -> None:
        self.runs, self.slower, self.drift = 0, slower, drift
        self.noise = np.random.default_rng(3)

    def true(self, architecture: Architecture) -> float:
        return COST.cost(architecture) * (1.0 if architecture == REFERENCE else WRONG)

    def subject(self, architecture: Architecture) -> Callable[[], list[float]]:
        def run() -> list[float]:
            self.runs += 1
            speed = self.slower * (1 + self.drift * self.runs / 2000) * (1 + 0.1 * np.sin(self.runs / 150))
            return [self.true(architecture) * speed * float(np.exp(0.01 * self.noise.standard_normal()))]

        return run


def rounds_of(machine: Machine, level: float) -> ReferenceRounds:
    generator = np.random.default_rng(0)
    key = lambda a: str(SPACE.space.describe(a))  # noqa: E731
    return ReferenceRounds(machine.subject, key, machine.subject(REFERENCE), Timer(), 25, generator, level)


def answers(seed: int) -> Callable[[float], SearchResult]:
    scores = np.random.default_rng(seed).random(SPACE.space.blocks.dimension)
    return lambda limit: project_point(with_limit(PROBLEM, "latency", limit), SPACE.staged, scores, scores)


@pytest.mark.parametrize("slower", [0.7, 1.0, 1.5])
def test_drift_cancels_and_every_network_fits(slower: float) -> None:
    machine = Machine(slower, 0.3)
    budgets = [answers(seed)(limit).costs["latency"] for seed in range(6) for limit in (2.0, 2.4)]  # no room for the table's error
    rounds = rounds_of(machine, COST.cost(REFERENCE))
    asked = [tightened(answers(place // 2), budget) for place, budget in enumerate(budgets)]
    found = measured_together(asked, rounds)
    for budget, each in zip(budgets, found, strict=True):
        assert len(each.attempts) > 1  # the first answer of every search is too slow by 6 %
        assert machine.true(each.result.architecture) <= budget
        for attempt in each.attempts:
            assert attempt.median == pytest.approx(WRONG * attempt.estimated, rel=0.02)


def test_a_machine_of_the_tables_speed_loses_nothing() -> None:
    machine = Machine(1.3, 0.3)
    rounds = rounds_of(machine, COST.cost(REFERENCE))
    (found,) = measured_together([tightened(answers(0), 2.4 * WRONG, use=0.9)], rounds)
    assert found.attempts[0].fits and len(rounds.kept) == len({str(a.estimated) for a in found.attempts})
    assert all(len(samples) == 25 for samples in rounds.kept.values())


def test_the_level_is_the_references_own_time() -> None:
    rounds = rounds_of(Machine(1.0, 0.0), float("nan"))
    assert rounds.measure_level(40) == pytest.approx(COST.cost(REFERENCE), rel=0.1)
    assert rounds([REFERENCE] * 2)[0] == rounds.kept[rounds.key(REFERENCE)]  # equal networks are measured once
    assert np.median(rounds.kept[rounds.key(REFERENCE)]) == pytest.approx(rounds.level, rel=0.01)


def test_a_network_a_hair_over_its_budget_does_not_fit() -> None:
    result, limit = answers(0)(2.0), 2.0
    outcome = Outcome(0, 0, limit, "made up", result, None, 0.0)
    assert [Found(outcome, result, share * limit, None, 0).fits for share in (0.995, 1.0, 1.005)] == [True, True, False]
