"""Networks from timm's block strings: read, refused, scaled, and the very same as timm's where it is installed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from graphs.spaces import TimmSettings, timm_network, with_channels_of
from graphs.spaces.timm_family.strings import TimmBlock

MIXNET_S = [
    ["ds_r1_k3_s1_e1_c16"],
    ["ir_r1_k3_a1.1_p1.1_s2_e6_c24", "ir_r1_k3_a1.1_p1.1_s1_e3_c24"],
    ["ir_r1_k3.5.7_s2_e6_c40_se0.5_nsw", "ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw"],
    ["ir_r1_k3.5.7_p1.1_s2_e6_c80_se0.25_nsw", "ir_r2_k3.5_p1.1_s1_e6_c80_se0.25_nsw"],
    ["ir_r1_k3.5.7_a1.1_p1.1_s1_e6_c120_se0.5_nsw", "ir_r2_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw"],
    ["ir_r1_k3.5.7.9.11_s2_e6_c200_se0.5_nsw", "ir_r2_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw"],
]
EDGE = [
    ["er_r1_k3_s1_e4_c24_fc24_noskip"],
    ["er_r2_k3_s2_e8_c32"],
    ["er_r4_k3_s2_e8_c48"],
    ["ir_r5_k5_s2_e8_c96"],
    ["ir_r4_k5_s1_e8_c144"],
    ["ir_r2_k5_s2_e8_c192"],
]
SMALL = [
    ["ds_r1_k3_s2_e1_c16_se0.25_nre"],
    ["ir_r1_k3_s2_e4.5_c24_nre", "ir_r1_k3_s1_e3.67_c24_nre"],
    ["ir_r1_k5_s2_e4_c40_se0.25", "ir_r2_k5_s1_e6_c40_se0.25"],
    ["ir_r2_k5_s1_e3_c48_se0.25"],
    ["ir_r3_k5_s2_e6_c96_se0.25"],
    ["cn_r1_k1_s1_c576"],
]
MOBILENETV3 = partial(
    TimmSettings,
    stem=16,
    head="pooled",
    activation="hard_swish",
    attention_of_expanded=True,
    attention_divisor=8,
    attention_gate="hard_sigmoid",
    attention_activation="relu",
)
NETWORKS: dict[str, tuple[list[list[str]], TimmSettings, int]] = {  # parameters as timm 1.0.31 counts them
    "mixnet_s": (MIXNET_S, TimmSettings(stem=16, features=1536, activation="relu"), 4_134_606),
    "efficientnet_es": (EDGE, TimmSettings(features=1280, activation="relu"), 5_438_392),
    "mobilenetv3_small_050": (SMALL, MOBILENETV3(width=0.5, stem=16, fixed_stem=True, features=1024), 1_593_224),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_timms(name: str) -> None:
    stages, settings, count = NETWORKS[name]
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in timm_network(stages, settings).parameters()) == count


B0 = [["ds_r1_k3_s1_e1_c16_se0.25"], ["ir_r2_k3_s2_e6_c24_se0.25"], ["ir_r2_k5_s2_e6_c40_se0.25"], ["ir_r3_k3_s2_e6_c80_se0.25"]]
B0 += [["ir_r3_k5_s1_e6_c112_se0.25"], ["ir_r4_k5_s2_e6_c192_se0.25"], ["ir_r1_k3_s1_e6_c320_se0.25"]]
EXPERTS = B0[:4] + [[f"{text}_cc4" for text in stage] for stage in B0[4:]]
FUSED = [["ds_r1_k3_s1_e1_c16_se0.25_d1"], ["er_r2_k3_s2_e6_c24_se0.25_nre"], ["er_r2_k5_s2_e6_c40_se0.25_nre"], *B0[3:]]


def test_parameters_of_networks_with_experts_and_folded_pixels_are_timms() -> None:
    wanted = {  # as timm 1.0.31 counts them
        "efficientnet_cc_b0_8e": (EXPERTS, TimmSettings(experts=2), 24_013_284),
        "efficientnet_x_b3": (FUSED, TimmSettings(width=1.2, depth=1.4, features=1536), 13_299_652),
    }
    for stages, settings, count in wanted.values():
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in timm_network(stages, settings).parameters()) == count


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_timms(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is an optional peer: install it to compare with its networks")
    torch.manual_seed(0)
    theirs: Any = timm.create_model(name, pretrained=False).eval()
    ours = timm_network(*NETWORKS[name][:2]).eval()
    weights, mine = theirs.state_dict(), ours.state_dict()
    for tensor in weights.values():
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.9, 1.1)
    assert len(weights) == len(mine)
    pairs = zip(mine.items(), weights.values(), strict=True)
    ours.load_state_dict({key: given.reshape(tensor.shape) for (key, tensor), given in pairs})
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


FOLDED = [["ds_r1_k3_s1_e1_c16_se0.25_d1"], ["er_r2_k3_s2_e4_c24_se0.25_nre"], ["ir_r2_k3_s2_e4_c40_se0.25"]]
QUERIES = [["er_r1_k3_s2_e2_c16"], ["mqa_r1_k3_h4_s1_v2_d8_c16", "mqa_r1_k3_h2_s1_d8_c16", "uir_r1_a3_k3_s1_e2_c16"]]
NARROW = [["ds_r1_k3_s1_e1_c16_se0.25"], ["ir_r2_k3_s2_e3_c24_se0.25"]]
SMALL_ONES: dict[str, tuple[list[list[str]], dict[str, Any], dict[str, Any]]] = {  # strings, our settings, timm's
    "folded pixels": (FOLDED, {"depth": 1.4}, {}),
    "attention of queries": (QUERIES, {}, {}),
    "experts": ([["ds_r1_k3_s2_e1_c16"], ["ir_r2_k5_s1_e3_c16_se0.25_cc2"]], {"experts": 2}, {}),
    "global context": (NARROW, {"attention": "global_context"}, {"se_layer": "gc"}),
    "normalized in groups": (NARROW, {"norm": "group"}, {"norm": "GroupNormAct"}),
    "normalized over channels": (NARROW, {"norm": "layer"}, {"norm": "LayerNormAct2d"}),
    "evolved normalization": (NARROW, {"norm": "evonorm"}, {"norm": "EvoNorm2dS0"}),
}


@pytest.mark.parametrize("name", SMALL_ONES)
def test_outputs_of_small_networks_are_timms(name: str) -> None:
    layers = pytest.importorskip("timm.layers", reason="timm is an optional peer: install it to compare with its networks")
    from timm.models.efficientnet import EfficientNet, decode_arch_def

    stages, ours, options = SMALL_ONES[name]
    torch.manual_seed(0)
    norm = getattr(layers, options.pop("norm")) if "norm" in options else None
    norm = partial(norm, group_size=8) if ours.get("norm") in ("group", "evonorm") else norm
    blocks = decode_arch_def(stages, ours.get("depth", 1.0), experts_multiplier=ours.get("experts", 1))
    theirs: Any = EfficientNet(blocks, 10, 64, act_layer=torch.nn.SiLU, norm_layer=norm, **options).eval()
    if name == "folded pixels" and theirs.blocks[0][0].bn_s2d.eps > 1:
        pytest.skip("this timm takes the number of channels for the epsilon of folded pixels")
    mine = timm_network(stages, TimmSettings(features=64, classes=10, **ours)).eval()
    weights = theirs.state_dict()
    for tensor in weights.values():
        if tensor.is_floating_point():
            tensor.add_(0.05 * torch.randn_like(tensor)).abs_() if tensor.ndim == 1 else tensor.mul_(2)
    pairs = zip(mine.state_dict().items(), weights.values(), strict=True)
    mine.load_state_dict({key: given.reshape(tensor.shape) for (key, tensor), given in pairs})
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(mine(images), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
        assert float((expected[0] - expected[1]).abs().max()) > 1e-3 * float(expected.abs().max())  # of the images, not of biases


def test_attention_ends_in_learnt_factors() -> None:
    with torch.device("meta"):
        plain, scaled = (timm_network(QUERIES, TimmSettings(features=64, layer_scale=scale)) for scale in (False, True))
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (plain, scaled)]
    assert counts[1] - counts[0] == 3 * 16  # two mqa and one uir of 16 channels


def test_channels_of_a_pruned_network() -> None:
    wide, narrow = (timm_network(NARROW, TimmSettings(features=64, classes=10, width=width)) for width in (1.0, 0.5))
    built = with_channels_of(wide, narrow).eval()
    assert built.state_dict().keys() == narrow.state_dict().keys()
    built.load_state_dict(narrow.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(built(images), narrow.eval()(images))
    with pytest.raises(ValueError, match=r"layers and .* of the other network"):
        with_channels_of(wide, narrow[:3])
    larger = timm_network([["ds_r1_k5_s1_e1_c16_se0.25"], NARROW[1]], TimmSettings(features=64, classes=10))
    with pytest.raises(ValueError, match=r"stage1_block1.0.conv: Conv2d.*kernel_size=\(3, 3\).* has Conv2d.*\(5, 5\)"):
        with_channels_of(wide, larger)


def test_depth_and_width_are_scaled() -> None:
    stages = [["ds_r1_k3_s1_e1_c16"], ["ir_r1_k3_s2_e6_c24", "ir_r2_k3_s1_e3_c24"], ["ir_r1_k3_s1_e6_c32"]]

    def blocks(**options: Any) -> list[str]:
        with torch.device("meta"):
            return [name for name, _ in timm_network(stages, TimmSettings(**options)).named_children() if "block" in name]

    assert len(blocks()) == 5
    assert len(blocks(depth=2.0)) == 10 and len(blocks(depth=2.0, fixed_ends=True)) == 8
    assert len(blocks(depth=(1.0, 1.4, 3.0))) == 1 + 5 + 3
    assert len(blocks(depth=1.2)) == 2 + 4 + 2 and len(blocks(depth=1.2, depth_rounding="nearest")) == 1 + 4 + 1
    with torch.device("meta"):
        wide = timm_network(stages, TimmSettings(width=1.4))
    assert wide.stage1_block1.outputs == 24  # 22.4, to the next multiple of 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mha_r1_k3_h8_s1_d48_c192", "blocks of kind 'mha' are not supported"),
        ("mqa_r1_k3_s1_d48_c192", "no h"),
        ("ir_r3_k5_s1_e6_c112_xx4", "argument 'xx4' is not supported"),
        ("ir_r1_k3.5_s1_e6_c112_cc4", "experts .cc. are for ir with one kernel"),
        ("er_r1_k3_s1_e6_c112_cc4", "experts .cc. are for ir with one kernel"),
        ("ir_r1_k3_s1_c24", "no e"),
        ("ds_r1_k3_c24", "no s"),
    ],
)
def test_strings_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TimmBlock.read(text)
