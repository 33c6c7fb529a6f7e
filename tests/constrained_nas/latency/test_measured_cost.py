"""Milliseconds as a cost: of what runs, and only of that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from constrained_nas.latency import Timer, measured_latency, summed_latency
from constrained_nas.methods import Budgeted
from constrained_nas.problem import Budget, SearchProblem
from graphs import convolutional_neural_fabric, resnet_fabric
from graphs.costs import SubgraphCost
from graphs.spaces import plain_resnet


def test_a_larger_network_takes_longer_and_a_disconnected_one_no_time() -> None:
    space = resnet_fabric(2, widths=(16, 32, 64), side=16, image_channels=1)
    latency = measured_latency(space, Timer(batch=4))
    assert isinstance(latency, SubgraphCost)
    assert Budget(latency, 5.0, "ms").cost is latency
    before = torch.random.get_rng_state()
    plain, whole = latency.cost(plain_resnet(space)), latency.cost(space.whole)
    assert 0 < plain < whole  # 12 modules against 28: a factor of two and more, far beyond the noise of a median
    running = space.connectivity.running(space.space, space.whole)
    rows = latency.cost_of_running(np.stack([running, np.zeros_like(running)]))
    assert rows[0] > 0
    assert rows[1] == 0
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_cannot_be_timed_is_named() -> None:
    space = convolutional_neural_fabric(1, 2, 2, classes=2, side=4)
    with pytest.raises(ValueError, match="one round or more, got 0"):
        measured_latency(space, rounds=0)
    with pytest.raises(ValueError, match="'latency': no path of modules"):
        measured_latency(space).cost(space.switched([False]))
    with pytest.raises(ValueError, match="one round or more, got 0"):
        summed_latency(space, rounds=0)


def test_summed_latencies_are_held_by_hard_searches() -> None:
    space = resnet_fabric(2, widths=(8, 16), side=16, image_channels=1)
    cost = summed_latency(space, rounds=3)
    keys = space.connectivity.edges
    times = dict(zip(keys, cost.per_edge, strict=True))
    assert cost.unit == "ms"
    assert times["stem", "group1.block1", "skip"] == 0  # the identity
    assert times["stem", "group1.block1", "body"] > 0
    alike = [
        times[key]
        for key in keys
        if key[2] == "body" and key[:2] in (("stem", "group1.block1"), ("group1.block1", "group1.block2"))
    ]
    assert len(alike) == 2 and len(set(alike)) == 1
    problem = SearchProblem(space.space, (Budget(cost, 0.5 * cost.cost(space.whole), "ms"),))
    method = Budgeted(space, hard=True)
    found = method.finish(problem, method.init(problem, np.random.default_rng(0)))
    assert found.feasible and 0 < found.costs["latency"] <= problem.limits[0]
