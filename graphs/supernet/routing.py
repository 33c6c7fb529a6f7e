"""Sub-graphs of their own for the rows of a batch: a module computes for the rows whose sub-graph it is part of.

Two ways that give the same numbers. Routing gathers the rows of a module and runs it on them alone. Masking runs the module on all
rows and blanks the others' outputs; the shapes then do not depend on what was drawn. Batch normalization is the one operator of
ours through which rows see each other: its statistics are those of a module's own rows, under masking too.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.2 (one sampled sub-graph an example).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from graphs.supernet.rows import add_rows, gather_rows


class Route(NamedTuple):
    """A module to run, the numbers of its rows (None: all), and of how many rows elsewhere too it is part (None: of no others)."""

    module: int
    rows: Tensor | None = None
    in_all: int | None = None


class _RoutedBatchNorm(_BatchNorm):
    """Batch normalization whose batch is ``rows``, and that copes with a single value a channel."""

    rows: Tensor | None = None  # numbers of the rows whose statistics count, all different; None for all rows
    in_all: int | None = None  # rows whose statistics count, those included that run elsewhere; None where none do

    def forward(self, features: Tensor) -> Tensor:
        if self.rows is None or not (self.training or self.running_mean is None):
            return self._normalize(features)
        (routed,) = gather_rows(features, [self.rows])
        return add_rows(len(features), [self._normalize(routed)], [self.rows])

    def _normalize(self, features: Tensor) -> Tensor:
        # The variance of one value is 0: torch refuses it in training. One routed row of one pixel is an everyday sight here.
        rows = len(features) if self.in_all is None else self.in_all
        if self.training and rows * math.prod(features.shape[2:]) == 1 and self.running_mean is not None:
            return functional.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(features)


class RoutedBatchNorm1d(_RoutedBatchNorm, nn.BatchNorm1d):
    """:class:`RoutedBatchNorm2d` for features (B, C) or (B, C, L)."""


class RoutedBatchNorm2d(_RoutedBatchNorm, nn.BatchNorm2d):
    """A ``BatchNorm2d`` of the routed rows, with the same parameters, buffers and names in the state dict.

    In training the statistics are those of the rows set in ``rows`` (all if None); the others come out as zeros. Where a channel
    would see a single value (one row of 1 x 1 pixels) the running statistics stand in and stay as they are. Without running
    statistics such a channel is refused, as by torch.

    Reference: Ioffe & Szegedy, Batch normalization.
    """


class RoutedBatchNorm3d(_RoutedBatchNorm, nn.BatchNorm3d):
    """:class:`RoutedBatchNorm2d` for features (B, C, D, H, W)."""


_ROUTED: dict[type[nn.Module], type[_RoutedBatchNorm]] = {
    nn.BatchNorm1d: RoutedBatchNorm1d,
    nn.BatchNorm2d: RoutedBatchNorm2d,
    nn.BatchNorm3d: RoutedBatchNorm3d,
}


def route_norms(module: nn.Module) -> nn.Module:
    """Make every plain batch normalization in ``module`` a routed one and return the module.

    As torch's lazy modules do, a normalization changes its class and stays the same object: parameters, hooks and references to it
    are kept.

    Raises:
        ValueError: a batch normalization of another class (a subclass of one's own, ``SyncBatchNorm``), whose statistics would mix
            the rows of different sub-graphs.
    """
    for name, part in module.named_modules():
        if type(part) in _ROUTED:
            part.__class__ = _ROUTED[type(part)]
        elif isinstance(part, _BatchNorm) and not isinstance(part, _RoutedBatchNorm):
            raise ValueError(
                f"{name or 'the module'} is a {type(part).__name__}: rows can be routed through nn.BatchNorm1d, 2d or 3d"
            )
    return module


def module_rows(
    live: NDArray[np.bool_], device: torch.device, running: NDArray[np.intp] | None = None
) -> list[tuple[int, Tensor | None]]:
    """The modules that some row of ``live`` (B, E) runs, in order, each with the numbers of its rows; None where all rows run.

    Modules in ``running`` are all there, with no rows where no row runs them.
    """
    counts = live.sum(0)
    running = np.flatnonzero(counts) if running is None else running
    # All at once: a transfer a module would take longer than some modules.
    numbers = torch.from_numpy(np.nonzero(live.T)[1]).to(device)
    parts = numbers.split(counts[running].tolist())
    return [(edge, None if len(rows) == len(live) else rows) for edge, rows in zip(running.tolist(), parts, strict=True)]


@contextmanager
def rows_in_all(module: nn.Module, count: int | None) -> Iterator[None]:
    """Tell routed normalizations in ``module`` how many rows they are over, those that run elsewhere included; None: no others."""
    norms = [] if count is None else [part for part in module.modules() if isinstance(part, _RoutedBatchNorm)]
    for norm in norms:
        norm.in_all = count
    try:
        yield
    finally:
        for norm in norms:
            norm.in_all = None


def run_masked(module: nn.Module, arguments: Sequence[Any], rows: Tensor) -> Tensor:
    """The outputs of all rows, zeros except in ``rows``: (B, ...). The module's batch normalizations must be routed ones."""
    norms = [part for part in module.modules() if isinstance(part, _RoutedBatchNorm)]
    for norm in norms:
        norm.rows = rows
    try:
        output = cast(Tensor, module(*arguments))
    finally:
        for norm in norms:
            norm.rows = None
    blank = torch.ones(len(output), dtype=torch.bool, device=output.device).index_fill_(0, rows, False)
    return output.masked_fill(blank.reshape(-1, *([1] * (output.ndim - 1))), 0)
