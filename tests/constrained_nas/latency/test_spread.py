"""Networks are different, in order, and where even spacing wants them."""

from __future__ import annotations

import numpy as np
import pytest
from support.fakes import true_table
from support.tiny import tiny_space

from constrained_nas.latency.spread import spread_networks
from graphs import hardcore_small
from graphs.costs import latency_cost, mac_cost


def test_even_spacing() -> None:
    space = hardcore_small()
    cost = mac_cost(space)
    found = spread_networks(space, cost, 12, np.random.default_rng(0))
    costs = [cost.cost(architecture) for architecture in found]
    assert costs == sorted(costs)
    ideal = np.linspace(costs[0], costs[-1], 12)
    # 720 draws over the range: a gap of a twentieth of it around one of ten places is likelier than e-12 only in the tails.
    assert np.abs(np.array(costs) - ideal).max() < 0.05 * (costs[-1] - costs[0])
    least, most = (cost.cost(space.space.choose({d.name: d.options[end] for d in space.space.decisions})) for end in (0, -1))
    assert costs[0] < least + 0.1 * (most - least) and costs[-1] > most - 0.2 * (most - least)


def test_networks_differ_where_blocks_run() -> None:
    space = tiny_space(expansions=(2,), squeeze_excite=(False,))  # 64 points that are 36 networks
    assert space.architectures == 36
    cost = latency_cost(true_table(space), space)
    found = spread_networks(space, cost, 30, np.random.default_rng(0))
    running = set()
    for architecture in found:
        depths = [architecture.choice(f"stage{stage}.depth") + 1 for stage in (1, 2)]
        running.add(
            tuple(architecture.choice(f"stage{s + 1}.block{b + 1}") if b < depths[s] else -1 for s in (0, 1) for b in (0, 1))
        )
    assert len(running) == 30
    with pytest.raises(ValueError, match="networks: expected 2 to 36, as many as the space has, got 37"):
        spread_networks(space, cost, 37, np.random.default_rng(0))
