"""The HardCoRe space: its size, and a super-network that equals the networks it contains."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from support.tiny import images, random_architecture, stir, tiny_space
from torch import Tensor, nn

from graphs import (
    MBConvSettings,
    MBConvSpace,
    StageSetting,
    Supernet,
    hardcore_imagenet,
    hardcore_small,
    network_from_strings,
    ofa_mbv3,
)
from graphs.blocks import (
    Configuration,
    ElasticInvertedResidual,
    InvertedResidual,
    SqueezeExcite,
    activation_module,
    round_channels,
)
from graphs.costs import count, mac_cost, parameter_cost
from graphs.spaces import architecture_strings, read_architecture_strings

# Masked and narrow convolutions add up the same numbers in another order: float64 leaves some 1e-13 of the largest output.
RTOL = 1e-9


@cache
def compiled(kind: str) -> tuple[MBConvSpace, Supernet]:
    torch.manual_seed(0)
    space = {"tiny": tiny_space, "small": hardcore_small, "imagenet": lambda: hardcore_imagenet(resolution=64, classes=20)}[kind]()
    net = space.supernet().double().eval()
    stir(net, 1)
    return space, net


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=RTOL, atol=RTOL * float(expected.detach().abs().max()))


def test_number_of_architectures() -> None:
    assert hardcore_imagenet().architectures == 5906234995112194080768
    assert tiny_space().architectures == (8 + 8**2) ** 2
    assert hardcore_small().architectures == (12**2 + 12**3 + 12**4) ** 3


def test_the_imagenet_space_is_the_papers() -> None:
    space = hardcore_imagenet()
    assert [c.name for c in space.configurations[:4]] == ["e3_k3", "e3_k3_se", "e3_k5", "e3_k5_se"]
    assert len(space.configurations) == 12
    assert [(s.inputs, s.outputs, s.stride, s.side) for s in space.block_shapes[::4]] == [
        (16, 24, 2, 112),
        (24, 40, 2, 56),
        (40, 80, 2, 28),
        (80, 112, 1, 14),
        (112, 192, 2, 14),
    ]
    assert [s.activation for s in space.settings.stages] == ["relu", "relu"] + ["hard_swish"] * 3
    paper = hardcore_imagenet("paper").settings
    assert (paper.stem_activation, [s.activation for s in paper.stages]) == ("relu", ["relu"] + ["hard_swish"] * 4)
    assert space.staged.blocks.sizes == space.space.blocks.sizes == (12,) * 20 + (3,) * 5
    with pytest.raises(ValueError, match="variant: expected 'paper' or 'release', got 'timm'"):
        hardcore_imagenet("timm")  # type: ignore[arg-type]


def test_the_heaviest_network_has_the_greatest_option_of_every_decision() -> None:
    space = hardcore_small()
    described = space.space.describe(space.heaviest())
    assert {described[name] for name in space.block_names} == {"e6_k5_se"}
    assert {described[f"stage{number}.depth"] for number in (1, 2, 3)} == {"4"}


def test_published_channel_rule() -> None:
    # The squeezed widths of MobileNetV3-large at 72, 120, 480 and 672 expanded channels, whose rule this is.
    assert [Configuration(e, 5, True).reduced(i) for i, e in ((24, 3), (40, 3), (80, 6), (112, 6))] == [24, 32, 120, 168]
    assert Configuration(3, 3, False).reduced(24) == 0
    assert [round_channels(c) for c in (1, 8, 12, 18, 20)] == [8, 8, 16, 24, 24]  # 18 -> 16 would lose more than a tenth


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (0, 1, 2)}, r"depths \(0, 1, 2\)"),
        ({"depths": (2, 1)}, r"depths \(2, 1\)"),
        ({"depths": (1,)}, r"depths \(1,\).*2 blocks"),
        ({"depths": ()}, r"depths \(\)"),
        ({"stages": ()}, "at least one stage"),
        ({"expansions": (3, 3)}, r"expansions.*\(3, 3\)"),
        ({"kernels": (4,)}, r"kernels.*odd.*\(4,\)"),
    ],
)
def test_malformed_settings(changes: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"stages": (StageSetting(8, 2),), "blocks_per_stage": 2, "depths": (1, 2)} | changes
    with pytest.raises(ValueError, match=message):
        MBConvSettings("bad", 16, 3, **given)  # type: ignore[arg-type]


def test_unknown_activation() -> None:
    with pytest.raises(ValueError, match="unknown activation 'tanh'; there are relu"):
        activation_module("tanh")


@pytest.mark.parametrize(("kind", "draws"), [("tiny", 12), ("small", 6), ("imagenet", 3)])
def test_supernet_equals_extracted_networks(kind: str, draws: int) -> None:
    space, net = compiled(kind)
    generator = np.random.default_rng(2)
    rows = 2
    for draw in range(draws):
        architecture = random_architecture(space.space, generator)
        x = images(rows, space, draw)
        with torch.no_grad():
            plain = net.extract(architecture)(x)
            gates = net.gates(architecture)
            per_row = {name: gate.expand(rows, -1).clone() for name, gate in gates.items()}
            assert_same(net(x, gates), plain)
            assert_same(net(x, per_row), plain)
        for needed in (gates, per_row):  # one-hot gates that need a gradient run every option
            assert_same(net(x, {name: gate.clone().requires_grad_() for name, gate in needed.items()}).detach(), plain)


def test_extracted_networks_are_plain() -> None:
    space, net = compiled("tiny")
    generator = np.random.default_rng(0)
    for _ in range(5):
        architecture = random_architecture(space.space, generator)
        network = net.extract(architecture)
        assert isinstance(network, nn.Sequential)
        blocks = [module for module in network if isinstance(module, InvertedResidual)]
        assert len(blocks) == sum(architecture.choice(f"stage{stage}.depth") + 1 for stage in (1, 2))
        assert not any(isinstance(module, ElasticInvertedResidual | Supernet) for module in network.modules())
        # Copies: training the network leaves the super-network alone.
        assert {p.data_ptr() for p in network.parameters()}.isdisjoint({p.data_ptr() for p in net.parameters()})


def test_extraction_leaves_the_random_state_alone() -> None:
    space, net = compiled("tiny")
    before = torch.get_rng_state()
    net.extract(random_architecture(space.space, np.random.default_rng(0)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "hard_swish"])
@pytest.mark.parametrize("per_row", [False, True])
def test_mixture_and_gate_gradients(stride: int, activation: str, per_row: bool) -> None:
    torch.manual_seed(3)
    options = [Configuration(e, k, se) for e in (2, 3) for k in (3, 5) for se in (False, True)]
    block = ElasticInvertedResidual(8, 8, stride, options, activation).double().eval()
    stir(block, 4)
    x, direction = torch.randn(3, 8, 6, 6, dtype=torch.float64), torch.randn(3, 8, 6 // stride, 6 // stride, dtype=torch.float64)
    gate = torch.rand((3, 8) if per_row else (8,), dtype=torch.float64).softmax(-1).requires_grad_()
    narrow = torch.stack([block.narrow(option)(x) for option in range(8)], 1)  # (rows, options, 8, H, W)
    explicit = (gate.expand(3, 8)[:, :, None, None, None] * narrow).sum(1)
    output = block(x, gate)
    assert_same(output.detach(), explicit.detach())
    (found,) = torch.autograd.grad((output * direction).sum(), gate)
    (expected,) = torch.autograd.grad((explicit * direction).sum(), gate)
    # Gates sum to 1, so a gradient counts up to a constant over the options of a row: what all options share (the skip, the
    # last normalization's shift) is added once, not once an option. Every difference between two options must be right.
    assert_same(found - found.mean(-1, keepdim=True), expected - expected.mean(-1, keepdim=True))


@pytest.mark.parametrize("weights", [[0.3, 0.7], [1.0, 0.0], [0.0, 1.0]])  # a depth that is off has a gradient too
def test_depth_gate_gradients(weights: list[float]) -> None:
    space, net = compiled("tiny")
    generator = np.random.default_rng(5)
    architecture = random_architecture(space.space, generator)
    x = images(3, space, 6)
    gates = {name: gate.double() for name, gate in net.gates(architecture).items()}
    gates["stage2.depth"] = gate = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    gates["stage2.block2"] = torch.full((8,), 1 / 8, dtype=torch.float64)
    stage_ends: list[Tensor] = []
    by_key = dict(zip(net.edge_keys, net.edge_modules, strict=True))
    head = by_key["stage2", "logits", 0]
    hooks = [
        by_key[f"stage2.block{b}", "stage2", 0].register_forward_hook(lambda *call: stage_ends.append(call[2])) for b in (1, 2)
    ]
    output = net(x, gates)
    for hook in hooks:
        hook.remove()
    shallow, deep = stage_ends
    explicit = head(gate[0] * shallow + gate[1] * deep)
    assert_same(output.detach(), explicit.detach())
    (found,) = torch.autograd.grad(output.sum(), gate, retain_graph=True)
    (expected,) = torch.autograd.grad(explicit.sum(), gate)
    assert_same(found, expected)


@pytest.mark.parametrize("kind", ["tiny", "small"])
def test_rows_with_architectures_of_their_own(kind: str) -> None:
    space, net = compiled(kind)
    generator = np.random.default_rng(7)
    drawn = [random_architecture(space.space, generator) for _ in range(6)]
    x = images(len(drawn), space, 8)
    each = [net.gates(architecture) for architecture in drawn]
    rows = {name: torch.stack([gates[name] for gates in each]) for name in each[0]}
    with torch.no_grad():
        together = net(x, rows)
        alone = torch.cat([net(x[row : row + 1], gates) for row, gates in enumerate(each)])
    assert_same(together, alone)


def test_modules_of_unused_depths_do_not_run() -> None:
    space, net = compiled("tiny")
    choices = dict.fromkeys(space.block_names, "e2_k3") | {"stage1.depth": "1", "stage2.depth": "2"}
    gates = net.gates(space.space.choose(choices))
    ran: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=str(key[1]): ran.append(name))
        for key, module in zip(net.edge_keys, net.edge_modules, strict=True)
        if isinstance(module, ElasticInvertedResidual)
    ]
    with torch.no_grad():
        net(images(1, space, 0), gates)
        assert ran == ["stage1.block1", "stage2.block1", "stage2.block2"]
        ran.clear()
        rows = {name: gate.expand(2, -1).clone() for name, gate in gates.items()}
        net(images(2, space, 0), rows)
        assert ran == ["stage1.block1", "stage2.block1", "stage2.block2"]
        ran.clear()
        rows["stage1.depth"][1] = torch.tensor([0.0, 1.0])  # one row is enough
        net(images(2, space, 0), rows)
    assert ran == list(space.block_names)
    for hook in hooks:
        hook.remove()


def test_kernels_that_no_row_uses_do_not_run() -> None:
    block = ElasticInvertedResidual(8, 8, 1, [Configuration(2, 3, False), Configuration(2, 5, False)]).eval()
    ran: list[str] = []
    for kernel, depthwise in block.depthwise.items():
        depthwise.norm.register_forward_hook(lambda *_, kernel=kernel: ran.append(kernel))
    gate = torch.eye(2)[[1, 1, 1]]
    block(torch.randn(3, 8, 4, 4), gate)
    assert ran == ["5"]
    ran.clear()
    block(torch.randn(3, 8, 4, 4), gate.requires_grad_())
    assert ran == ["3", "5"]


def test_weights_are_shared() -> None:
    torch.manual_seed(0)
    options = [Configuration(2, 3, False), Configuration(3, 3, True), Configuration(3, 5, False)]
    block = ElasticInvertedResidual(8, 8, 1, options).double().eval()
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    gates = torch.eye(3, dtype=torch.float64)
    before = [block(x, gate).detach() for gate in gates]

    def moved() -> list[bool]:
        return [not torch.equal(block(x, gate), old) for gate, old in zip(gates, before, strict=True)]

    with torch.no_grad():
        block.expand.conv.weight[0] += 1.0  # the first channel belongs to every ratio
        assert moved() == [True, True, True]
        block.expand.conv.weight[0] -= 1.0
        before = [block(x, gate) for gate in gates]
        block.expand.conv.weight[20] += 1.0  # channel 20 of 24 only to ratio 3
        assert moved() == [False, True, True]
        before = [block(x, gate) for gate in gates]
        block.depthwise["3"].conv.weight[0] += 1.0
        assert moved() == [True, True, False]


def test_untracked_statistics_stay_as_they_were() -> None:
    torch.manual_seed(0)
    block = ElasticInvertedResidual(8, 8, 1, [Configuration(2, 3, False), Configuration(3, 3, True)]).double().train()
    stir(block, 0)
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    x = torch.randn(4, 8, 6, 6, dtype=torch.float64)
    tracked = [block(x, gate).detach() for gate in torch.eye(2)]
    for norm in norms:
        norm.track_running_stats = False
    before = {name: value.clone() for name, value in block.state_dict().items()}
    untracked = [block(x, gate).detach() for gate in torch.eye(2)]
    assert all(torch.equal(one, two) for one, two in zip(tracked, untracked, strict=True)), "both normalize by the batch"
    block(x * torch.nan, torch.eye(2)[0])
    block(x, torch.eye(2)[[0, 1, 0, 1]])
    assert all(torch.equal(before[name], value) for name, value in block.state_dict().items())


def test_narrow_training_updates_only_its_channels() -> None:
    torch.manual_seed(0)
    options = [Configuration(2, 3, False), Configuration(3, 3, False), Configuration(3, 5, True)]
    block = ElasticInvertedResidual(8, 8, 2, options).double().train()
    stir(block, 0)
    twin = block.narrow(0)
    x = torch.randn(4, 8, 6, 6, dtype=torch.float64)
    before = {name: value.clone() for name, value in block.state_dict().items()}
    torch.testing.assert_close(block(x, torch.eye(3)[0]), twin(x), rtol=RTOL, atol=RTOL)  # batch statistics of the same channels
    after, narrow = block.state_dict(), twin.state_dict()
    for part in ("expand", "depthwise.3", "project"):
        for statistic in ("running_mean", "running_var"):
            name = f"{part}.norm.{statistic}"
            updated = narrow[f"{part.split('.')[0]}.norm.{statistic}"]
            torch.testing.assert_close(after[name][: len(updated)], updated, rtol=RTOL, atol=RTOL)
            assert not torch.equal(after[name][: len(updated)], before[name][: len(updated)])
            assert torch.equal(after[name][len(updated) :], before[name][len(updated) :])
    untouched = [name for name in before if name.startswith("depthwise.5")]
    assert untouched
    assert all(torch.equal(before[name], after[name]) for name in untouched)


def test_once_for_all_fixes_squeeze_and_excitation_by_stage() -> None:
    space = ofa_mbv3(classes=10, resolution=32)
    assert [c.name for c in space.configurations] == [f"e{e}_k{k}" for e in (3, 4, 6) for k in (3, 5, 7)]
    network = space.supernet().extract(space.heaviest())
    blocks = {name: block for name, block in network.named_children() if name.startswith("stage")}
    assert {name[:6]: isinstance(block.squeeze_excite, SqueezeExcite) for name, block in blocks.items()} == {
        "stage1": False,
        "stage2": True,
        "stage3": False,
        "stage4": True,
        "stage5": True,
    }
    counted, best = count(network, (3, 32, 32)), space.heaviest()
    assert (mac_cost(space).cost(best), parameter_cost(space).cost(best)) == (counted.macs, counted.parameters)


def test_the_shortcut_of_the_first_block_of_once_for_all() -> None:
    torch.manual_seed(0)
    space = ofa_mbv3(classes=4, resolution=16)
    supernet = space.supernet().eval().double()
    stir(supernet, 1)
    architecture = random_architecture(space.space, np.random.default_rng(0))
    network, batch = supernet.extract(architecture), images(2, space, 0)
    parts = list(network.separable.children())
    stem = network.stem(batch)
    assert_same(network.separable(stem), parts[1](parts[0](stem)) + stem)
    assert_same(supernet(batch, supernet.gates(architecture)), network(batch))
    strings = architecture_strings(space, architecture)
    assert architecture_strings(space, read_architecture_strings(space, strings)) == strings
    rebuilt = network_from_strings(strings, 4, stem_channels=16, dropout=0.1).eval().double()
    rebuilt.load_state_dict(network.state_dict())
    assert_same(rebuilt(batch), network(batch))
