"""The configurations of the grid searches, and the homogeneous ones they are compared with.

Quantization: every layer gives the same shares of its filters to the operations, in steps of ``1 / parts`` (the paper: one layer
configuration everywhere). Pruning: one share of the filters a stage, all combinations.

Reference: Zur et al., Sec. 4 and Fig. 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from constrained_nas.methods.filter_level import largest_remainder
from papers_repro.filter_level.setup import KINDS, FilterSetup, Kind, SplitOptions, space_of
from papers_repro.filter_level.trainings import Candidate, Trained, candidate, train_candidates
from papers_repro.harness import ProgressBars


def homogeneous_candidates(setup: FilterSetup, kind: Kind, shares: Sequence[float]) -> list[Candidate]:
    """One operation everywhere, or one of ``shares`` of the filters everywhere (rounded, at least one filter)."""
    space = space_of(setup, kind)
    if kind == "pruning":
        return [candidate(setup, kind, f"x{s:g}", np.maximum(1, np.rint(s * space.units))[:, None], True) for s in shares]
    eye = np.eye(len(space.operations), dtype=np.int64)
    rows = [space.units[:, None] * eye[index] for index in range(len(eye))]
    return [candidate(setup, kind, o.name, row, True) for o, row in zip(space.operations, rows, strict=True)]


def quantization_grid(setup: FilterSetup, parts: int) -> list[Candidate]:
    """Every way to give ``parts`` equal parts of a layer's filters to the operations, the homogeneous ones left out."""
    space = space_of(setup, "quantization")
    found = []
    for split in _compositions(parts, len(space.operations)):
        if max(split) < parts:
            counts = np.stack([largest_remainder(units * np.array(split) / parts, units) for units in space.units.tolist()])
            names = [f"{n}/{parts} {o.name}" for n, o in zip(split, space.operations, strict=True) if n]
            found.append(candidate(setup, "quantization", " + ".join(names), counts))
    return found


def pruning_grid(setup: FilterSetup, shares: Sequence[float]) -> list[Candidate]:
    """Every combination of shares a stage, the homogeneous ones left out."""
    space = space_of(setup, "pruning")
    found = []
    for split in itertools.product(shares, repeat=len(space.units)):
        if len(set(split)) > 1:
            counts = np.maximum(1, np.rint(np.array(split) * space.units))[:, None]
            found.append(candidate(setup, "pruning", "x" + "/".join(f"{share:g}" for share in split), counts))
    return found


def train_grid(options: SplitOptions, folder: Path, progress: ProgressBars) -> list[Trained]:
    """Train the homogeneous networks and both grids."""
    setup = options.setup
    candidates = [each for kind in KINDS for each in homogeneous_candidates(setup, kind, options.line_shares)]
    candidates += quantization_grid(setup, options.parts) + pruning_grid(setup, options.shares)
    return train_candidates(candidates, options.repeats, setup, options.seed, folder, progress)


def _compositions(parts: int, options: int) -> Iterator[tuple[int, ...]]:
    if options == 1:
        yield (parts,)
        return
    for first in range(parts, -1, -1):
        for rest in _compositions(parts - first, options - 1):
            yield (first, *rest)
