"""The space of NAS-Bench-Macro: its networks are the benchmark's, by multiply-adds and parameters, and its super-network's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.macro import benchmark_path, counts, points
from support.tiny import stir

from graphs import MacroSpace
from graphs.costs import count, mac_cost, parameter_cost

SPACE = MacroSpace()


def test_codes() -> None:
    assert SPACE.architectures == 3**8
    for code in ("00000000", "01201201", "22212220"):
        assert SPACE.code(SPACE.architecture(code)) == code
    described = SPACE.space.describe(SPACE.architecture("01200000"))
    assert [described[f"layer{n}"] for n in (1, 2, 3)] == ["identity", "mb3_k3", "mb6_k5"] and described["depth"] == "8"
    for wrong in ("0120120", "012012013", "01201203", "0120120x"):
        with pytest.raises(ValueError, match="8 digits of 0, 1 and 2"):
            SPACE.architecture(wrong)


def test_published_counts() -> None:
    """Three networks as the benchmark's file has them."""
    published = {"02012100": (47327744, 890666), "11111221": (65012224, 2181386), "00011110": (31390208, 1118378)}
    macs, params = mac_cost(SPACE), parameter_cost(SPACE)
    for code, (flops, parameters) in published.items():
        network = SPACE.architecture(code)
        assert (macs.cost(network), params.cost(network)) == (flops, parameters)
        counted = count(SPACE.supernet().extract(network), (3, 32, 32))
        assert (counted.macs, counted.parameters) == (flops, parameters)


def test_the_supernet_equals_the_networks_in_it() -> None:
    torch.manual_seed(0)
    net = SPACE.supernet().double().eval()
    stir(net, 1)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for code in ("00000000", "22222222", "01202110"):
        network = SPACE.architecture(code)
        gates = {name: gate.double() for name, gate in net.gates(network).items()}
        torch.testing.assert_close(net(images, gates), net.extract(network)(images), rtol=1e-9, atol=1e-12)


def _compare(step: int) -> None:
    content = json.loads(benchmark_path().read_text())
    codes = sorted(content)[::step]
    macs, params = mac_cost(SPACE), parameter_cost(SPACE)
    for code in codes:
        network = SPACE.architecture(code)
        assert (macs.cost(network), params.cost(network)) == (content[code]["flops"], content[code]["params"]), code


def test_some_counts_are_the_files() -> None:
    _compare(97)


@pytest.mark.slow
def test_all_counts_are_the_files() -> None:
    _compare(1)


def test_points_of_the_tests_are_the_spaces() -> None:
    place = 1234
    network = SPACE.space.architecture(points()[place])
    assert counts()[:, place].tolist() == [mac_cost(SPACE).cost(network), parameter_cost(SPACE).cost(network)]
    assert np.array_equal(SPACE.space.point(network), points()[place])
