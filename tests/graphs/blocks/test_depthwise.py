"""Depthwise convolutions and their gradients are torch's, by whichever way they are computed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from graphs.blocks.depthwise import depthwise

OWN = "_DepthwiseBackward"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("kernel", "stride", "sides", "own"),
    [
        (5, 1, (4, 4), True),
        (5, 2, (8, 7), True),
        (7, 1, (5, 9), True),
        (7, 2, (16, 16), True),
        (5, 1, (17, 4), False),
        (3, 1, (8, 8), False),
    ],
)
def test_gradients_are_torchs(kernel: int, stride: int, sides: tuple[int, int], own: bool, layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(kernel * 10 + stride)
    images = torch.randn(3, 16, *sides, generator=generator).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(16, 1, kernel, kernel, generator=generator).requires_grad_()
    found = depthwise(images, weight, stride)
    expected = functional.conv2d(images, weight, None, stride, kernel // 2, 1, 16)
    assert torch.equal(found, expected) and (type(found.grad_fn).__name__ == OWN) == own
    gradient = torch.randn(expected.shape, generator=generator)
    mine, theirs = (torch.autograd.grad(out, (images, weight), gradient) for out in (found, expected))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_what_is_left_to_torch() -> None:
    images, weight = torch.randn(2, 8, 4, 4), torch.randn(8, 1, 5, 5)
    learns = weight.clone().requires_grad_()
    assert type(depthwise(images, learns, 1).grad_fn).__name__ == OWN  # images need no gradient: the weights learn all the same
    assert not depthwise(images, weight, 1).requires_grad
    with torch.no_grad():
        assert not depthwise(images, learns, 1).requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert depthwise(images, learns, 1).dtype == torch.bfloat16
    double = learns.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: depthwise(images[:, :2].double(), w[:2], 1), (double,))
