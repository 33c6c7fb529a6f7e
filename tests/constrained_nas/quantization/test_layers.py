"""Costs of quantized layers are the library's, rounding is undone, and sensitivities are those of a network quantized by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from constrained_nas.quantization import bits_name, distance, find_layers, measure_sensitivities, network_logits, rounded
from graphs import FLOAT, Operation, filter_network
from graphs.costs import BitOperations, MemoryTraffic
from graphs.filters import fake_quantize_weights
from graphs.spaces.resnet_filters import SmallResNet


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return SmallResNet((4, 6), 1, 10, 3).eval()


IMAGES = torch.randn((6, 3, 8, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bits", [4, 8])
def test_costs_are_those_of_the_library(network: nn.Module, bits: int) -> None:
    layers = find_layers(network, [IMAGES])
    space = filter_network(network, (3, 8, 8), (Operation(bits, bits),)).topology.quantization_space((Operation(bits, bits),))
    pair = Operation(bits, bits)
    assert [layer.reads_image for layer in layers] == [True] + [False] * (len(layers) - 1)
    convolutions = [layer for layer in layers if isinstance(layer.module, nn.Conv2d)]
    assert len(convolutions) == len(layers) - 1  # and the classifier
    total = math.fsum(layer.bit_operations(pair) for layer in convolutions)
    assert total == pytest.approx(BitOperations(space).cost(space.homogeneous()), rel=1e-13)
    bytes_ = math.fsum(layer.weight_bytes(bits) - 4 * layer.channels for layer in convolutions)  # but for the scales
    exact = MemoryTraffic(space).cost(space.homogeneous()) / 8
    assert exact <= bytes_ < exact + bits * len(convolutions)  # packed by eights
    assert math.fsum(layer.weights for layer in convolutions) * bits / 8 == exact


def test_quantized_layers_round_and_come_back(network: nn.Module) -> None:
    layers = find_layers(network, [IMAGES])
    before = network_logits(network, IMAGES)
    kept = [layer.module.weight for layer in layers]
    found = []
    for bits in (2, 4, 8, 16):
        with rounded(layers, [Operation(bits, bits)] * len(layers), quantizer="paper"):
            levels = [len(torch.unique(filters)) for filters in layers[1].module.weight]
            assert max(levels) <= 2**bits - 1
            found.append(distance("divergence", before, network_logits(network, IMAGES), None))
    assert found[0] > found[1] > found[2] > 0 and found[3] < 1e-3
    assert all(layer.module.weight is weight for layer, weight in zip(layers, kept, strict=True))
    assert torch.equal(network_logits(network, IMAGES), before)


def test_divergences_are_those_of_a_layer_quantized_by_hand(network: nn.Module) -> None:
    layers = find_layers(network, [IMAGES])
    reports: list[tuple[int, int, str]] = []
    operations = (Operation(3, 32), FLOAT)
    found = measure_sensitivities(
        network, layers, operations, IMAGES, quantizer="paper", progress=lambda *done: reports.append(done)
    )
    table = np.array([[found.added[layer.name][bits_name(each)] for each in operations] for layer in layers])
    assert reports == [(row + 1, len(layers), "measuring layers") for row in range(len(layers))]
    assert not table[:, 1].any(), "floating point is what it is compared with"
    before = network_logits(network, IMAGES)
    for row, layer in enumerate(layers):
        if layer.module.bias is not None:
            continue  # the classifier's is corrected
        kept = layer.module.weight.detach().clone()
        with torch.no_grad():
            layer.module.weight.copy_(fake_quantize_weights(kept, torch.full((len(kept),), 3)))
            p, q = (each.double().softmax(1) for each in (before, network(IMAGES)))
            layer.module.weight.copy_(kept)
        by_hand = float((p * (p / q).log()).sum(1).mean())
        assert table[row, 0] == pytest.approx(by_hand, rel=1e-9, abs=1e-12)  # differences of logarithms near each other
    assert np.isfinite(table).all() and (table[:, 0] > 0).all()


def test_networks_without_convolutions() -> None:
    with pytest.raises(ValueError, match="expected a network with convolutions"):
        find_layers(nn.Flatten(), [IMAGES])
