"""Stochastic layers: the output is the gated sum of the options, removed blocks are gone, granularity costs no memory."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from support.memory import saved_bytes
from support.tiny import stir
from torch import Tensor, nn

from graphs.blocks import (
    BlockChoice,
    ConvNormActivation,
    FusedInvertedResidual,
    InvertedResidual,
    LayerOption,
    LayerShape,
    Operator,
    ResidualConvolution,
    StochasticDepth,
    StochasticLayer,
    plain_block,
    with_stochastic_depth,
)

BLOCKS = (BlockChoice(3), BlockChoice(3, True), BlockChoice(5, False, "relu"))


def shape_of(operator: Operator = "inverted", granularity: int = 8, skippable: bool = True) -> LayerShape:
    if operator == "convolution":
        return LayerShape(operator, 8, 8, 1, 6, (BlockChoice(3), BlockChoice(5)), (), skippable)
    return LayerShape(operator, 8, 8, 1, 6, BLOCKS, tuple(range(granularity, 33, granularity)), skippable)


@cache
def layer_of(operator: Operator) -> StochasticLayer:
    torch.manual_seed(0)
    layer = StochasticLayer(shape_of(operator)).double().train()
    stir(layer, 1)
    return layer


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("operator", ["convolution", "fused", "inverted"])
@pytest.mark.parametrize("per_row", [False, True])
def test_output_is_the_gated_sum(operator: Operator, per_row: bool) -> None:
    layer = layer_of(operator)
    options = len(layer.shape.options)
    x = torch.randn(3, 8, 6, 6, dtype=torch.float64)
    gate = torch.rand((3, options) if per_row else (options,), dtype=torch.float64)
    gate[..., 0] = 0.0
    gate.requires_grad_()
    output = layer(x, gate)
    narrow = torch.stack([layer.narrow(option)(x) for option in range(options)], 1)  # (rows, options, 8, H, W)
    explicit = (gate.expand(3, -1)[:, :, None, None, None] * narrow).sum(1)
    close(output.detach(), explicit.detach())
    direction = torch.randn_like(output)
    (found,) = torch.autograd.grad((output * direction).sum(), gate)
    (expected,) = torch.autograd.grad((explicit * direction).sum(), gate)
    close(found[..., 1:], expected[..., 1:])
    assert not found[..., 0].any(), "an option that does not run has no gradient"


def test_options_and_their_numbers() -> None:
    shape = shape_of()
    assert [option.name for option in shape.options[:5]] == [
        "k3_swish_w8",
        "k3_swish_w16",
        "k3_swish_w24",
        "k3_swish_w32",
        "k3_se_swish_w8",
    ]
    assert shape.options[-1] == LayerOption(None, 0, "skip")
    assert len(shape.options) == 3 * 4 + 1
    assert all(shape.index(option.block, option.width) == number for number, option in enumerate(shape.options))
    convolution = shape_of("convolution")
    assert [option.name for option in convolution.options] == ["k3_swish", "k5_swish", "skip"]
    assert all(convolution.index(option.block, option.width) == number for number, option in enumerate(convolution.options))
    for block, width in ((0, 12), (3, 8), (0, 0)):
        with pytest.raises(ValueError, match=f"no option of block {block} and width {width}"):
            shape.index(block, width)
    with pytest.raises(ValueError, match="no option of block None"):
        shape_of(skippable=False).index(None)


@pytest.mark.parametrize("operator", ["convolution", "fused", "inverted"])
def test_plain_blocks_are_what_narrowing_gives(operator: Operator) -> None:
    layer = layer_of(operator)
    kind = {"convolution": ResidualConvolution, "fused": FusedInvertedResidual, "inverted": InvertedResidual}[operator]
    for number, option in enumerate(layer.shape.options):
        fresh, narrow = plain_block(layer.shape, number), layer.narrow(number)
        assert type(fresh) is type(narrow) is (nn.Identity if option.block is None else kind)
        fresh.load_state_dict(narrow.state_dict())
        assert {p.data_ptr() for p in narrow.parameters()}.isdisjoint({p.data_ptr() for p in layer.parameters()})


def test_removed_blocks_are_gone() -> None:
    torch.manual_seed(0)
    layer = StochasticLayer(shape_of()).double()
    before = {id(parameter): parameter.numel() for parameter in layer.parameters()}
    gone = layer.keep([1])
    left = {id(parameter) for parameter in layer.parameters()}
    assert {id(parameter) for parameter in gone} | left == set(before)
    assert not {id(parameter) for parameter in gone} & left
    assert list(layer.blocks) == ["k3_se_swish"]
    assert layer.keep([1]) == []
    x, gate = torch.randn(2, 8, 6, 6, dtype=torch.float64), torch.zeros(13, dtype=torch.float64)
    with pytest.raises(ValueError, match="all gates are zero"):
        layer(x, gate)
    gate[layer.shape.index(1, 16)] = 1.0
    close(layer(x, gate).detach(), layer.narrow(layer.shape.index(1, 16))(x).detach())
    gate[layer.shape.index(2, 16)] = 0.5
    with pytest.raises(ValueError, match="block 'k5_relu' was removed but has a gate above zero"):
        layer(x, gate)
    with pytest.raises(ValueError, match="block 'k3_swish' was removed"):
        layer.narrow(0)


@pytest.mark.parametrize("operator", ["fused", "inverted"])
def test_memory_does_not_grow_with_the_number_of_widths(operator: Operator) -> None:
    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    saved = []
    for granularity in (16, 2):
        layer = StochasticLayer(shape_of(operator, granularity)).train()
        gate = torch.zeros(len(layer.shape.options))
        for block in range(3):
            gate[layer.shape.index(block, 16)] = gate[layer.shape.index(block, 32)] = 1 / 6
        gate.requires_grad_()
        known = [x, gate, *layer.parameters(), *layer.buffers()]
        saved.append((len(layer.shape.options), saved_bytes(lambda layer=layer, gate=gate: layer(x, gate), known)))
    assert [options for options, _ in saved] == [7, 49]
    assert saved[0][1] == saved[1][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ()}, "different blocks, at least one"),
        ({"blocks": (BlockChoice(3), BlockChoice(3))}, "different blocks"),
        ({"blocks": (BlockChoice(4),)}, "kernels must be odd"),
        ({"widths": ()}, "widths must rise"),
        ({"widths": (16, 8)}, "widths must rise"),
        ({"operator": "convolution"}, "convolutions have no hidden width"),
        ({"stride": 2}, "from 8 to 8 channels at stride 2 cannot be skipped"),
    ],
)
def test_malformed_shapes(changes: dict[str, object], message: str) -> None:
    given: dict[str, object] = {
        "operator": "inverted",
        "inputs": 8,
        "outputs": 8,
        "stride": 1,
        "side": 6,
        "blocks": BLOCKS,
        "widths": (8, 16),
        "skippable": True,
    }
    with pytest.raises(ValueError, match=message):
        LayerShape(**(given | changes))  # type: ignore[arg-type]


def test_stochastic_depth() -> None:
    torch.manual_seed(0)
    block = FusedInvertedResidual(4, 8, 4, 3).double()
    wrapped = StochasticDepth(block, 0.25)
    x = torch.randn(4000, 4, 1, 1, dtype=torch.float64)
    wrapped.eval()
    assert torch.equal(wrapped(x), block(x))
    wrapped.train()
    block.eval()  # fixed statistics: the branch does not depend on who else is in the batch
    output, branch = wrapped(x), block(x) - x
    dropped = (output == x).flatten(1).all(1)
    close(output[~dropped], (x + branch / 0.75)[~dropped])
    # 4000 draws: five standard deviations of the share are 0.034
    assert abs(float(dropped.double().mean()) - 0.25) < 0.034
    with pytest.raises(ValueError, match=r"rate in \[0, 1\), got 1"):
        StochasticDepth(block, 1.0)


def test_rates_rise_over_the_residual_blocks() -> None:
    network = nn.Sequential(ConvNormActivation(1, 4, 3), FusedInvertedResidual(4, 8, 4, 3), FusedInvertedResidual(4, 8, 4, 3, 2))
    network.append(InvertedResidual(4, 8, 4, 3))
    wrapped = with_stochastic_depth(network, 0.2)
    rates = [module.rate if isinstance(module, StochasticDepth) else None for module in wrapped]
    assert rates == [None, 0.1, None, 0.2]
    assert {id(p) for p in wrapped.parameters()} == {id(p) for p in network.parameters()}
    with pytest.raises(ValueError, match=r"rate in \[0, 1\), got -0.1"):
        with_stochastic_depth(network, -0.1)
