"""The end of a run: networks to hold the found one against, and what other budgets would have brought."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.tiny import run, settings

from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.records import architecture_of
from constrained_nas.runs import load_run, make_space
from constrained_nas.runs.families import DagFamily
from constrained_nas.training import read_curves
from graphs.costs import mac_cost, parameter_cost


def test_other_limits_of_a_search(tmp_path: Path) -> None:
    """A wider limit never lowers the score, a narrower one never raises it, and what is told of each network is so."""
    record = run(tmp_path, settings("hardcore-small", "params=60e3", "macs=170e3", method="hardcore"))
    family = make_space("hardcore-small", 10, 1, 16)
    costs = {cost.name: cost for cost in family.counted().values()}
    assert record.certificate is not None and {near.cost for near in record.nearby} == {budget.cost for budget in record.budgets}
    for budget in record.budgets:
        along = sorted((near for near in record.nearby if near.cost == budget.cost), key=lambda near: near.limit)
        scores = [near.score for near in along]
        assert None not in scores and scores == sorted(scores)
        for near in along:
            network = architecture_of({**record.found.choices, **near.changes}, family.decisions)
            assert {name: costs[name].cost(network) for name in near.costs} == pytest.approx(near.costs)
            assert near.costs[near.cost] <= near.limit
            narrower, score = near.limit <= budget.limit, record.certificate.primal
            assert near.score is not None and (near.score <= score + 1e-9 if narrower else near.score >= score - 1e-9)
    assert load_run(tmp_path).nearby == record.nearby


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_random_and_uniform_networks_fit(share: float) -> None:
    family = make_space("hardcore-small", 10, 1, 16)
    space, macs, parameters = family.decisions, mac_cost(family.space), parameter_cost(family.space)  # type: ignore[attr-defined]
    low, high = macs.cost(family.cheapest(macs)), macs.cost(family.largest(macs))
    problem = SearchProblem(
        space, (Budget(macs, low + share * (high - low), macs.unit), Budget(parameters, 150e3, parameters.unit))
    )
    for seed in range(3):
        drawn = family.random(problem, seed)
        assert drawn is not None and problem.fits(drawn)
        assert drawn == family.random(problem, seed)
    uniform = family.uniform(problem)
    assert uniform is not None and problem.fits(uniform)
    options, depths = space.decisions[0].options, ("2", "3", "4")
    alike = [
        space.choose({d.name: depth if d.name.endswith("depth") else option for d in space.decisions})
        for option in options
        for depth in depths
    ]
    assert macs.cost(uniform) == max(macs.cost(one) for one in alike if problem.fits(one))


def test_references_of_graphs_are_trained_from_scratch(tmp_path: Path) -> None:
    """A super-network that was trained while it was searched favours what was found: others do not begin with its weights."""
    record = run(tmp_path, settings("cnf-small", "params=12e3", test_references=True))
    assert [network.name for network in record.references] == ["cheapest", "largest", "random"]
    assert all(network.accuracy is not None for network in record.references)
    random = record.references[2]
    assert random.costs[record.budgets[0].cost] <= 12e3 and random.choices != record.found.choices
    family = DagFamily.build("cnf-small", 10, 1, 16)
    running = family.space.connectivity.running(family.space.space, architecture_of(random.choices, family.decisions))
    assert np.any(running)
    lines = read_curves(tmp_path / "curves.jsonl")
    ends = [line for line in lines if line["phase"] == "reference random" and "validation" in line]
    assert len(ends) == record.settings["epochs"] + record.settings["fine_tune_epochs"]
