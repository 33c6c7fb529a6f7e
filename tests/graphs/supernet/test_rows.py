"""Rows gathered from a batch and added back: values, gradients and layouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphs.supernet.rows import add_rows, gather_rows

SETS = [torch.tensor([3, 0]), torch.tensor([1]), torch.tensor([0, 1, 2, 3, 4])]
SHAPES = [(5, 2, 3, 4), (5, 1, 3, 3), (5, 4, 1, 1), (5, 6), (5, 2, 3), (5,)]


def batch(shape: tuple[int, ...], seed: int, last: bool = False) -> Tensor:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return features.contiguous(memory_format=torch.channels_last) if last and len(shape) == 4 else features


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("last", [False, True])
def test_gathered_rows_and_their_gradients(shape: tuple[int, ...], last: bool) -> None:
    features = batch(shape, 0, last).requires_grad_()
    gathered = gather_rows(features, SETS)
    for rows, found in zip(SETS, gathered, strict=True):
        assert torch.equal(found, features[rows])
        if last and len(shape) == 4:
            assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.autograd.gradcheck(lambda x: gather_rows(x, SETS), (features,))
    # A set that nothing reads has no say, and one whose gradient comes in another layout is told by its numbers.
    (gradient,) = torch.autograd.grad(gathered[0], features, batch((2, *shape[1:]), 1, not last))
    expected = torch.zeros_like(features)
    expected[SETS[0]] = batch((2, *shape[1:]), 1)
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("sets", [SETS[:2], [None, SETS[0]], [SETS[1], None, None]])
def test_added_rows_and_their_gradients(shape: tuple[int, ...], last: bool, sets: list[Tensor | None]) -> None:
    outputs = [
        batch((shape[0] if rows is None else len(rows), *shape[1:]), place, last != (place == 1)).requires_grad_()
        for place, rows in enumerate(sets)
    ]
    expected = torch.zeros(shape, dtype=torch.float64)
    for rows, output in zip(sets, outputs, strict=True):
        expected[slice(None) if rows is None else rows] += output.detach()
    found = add_rows(shape[0], outputs, sets)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)  # a sum of three in another order
    assert torch.autograd.gradcheck(lambda *parts: add_rows(shape[0], parts, sets), outputs)


def test_rows_of_a_view_and_without_gradients() -> None:
    features = batch((4, 5, 3, 2), 0).transpose(0, 1)  # neither layout
    (found,) = gather_rows(features, SETS[:1])
    assert torch.equal(found, features[SETS[0]])
    assert not found.requires_grad
    total = add_rows(5, [found], SETS[:1])
    assert torch.equal(total[SETS[0]], found)
    assert not total[[1, 2, 4]].any()


def test_sums_of_several_precisions() -> None:
    parts = [batch((2, 3), 0).bfloat16().requires_grad_(), batch((1, 3), 1).float().requires_grad_()]
    total = add_rows(5, parts, SETS[:2])
    assert total.dtype == torch.float32
    assert torch.equal(total[1], parts[1][0])
    total.sum().backward()
    assert [part.grad.dtype for part in parts if part.grad is not None] == [torch.bfloat16, torch.float32]
