"""Less memory for more time: inside a block nothing is kept for the backward pass, the block is computed again there.

Reference: Chen et al. 2016, Training deep nets with sublinear memory cost; ``torch.utils.checkpoint``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from graphs import Supernet


@contextmanager
def recomputing(
    network: nn.Module, wanted: bool = True, inside: Callable[[], AbstractContextManager[Any]] | None = None
) -> Iterator[None]:
    """Inside the block the modules of ``network`` are computed again in the backward pass: only what goes in is kept.

    Running statistics are updated once, and weights come out as without. Modules are a super-network's edges or those of a
    sequence; other networks are left as they are.

    Args:
        wanted: False changes nothing.
        inside: a block in which modules are computed again, as they were computed; None for none.

    Raises:
        ValueError: a super-network that masks rows, or routes them inside something: it tells its modules in passing which.
    """
    if wanted and inside is not None and isinstance(network, Supernet) and network.rows == "route":
        raise ValueError(
            "--recompute: rows with sub-graphs of their own are not computed again with --sync-batchnorm: leave one out"
        )
    blocks = _blocks(network) if wanted else []
    plain = [block.forward for block in blocks]
    try:
        for block, forward in zip(blocks, plain, strict=True):
            block.forward = partial(_again, block, forward, inside or nullcontext)
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own again


def _blocks(network: nn.Module) -> list[nn.Module]:
    if isinstance(network, Supernet):
        if network.rows == "mask":
            raise ValueError("recompute: a super-network compiled with rows='mask' cannot be computed again; take rows='route'")
        return list(network.edge_modules)
    return list(network) if isinstance(network, nn.Sequential) else []


def _again(block: nn.Module, forward: Any, inside: Callable[[], AbstractContextManager[Any]], *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    norms = [part for part in block.modules() if isinstance(part, _BatchNorm)]
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _seen(norms, inside)))


def _seen(norms: Sequence[_BatchNorm], inside: Callable[[], AbstractContextManager[Any]]) -> AbstractContextManager[None]:
    """Statistics of a batch that has been seen are not counted twice."""

    @contextmanager
    def untracked() -> Iterator[None]:
        kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())
        try:
            with inside():
                yield
        finally:
            for norm, buffers in zip(norms, kept, strict=True):
                for name, buffer in buffers.items():
                    setattr(norm, name, buffer)

    return untracked()
