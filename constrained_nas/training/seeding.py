"""Draws that a seed decides and nobody else sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Built = TypeVar("Built")


def seeded(build: Callable[[], Built], seed: int) -> Built:
    """What ``build`` makes with torch's global generator at ``seed``, such as fresh weights; the generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
