"""Depthwise convolution whose weights learn at the speed of the rest of the step.

On CPUs torch (oneDNN) computes the weights' gradient of a depthwise convolution fast for kernels of 3 only: for 5 and 7 it takes
longer than everything else in the block, forward and backward together. The same sum is itself a depthwise convolution, of
the images with the outputs' gradient as the kernel, a group for every (image, channel): one forward pass, which is fast. On an x86
processor with one thread, maps of 4 to 16 pixels and 48 to 1152 channels, that took half to a twentieth of the time (torch 2.15).

The gradients are torch's but for the order of their sums.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_SLOW_FROM = 5  # pixels: the least kernel whose gradient torch computes slowly
_LARGEST = 16  # pixels: on larger maps the convolution is no faster than torch's way


def depthwise(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A depthwise convolution without bias, padded to keep the side: (B, C, H, W), (C, 1, k, k) -> (B, C, H / stride, W / stride).

    Twice differentiable only where torch computes the gradient itself.
    """
    kernel = weight.shape[-1]
    learns = weight.requires_grad and torch.is_grad_enabled() and images.device.type == "cpu"
    plain = images.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if learns and plain and kernel >= _SLOW_FROM and max(images.shape[2:]) <= _LARGEST:
        convolved: Tensor = _Depthwise.apply(images, weight, stride)
        return convolved
    return functional.conv2d(images, weight, None, stride, kernel // 2, 1, len(weight))


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        return functional.conv2d(images, weight, None, stride, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        channels, kernel, stride = len(weight), weight.shape[-1], ctx.stride
        to_images = to_weight = None
        if ctx.needs_input_grad[0]:
            shape = [stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], channels
            to_images = torch.ops.aten.convolution_backward(gradient, images, weight, None, *shape, [True, False, False])[0]
        if ctx.needs_input_grad[1]:
            groups = len(images) * channels
            every = images.reshape(1, groups, *images.shape[2:])
            kernels = gradient.reshape(groups, 1, *gradient.shape[2:])
            # A tap's gradient is the sum over outputs of the images shifted by the tap: steps between outputs dilate the kernel.
            sums = functional.conv2d(every, kernels, None, 1, kernel // 2, stride, groups)[:, :, :kernel, :kernel]
            to_weight = sums.reshape(len(images), *weight.shape).sum(0)
        return to_images, to_weight, None
