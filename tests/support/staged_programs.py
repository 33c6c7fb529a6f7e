"""Random programs of blocks with a choice of depth, in the form of the library and in that of the references."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from solvers import Stage, StagedBlocks, StagedCost

HARDCORE = [Stage((12, 12, 12, 12), (2, 3, 4))] * 5  # 5 stages x 4 blocks x 12 configurations, depth 2 to 4


@dataclass(frozen=True)
class Program:
    """A random program in both the library's and the references' form."""

    staged: StagedBlocks
    scores: np.ndarray
    times: np.ndarray
    fixed: float

    @property
    def cost(self) -> StagedCost:
        return StagedCost.of(self.staged, self.fixed, self.times)

    @property
    def least(self) -> float:
        return self.cost.least(self.staged.layout)

    def nested(self, flat: np.ndarray) -> list[list[np.ndarray]]:
        blocks = self.staged.blocks
        return [[flat[blocks.slice(b)] for b in self.staged.alpha_blocks(s)] for s in range(len(self.staged.stages))]

    @property
    def beta(self) -> list[np.ndarray]:
        return [self.scores[self.staged.blocks.slice(self.staged.beta_block(s))] for s in range(len(self.staged.stages))]

    @property
    def depths(self) -> list[tuple[int, ...]]:
        return [stage.depths for stage in self.staged.stages]

    def recost(self, x: np.ndarray) -> float:
        """Cost of a one-hot point, from its definition."""
        parts = [self.fixed]
        for s, stage in enumerate(self.staged.stages):
            depth = stage.depths[int(np.argmax(x[self.staged.blocks.slice(self.staged.beta_block(s))]))]
            for block in list(self.staged.alpha_blocks(s))[:depth]:
                where = self.staged.blocks.slice(block)
                parts.append(float(self.times[where][int(np.argmax(x[where]))]))
        return math.fsum(parts)


def small_program(rng: np.random.Generator) -> Program:
    stages = []
    for _ in range(int(rng.integers(1, 4))):
        blocks = int(rng.integers(1, 4))
        depths = sorted(rng.choice(np.arange(blocks + 1), int(rng.integers(1, blocks + 2)), replace=False).tolist())
        stages.append(Stage(tuple(rng.integers(1, 4, blocks).tolist()), tuple(depths)))
    staged = StagedBlocks.of(stages)
    times = rng.random(staged.alpha.stop) if rng.random() < 0.6 else rng.choice([0.0, 0.1, 0.2, 0.7], staged.alpha.stop)
    scores = rng.normal(size=staged.blocks.dimension) if rng.random() < 0.6 else rng.integers(-2, 3, staged.blocks.dimension) * 0.1
    return Program(staged, scores, times, float(rng.choice([0.0, 0.3])))


def hardcore_program(rng: np.random.Generator) -> tuple[Program, np.ndarray, float]:
    """HardCoRe size: a relaxed point as a search leaves it, the point itself as credits, and a budget it fits tightly."""
    staged = StagedBlocks.of(HARDCORE)
    times = np.sort(rng.random((20, 12)) * rng.uniform(0.5, 2.0, (20, 1)), axis=1).ravel()
    logits = rng.normal(size=staged.blocks.dimension) * rng.uniform(0.5, 3.0)
    point = np.concatenate([np.exp(row) / np.exp(row).sum() for row in staged.blocks.split(logits)])
    alpha, beta = point[staged.alpha], point[staged.beta].reshape(5, 3)
    runs = np.stack([np.ones(5), np.ones(5), beta[:, 1:].sum(1), beta[:, 2]], axis=1).ravel()
    latency = 0.5 + float((alpha * times).reshape(20, 12).sum(1) @ runs)
    return Program(staged, point, times, 0.5), point, latency * float(rng.uniform(1.0, 1.05))
