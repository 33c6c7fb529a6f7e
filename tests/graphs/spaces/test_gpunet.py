"""The PruNet spaces: their sizes to the digit, a super-network that equals its networks, and backbones for detectors."""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import cache

import numpy as np
import pytest
import torch
from support.tiny import random_architecture, stir
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from graphs import Supernet
from graphs.backbones import feature_backbone
from graphs.blocks import BlockChoice, FusedInvertedResidual, InvertedResidual, StochasticDepth, StochasticLayer
from graphs.costs import count
from graphs.spaces import (
    GPUNetSettings,
    GPUNetSpace,
    GPUNetStage,
    gpunet_cifar,
    gpunet_imagenet,
    gpunet_imagewoof,
    gpunet_small,
)


@cache
def small() -> tuple[GPUNetSpace, Supernet]:
    torch.manual_seed(0)
    space = gpunet_small()
    net = space.supernet().double().eval()
    stir(net, 1)
    return space, net


def images(space: GPUNetSpace, rows: int, seed: int) -> Tensor:
    s = space.settings
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, s.image_channels, s.resolution, s.resolution, generator=generator, dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_sizes_of_the_papers_table_3() -> None:
    sizes = gpunet_imagenet(depths=(2, 3, 2, 5, 5)).sizes
    assert sizes.fbnet == 2**2 * 8**17 == 9007199254740992
    assert sizes.prunode == 2**2 * 24 * 64 * 64 * 96**2 * 96 * 160 * 160 * 288**4 * 288 * 448**4
    assert f"{sizes.prunode:.5e}" == "7.10820e+38"
    assert sizes.layer_skipping == 3**2 * 9**17 == 150094635296999121
    assert sizes.all == 3**2 * 24 * 65 * 64 * 97**2 * 96 * 161 * 160 * 289**4 * 288 * 449**4
    assert sizes.all == 1_707_170_371_551_722_769_733_494_667_243_369_267_200
    assert f"{sizes.all / sizes.fbnet:.3e}" == "1.895e+23"


def test_sizes_count_the_space_itself() -> None:
    for space in (gpunet_small(), gpunet_imagewoof()):
        product = 1
        for decision in space.space.decisions:
            product *= len(decision.options)
        assert space.sizes.all == product
    # A layer of c inputs has 4 * 8 c / 32 = c choices, and the skip.
    for name, shape in gpunet_imagenet().layers.items():
        assert len(shape.options) - shape.skippable == (2 if name.startswith("stage1") else shape.inputs)


def test_the_imagenet_space_is_the_papers() -> None:
    space = gpunet_imagenet()
    firsts = [shape for name, shape in space.layers.items() if name.endswith("layer1")]
    assert [(s.operator, s.inputs, s.outputs, s.stride, s.side) for s in firsts] == [
        ("convolution", 24, 24, 1, 144),
        ("fused", 24, 64, 2, 144),
        ("fused", 64, 96, 2, 72),
        ("inverted", 96, 160, 2, 36),
        ("inverted", 160, 288, 1, 18),
        ("inverted", 288, 448, 2, 18),
    ]
    assert [s.blocks[0].activation for s in firsts] == ["relu", "swish", "swish", "swish", "relu", "relu"]
    assert [s.skippable for s in firsts] == [True] + [False] * 5
    assert sum(s.operator != "convolution" for s in space.layers.values()) == 18
    assert space.layers["stage6.layer2"].widths == tuple(range(32, 3585, 32))
    assert len(space.unique_blocks) == len(gpunet_imagenet(depths=(2, 3, 2, 5, 5)).unique_blocks) == 1690
    with pytest.raises(ValueError, match="five stages"):
        gpunet_imagenet(depths=(1, 2, 3, 4))


def test_the_imagewoof_space_is_the_papers() -> None:
    space = gpunet_imagewoof()
    layers = space.layers
    assert sum(s.operator != "convolution" for s in layers.values()) == 18
    assert (layers["stage1.layer1"].side, layers["stage6.layer6"].side) == (224, 14)
    assert [b.name for b in layers["stage1.layer1"].blocks] == ["k3_relu", "k5_relu", "k7_relu"]
    assert [b.name for b in layers["stage3.layer1"].blocks] == ["k3_relu", "k5_relu", "k3_swish", "k5_swish", "k7_swish"]
    assert [b.name for b in layers["stage5.layer1"].blocks] == ["k3_relu", "k5_relu", "k7_relu", "k3_swish", "k5_swish"]
    for shape in layers.values():
        assert shape.widths == (() if shape.operator == "convolution" else (8 * shape.inputs,)), "expansion 8, no widths to search"
    sizes = space.sizes
    assert sizes.prunode == sizes.fbnet == 3**2 * 5**18
    assert sizes.all == (3 + 1) ** 2 * 5**5 * (5 + 1) ** 13  # the first layers of five stages change the shape


def test_the_head_is_table_1s() -> None:
    for space in (gpunet_imagenet(), gpunet_imagewoof()):
        s = space.settings
        assert (s.head_channels, s.head_activation, s.stem_channels, s.stem_activation) == (1280, "relu", 24, "swish")
    with torch.device("meta"):
        head = gpunet_imagenet().fixed_modules()[1][0]
    assert [type(module).__name__ for module in head.modules() if not list(module.children())] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "AdaptiveAvgPool2d",
        "Flatten",
        "Dropout",
        "Linear",
    ]


def test_the_space_for_cifar() -> None:
    space = gpunet_cifar()
    firsts = [shape for name, shape in space.layers.items() if name.endswith("layer1")]
    assert [(s.inputs, s.outputs, s.stride, s.side) for s in firsts] == [(24, 32, 1, 32), (32, 64, 2, 32), (64, 96, 2, 16)]
    assert [len(space.layers), sum(s.skippable for s in space.layers.values())] == [7, 4]
    assert all(s.widths == tuple(range(16, 6 * s.inputs + 1, 16)) for s in space.layers.values())


