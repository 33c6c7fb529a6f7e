"""Batch normalization over the parts of a batch that several processes compute at the same time.

Mean and variance are those of the rows of all processes, merged from those of each (Chan, Golub & LeVeque), and so is their
gradient: one message a normalization and direction. torch's ``SyncBatchNorm`` does this on GPUs alone, and for modules that were
exchanged for its own; here every call of ``torch.nn.functional.batch_norm`` inside a block is meant, whatever module makes it, so
that elastic and routed normalizations are too. All processes must normalize in the same order; where one has no rows for a module
it normalizes none.

Reference: Ioffe & Szegedy, Batch normalization.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Total = Callable[[Tensor], Tensor]


class JoinedNormalization(TorchFunctionMode):
    """Inside the block what ``functional.batch_norm`` would normalize by a batch is normalized by that of all processes.

    Args:
        place: of this process among them, from 0.
        processes: how many there are.
        total: the sum of a tensor over them.
    """

    def __init__(self, place: int, processes: int, total: Total) -> None:
        super().__init__()
        self.place, self.processes, self.total = place, processes, total

    def __torch_function__(  # as torch calls it
        self, function: Any, types: Sequence[type], arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        if function is functional.batch_norm:
            return self._normalized(*arguments, **(named or {}))
        return function(*arguments, **(named or {}))

    def _normalized(
        self,
        features: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return functional.batch_norm(features, running_mean, running_var, weight, bias, False, momentum, eps)
        output, mean, variance, count = cast(
            tuple[Tensor, ...], _Joined.apply(features, weight, bias, eps, self.place, self.processes, self.total)
        )
        with torch.no_grad():
            if running_mean is not None:
                running_mean.lerp_(mean.to(running_mean), momentum)
            if running_var is not None:
                running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
        return output


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        place: int,
        processes: int,
        total: Total,
    ) -> tuple[Tensor, ...]:
        own = features.new_zeros(3, features.shape[1], dtype=torch.float64)  # count, mean, sum of squares about it: (3, C)
        own[0] = features.numel() // max(features.shape[1], 1)
        if features.numel():
            own[2], own[1] = torch.var_mean(_wide(features), _others(features), correction=0)
            own[2] *= own[0]
        slots = torch.zeros(processes, *own.shape, dtype=own.dtype, device=own.device)
        slots[place] = own
        counts, means, squares = total(slots).unbind(1)  # each (processes, C)
        count = counts.sum(0)
        if int(count.min()) < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got {tuple(features.shape)} in every process")
        mean = (counts * means).sum(0) / count
        variance = (squares + counts * (means - mean) ** 2).sum(0) / count
        kind = torch.promote_types(features.dtype, torch.float32)
        narrow = mean.to(kind), variance.to(kind)
        output = functional.batch_norm(features, *narrow, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(features, weight, narrow[0], (variance + eps).rsqrt().to(kind), count)
        ctx.total = total
        ctx.mark_non_differentiable(mean, variance, count)
        return output, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        features, weight, mean, inverse, count = ctx.saved_tensors
        shape = (1, -1, *[1] * (features.ndim - 2))
        wide, normalized = gradient.to(mean), (features.to(mean) - mean.view(shape)) * inverse.view(shape)
        own = torch.stack([wide.sum(_others(features)), (wide * normalized).sum(_others(features))])  # (2, C)
        shift, slope = (ctx.total(own.double()) / count).to(mean).unbind(0)
        scale = inverse if weight is None else inverse * weight.to(mean)
        to_features = scale.view(shape) * (wide - shift.view(shape) - normalized * slope.view(shape))
        to_weight = own[1].to(weight) if weight is not None else None
        to_bias = own[0].to(weight) if ctx.needs_input_grad[2] else None
        return to_features.to(features.dtype), to_weight, to_bias, None, None, None, None


def _wide(features: Tensor) -> Tensor:
    """On the processor in double precision, as torch's own normalization adds up there; sums of it cost nothing beside the rest."""
    return features.double() if features.device.type == "cpu" else features.float()


def _others(features: Tensor) -> list[int]:
    """All dimensions but the channels'."""
    return [dimension for dimension in range(features.ndim) if dimension != 1]
