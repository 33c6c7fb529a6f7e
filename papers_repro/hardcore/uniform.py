"""Networks that are alike in every block, on which super-networks are judged: depth x expansion x kernel, with attention.

Reference: Nayman et al., HardCoRe-NAS, Fig. 4 (18 networks) and Fig. 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from graphs import Architecture, MBConvSpace
from graphs.blocks import Configuration


@dataclass(frozen=True, slots=True)
class UniformNetwork:
    """``depth`` blocks a stage, each with ``expansion``, ``kernel`` and squeeze-and-excitation."""

    depth: int
    expansion: int
    kernel: int

    @property
    def name(self) -> str:
        """``d3_e6_k5``."""
        return f"d{self.depth}_e{self.expansion}_k{self.kernel}"

    def architecture(self, space: MBConvSpace) -> Architecture:
        """The network in a space; blocks beyond the depth are as the others."""
        choices = dict.fromkeys(space.block_names, Configuration(self.expansion, self.kernel, True).name)
        return space.space.choose(choices | {f"stage{n + 1}.depth": str(self.depth) for n in range(len(space.settings.stages))})


def uniform_networks(space: MBConvSpace, most: int) -> list[UniformNetwork]:
    """All of a space from the shallowest, or ``most`` of them, evenly from the first to the last.

    Raises:
        ValueError: fewer than two are asked for.
    """
    if most < 2:
        raise ValueError(f"networks: expected at least 2, got {most}")
    s = space.settings
    every = [UniformNetwork(*each) for each in product(s.depths, s.expansions, s.kernels)]
    return [every[round(place)] for place in np.linspace(0, len(every) - 1, min(most, len(every)))]
