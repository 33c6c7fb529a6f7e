"""Elastic blocks while they train: as one configuration after the other would, and nothing is read from the device."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from support.tiny import images, stir, tiny_space
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from graphs.blocks import Configuration, ElasticInvertedResidual

OPTIONS = tuple(Configuration(e, k, se) for e in (2, 3, 4) for k in (3, 5) for se in (False, True))
SOME = (Configuration(2, 5, True), Configuration(4, 3, False), Configuration(3, 5, False))


def explicit(block: ElasticInvertedResidual, x: Tensor, gate: Tensor) -> Tensor:
    """The mixture, written out: every option by itself on masked channels, summed before the projection."""
    expanded = block.expand(x)
    by_kernel = {kernel: depthwise(expanded) for kernel, depthwise in block.depthwise.items()}
    total = torch.zeros_like(next(iter(by_kernel.values())))
    for option, c in enumerate(block.configurations):
        width, inner = block.inputs * c.expansion, c.reduced(block.inputs)
        features = by_kernel[str(c.kernel)][:, :width]
        if inner:
            assert block.squeeze_excite is not None
            reduce, expand = block.squeeze_excite.reduce, block.squeeze_excite.expand
            squeezed = functional.conv2d(features.mean((2, 3), keepdim=True), reduce.weight[:inner, :width], reduce.bias[:inner])
            outer = functional.conv2d(squeezed.relu(), expand.weight[:width, :inner], expand.bias[:width])
            features = features * functional.hardsigmoid(outer)
        total[:, :width] += gate[:, option, None, None, None] * features
    output: Tensor = block.project(total)
    return output + x if block.residual else output


@pytest.mark.parametrize("options", [OPTIONS, SOME])
@pytest.mark.parametrize("kind", ["one-hot", "mixture", "mixture with gradients"])
def test_training_is_that_of_every_option_by_itself(options: tuple[Configuration, ...], kind: str) -> None:
    torch.manual_seed(0)
    block = ElasticInvertedResidual(8, 8, 1, options).double().train()
    stir(block, 1)
    twin = copy.deepcopy(block)
    x = torch.randn(7, 8, 6, 6, dtype=torch.float64)
    count = len(options)
    gate = torch.eye(count, dtype=torch.float64)[torch.arange(7) % count]
    if kind != "one-hot":
        gate = torch.rand(7, count, dtype=torch.float64).softmax(-1)
    gates = [gate.clone().requires_grad_(kind == "mixture with gradients") for _ in range(2)]
    outputs = [block(x, gates[0]), explicit(twin, x, gates[1])]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-11)
    direction = torch.randn_like(outputs[0])
    for output in outputs:
        (output * direction).sum().backward()
    for (name, ours), theirs in zip(block.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10, msg=name)
    if kind == "mixture with gradients":
        torch.testing.assert_close(gates[0].grad, gates[1].grad, rtol=1e-8, atol=1e-10)
    for (name, ours), theirs in zip(block.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11, msg=name)


def test_masks_are_no_part_of_the_state() -> None:
    names = ElasticInvertedResidual(8, 8, 1, OPTIONS).state_dict()
    assert {name.split(".")[0] for name in names} == {"expand", "depthwise", "squeeze_excite", "project"}


class Products(TorchDispatchMode):
    """Counts matrix products."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):  # type: ignore[no-untyped-def]
        self.count += function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm)
        return function(*arguments, **(settings or {}))


@pytest.mark.parametrize("rows", [True, False])
def test_attentions_and_masks_of_all_options_are_computed_together(rows: bool) -> None:
    block = ElasticInvertedResidual(8, 8, 1, OPTIONS)
    gate = torch.eye(12)[[0, 3, 7, 11]] if rows else torch.full((4, 12), 1 / 12)
    with Products() as products, torch.no_grad():
        block(torch.randn(4, 8, 6, 6), gate)
    assert products.count <= (5 if rows else 2 * 4)  # of the rows; or of each kernel


@pytest.mark.parametrize("shape", ["one", "rows", "mixture", "gradients"])
def test_no_gate_is_read_from_the_device(shape: str) -> None:
    """On the meta device there is nothing to read: a synchronization is an error."""
    space = tiny_space()
    net = space.supernet().train().to("meta")
    batch = images(4, space, 0, torch.float32).to("meta")
    gates = net.gates(space.heaviest())
    if shape == "rows":
        generator = np.random.default_rng(0)
        gates = {name: torch.eye(len(gate))[generator.integers(len(gate), size=4)] for name, gate in gates.items()}
    elif shape != "one":
        gates = {name: torch.full((4, len(gate)), 1 / len(gate)) for name, gate in gates.items()}
        for gate in gates.values():
            gate.requires_grad_(shape == "gradients")
    assert tuple(net(batch, gates).shape) == (4, 3)
