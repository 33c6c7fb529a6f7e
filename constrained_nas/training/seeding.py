"""Draws that a seed decides and nobody else sees, and the number of threads, which decides the last bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

Built = TypeVar("Built")


def seeded(build: Callable[[], Built], seed: int) -> Built:
    """What ``build`` makes with torch's global generator at ``seed``, such as fresh weights; the generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


@contextmanager
def training_threads(count: int) -> Iterator[None]:
    """torch computes with so many threads inside the block: sums are rounded in another order with another number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
