"""Gather rows of a batch and add them back, differentiable, at little more than the price of the copies.

Torch's own row operations return rows of channels-last images in another layout, and the gradient of every ``index_select`` is a
whole batch of zeros with a few rows filled in. Here all row sets taken from one feature map are one operation: their gradients are
added into one batch. Rows are copied as they lie in memory, whatever the layout. Row numbers within a set must be distinct.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gather_rows(features: Tensor, sets: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """``features[rows]`` for each of the ``sets`` of row numbers."""
    gathered: tuple[Tensor, ...] = _Gather.apply(features, *sets)
    return gathered


def add_rows(count: int, outputs: Sequence[Tensor], sets: Sequence[Tensor | None]) -> Tensor:
    """A batch of ``count`` rows: the sum of ``outputs``, each added into its set of rows (all where None); zero elsewhere."""
    total: Tensor = _Add.apply(count, tuple(sets), *outputs)
    return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, *sets: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.sets, ctx.shape, ctx.layout = sets, features.shape, _layout(features)
        return tuple(_taken(features, rows, ctx.layout) for rows in sets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [(rows, gradient) for rows, gradient in zip(ctx.sets, gradients, strict=True) if gradient is not None]
        if not given:
            return (None,) * (1 + len(ctx.sets))
        total = _empty(given[0][1], ctx.shape, ctx.layout).zero_()
        for rows, gradient in given:
            _flat(total).index_add_(0, rows, _flat(gradient.contiguous(memory_format=ctx.layout)))
        return total, *[None] * len(ctx.sets)


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, sets: tuple[Tensor | None, ...], *outputs: Tensor) -> Tensor:
        ctx.sets, ctx.dtypes = sets, [output.dtype for output in outputs]
        ctx.layout = _layout(outputs[0])
        dtype = outputs[0].dtype
        for output in outputs[1:]:  # under autocast modules differ in what they return
            dtype = torch.promote_types(dtype, output.dtype)
        total = _empty(outputs[0].new_empty(0, dtype=dtype), (count, *outputs[0].shape[1:]), ctx.layout).zero_()
        for rows, output in zip(sets, outputs, strict=True):
            if rows is None:
                total += output
            else:
                _flat(total).index_add_(0, rows, _flat(output.to(dtype).contiguous(memory_format=ctx.layout)))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parts = []
        for place, (rows, dtype) in enumerate(zip(ctx.sets, ctx.dtypes, strict=True)):
            needed = ctx.needs_input_grad[2 + place]
            part = (gradient if rows is None else _taken(gradient, rows, ctx.layout)).to(dtype) if needed else None
            parts.append(part)
        return None, None, *parts


def _layout(features: Tensor) -> torch.memory_format:
    if features.ndim == 4 and not features.is_contiguous() and features.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def _empty(like: Tensor, shape: Sequence[int], layout: torch.memory_format) -> Tensor:
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout)


def _flat(features: Tensor) -> Tensor:
    """A view (rows, numbers) in the order of memory."""
    dense = features if features.is_contiguous() else features.permute(0, 2, 3, 1)  # else: channels last
    return dense.view(len(features), features.shape[1:].numel())  # not -1: there may be no rows


def _taken(features: Tensor, rows: Tensor, layout: torch.memory_format) -> Tensor:
    taken = _empty(features, (len(rows), *features.shape[1:]), layout)
    torch.index_select(_flat(features.contiguous(memory_format=layout)), 0, rows, out=_flat(taken))
    return taken
