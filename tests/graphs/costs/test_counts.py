"""Counted costs equal the counts of extracted networks, and torch's own; latencies of relaxed points equal expectations."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from support.tiny import random_architecture, table_of, tiny_space
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from graphs import MBConvSpace, hardcore_imagenet, hardcore_small
from graphs.costs import CostModel, RelaxedCost, count, latency_cost, mac_cost, parameter_cost


def few_configurations() -> MBConvSpace:
    """Two configurations a block: 64 points that are 36 networks."""
    return tiny_space(expansions=(2,), squeeze_excite=(False,))


@pytest.mark.parametrize(("space", "draws"), [(tiny_space(), 10), (hardcore_small(), 4), (hardcore_imagenet(resolution=64), 2)])
def test_counted_costs_equal_the_counts_of_networks(space: MBConvSpace, draws: int) -> None:
    macs, parameters = mac_cost(space), parameter_cost(space)
    net = space.supernet()
    settings = space.settings
    shape = (settings.image_channels, settings.resolution, settings.resolution)
    generator = np.random.default_rng(0)
    for _ in range(draws):
        architecture = random_architecture(space.space, generator)
        network = net.extract(architecture).to("meta")  # shapes are enough to count
        counted = count(network, shape)
        assert counted.parameters == sum(parameter.numel() for parameter in network.parameters())
        assert (macs.cost(architecture), parameters.cost(architecture)) == (counted.macs, counted.parameters)
        with FlopCounterMode(display=False) as flops, torch.no_grad():
            network.eval()(torch.zeros(1, *shape, device="meta"))
        assert flops.get_total_flops() == 2 * counted.macs


def test_counts_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.Flatten(), nn.Linear(6 * 4 * 4, 10, bias=False))
    counted = count(network, (4, 8, 8))
    assert counted.macs == 6 * 16 * (3 * 3 * 2) + 96 * 10
    assert counted.parameters == 6 * 2 * 9 + 6 + 960
    assert network.training, "counting must leave the mode as it was"
    with pytest.raises(ValueError, match=r"cannot count the module on input shape \(5, 8, 8\)"):
        count(network, (5, 8, 8))
    assert not any(module._forward_hooks for module in network.modules()), "a failed count must take its hooks away"


def test_costs_are_what_the_protocols_ask() -> None:
    cost = mac_cost(tiny_space())
    assert isinstance(cost, CostModel)
    assert isinstance(cost, RelaxedCost)
    assert (cost.name, cost.unit) == ("macs", "MACs")
    assert (parameter_cost(tiny_space()).name, parameter_cost(tiny_space()).unit) == ("parameters", "parameters")


def test_latency_of_a_relaxed_point_is_the_expectation() -> None:
    space = few_configurations()
    generator = np.random.default_rng(1)
    cost = latency_cost(table_of(space, generator), space)
    blocks = space.space.blocks
    for _ in range(3):
        point = np.concatenate([generator.dirichlet(np.ones(size)) for size in blocks.sizes])
        expected, total = 0.0, 0.0
        for choices in itertools.product(*map(range, blocks.sizes)):
            vertex = blocks.vertex(choices)
            probability = float(np.prod(point[vertex == 1]))
            expected += probability * cost.cost(space.space.architecture(vertex))
            total += probability
        assert total == pytest.approx(1.0, rel=1e-12)  # the sum of 64 rounded products
        assert cost.quadratic.value(point) == pytest.approx(expected, rel=1e-12)


def test_latency_is_the_correctly_rounded_sum() -> None:
    space = tiny_space()
    generator = np.random.default_rng(2)
    table = table_of(space, generator)
    cost = latency_cost(table, space)
    medians = {(entry.block, entry.configuration): entry.median for entry in table.entries}
    for _ in range(50):
        architecture = random_architecture(space.space, generator)
        chosen = space.space.describe(architecture)
        running = [f"stage{s}.block{b}" for s in (1, 2) for b in range(1, int(chosen[f"stage{s}.depth"]) + 1)]
        exact = Fraction(table.fixed) + sum(Fraction(medians[block, chosen[block]]) for block in running)
        assert cost.cost(architecture) == float(exact)


def test_tables_of_another_space_or_with_holes() -> None:
    space = tiny_space()
    generator = np.random.default_rng(3)
    table = table_of(space, generator)
    with pytest.raises(ValueError, match="table is of space 'other', the search is in 'tiny': measure this space"):
        latency_cost(table.model_copy(update={"space": "other"}), space)
    with pytest.raises(ValueError, match=r"no entry for block 'stage1\.block2', configuration 'e2_k3_se'"):
        latency_cost(table.model_copy(update={"entries": table.entries[:9] + table.entries[10:]}), space)
    with pytest.raises(ValueError, match=r"two entries for block 'stage1\.block1', configuration 'e2_k3'"):
        latency_cost(table.model_copy(update={"entries": (*table.entries, table.entries[0])}), space)