def test_supernet_equals_extracted_networks() -> None:
    space, net = small()
    generator = np.random.default_rng(2)
    skips = 0
    for draw in range(8):
        architecture = random_architecture(space.space, generator)
        if draw == 0:
            architecture = space.space.choose(
                {name: "skip" if shape.skippable else shape.options[0].name for name, shape in space.layers.items()}
            )
        x = images(space, 2, draw)
        with torch.no_grad():
            plain = net.extract(architecture)
            close(net(x, net.gates(architecture)), plain(x))
            rebuilt = space.network(architecture).double().eval()
            rebuilt.load_state_dict(plain.state_dict())
            assert torch.equal(rebuilt(x), plain(x))
        kept = [module for module in plain if isinstance(module, FusedInvertedResidual | InvertedResidual)]
        skips += len(space.layers) - 1 - len(kept)
        assert not any(isinstance(module, StochasticLayer) for module in plain.modules())
    assert skips > 0


def test_descriptions() -> None:
    space, _ = small()
    generator = np.random.default_rng(3)
    for _ in range(20):
        architecture = random_architecture(space.space, generator)
        described = space.describe(architecture)
        assert space.architecture(json.loads(json.dumps(described))) == architecture
    assert described.keys() == space.layers.keys()
    assert set(described["stage1.layer1"]) == {"block"} or described["stage1.layer1"] == "skip"
    assert space.describe(space.space.choose({name: shape.options[0].name for name, shape in space.layers.items()}))[
        "stage2.layer1"
    ] == {"block": "k3_swish", "width": 8}
    with pytest.raises(ValueError, match=r"decision 'stage2.layer1': no option 'k3_swish_w9'"):
        space.architecture(described | {"stage2.layer1": {"block": "k3_swish", "width": 9}})


def test_the_small_space_is_light() -> None:
    space, net = small()
    assert len(space.layers) == 9
    assert sum(shape.skippable for shape in space.layers.values()) == 7
    assert sum(parameter.numel() for parameter in net.parameters()) < 500_000
    widest = {name: shape.options[-1 - shape.skippable].name for name, shape in space.layers.items()}
    assert count(space.network(space.space.choose(widest)), (1, 32, 32)).macs < 20e6


def test_stochastic_depth_of_a_network() -> None:
    space, _ = small()
    architecture = space.space.choose({name: shape.options[0].name for name, shape in space.layers.items()})
    network = space.network(architecture, stochastic_depth=0.2)
    rates = [module.rate for module in network if isinstance(module, StochasticDepth)]
    assert rates == pytest.approx([0.2 * k / 7 for k in range(1, 8)])
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("space", "reductions", "channels"),
    [
        (gpunet_imagenet(classes=10, depths=(1, 2, 1, 2, 1)), [4, 8, 16, 32], [64, 96, 288, 448]),
        (gpunet_imagewoof(depths=(1, 1, 1, 1, 1)), [4, 8, 16], [96, 288, 448]),
        (gpunet_small(image_channels=3), [4, 8], [16, 32]),
    ],
)
def test_backbones_feed_a_feature_pyramid(space: GPUNetSpace, reductions: list[int], channels: list[int]) -> None:
    torch.manual_seed(0)
    narrowest = {name: shape.options[0].name for name, shape in space.layers.items()}
    network = space.network(space.space.choose(narrowest)).eval()
    backbone = feature_backbone(network)
    info = backbone.feature_info
    assert (info.reduction(), info.channels()) == (reductions, channels)
    assert info.get_dicts(["num_chs", "reduction"]) == [
        {"num_chs": c, "reduction": r} for c, r in zip(channels, reductions, strict=True)
    ]
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        maps = backbone(x)
    assert [tuple(m.shape) for m in maps] == [(1, c, 96 // r, 64 // r) for c, r in zip(channels, reductions, strict=True)]
    whole = nn.Sequential(*list(network)[:-1])
    assert torch.equal(maps[-1], whole(x)), "the coarsest map is what the head sees"
    pyramid = FeaturePyramidNetwork(info.channels(), 8)
    levels = pyramid(OrderedDict((name, m) for name, m in zip(info.module_name(), maps, strict=True)))
    assert [level.shape[1] for level in levels.values()] == [8] * len(reductions)
    missing = backbone.load_state_dict(network.state_dict(), strict=False)
    assert not missing.missing_keys
    assert all(key.startswith("logits") for key in missing.unexpected_keys)


def test_networks_without_such_maps() -> None:
    with pytest.raises(ValueError, match=r"no feature map at the strides \(64,\)"):
        feature_backbone(
            gpunet_small().network(small()[0].space.choose({n: s.options[0].name for n, s in small()[0].layers.items()})), (64,)
        )


def test_networks_without_any_map() -> None:
    for network, strides in ((nn.Sequential(nn.Linear(3, 3)), (4,)), (nn.Sequential(nn.Conv2d(1, 1, 3)), ())):
        with pytest.raises(ValueError, match="with convolutions and at least one stride"):
            feature_backbone(network, strides)


def test_malformed_settings() -> None:
    block = (BlockChoice(3),)
    with pytest.raises(ValueError, match="at least one stage"):
        GPUNetSettings("bad", 32, 3, ())
    with pytest.raises(ValueError, match=r"8 x 4 hidden channels leave no two widths at granularity 32"):
        GPUNetSettings("bad", 32, 3, (GPUNetStage("fused", 1, 2, 4, block),), stem_channels=24)
