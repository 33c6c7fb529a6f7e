"""The searches behind Table 6 and Figures 6 and 7 of PruNet: every alpha with every (phi, lambda).

Reference: PruNet, Table 6, Fig. 6 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graphs.spaces import GPUNetSpace
from papers_repro.harness import ProgressBars, Scale
from papers_repro.prunet.published import SKIP_SETTINGS
from papers_repro.prunet.searches import Pruned, SearchSpec, run_searches, start_over
from papers_repro.prunet.setup import SetupOptions, WidthLatencies, measured_space


@dataclass(frozen=True, slots=True)
class GridOptions:
    """Which searches; the (phi, lambda) are the paper's four."""

    alphas: tuple[float, ...] = (0.2, 0.8, 2.0)
    """Coefficients of the latency."""
    seeds: int = 3
    """How many seeds."""


def grid_preset(scale: Scale) -> GridOptions:
    """The grid of a scale; the paper has one search a setting."""
    if scale == "smoke":
        return GridOptions((0.6,), 1)
    return GridOptions() if scale in ("laptop", "gpu") else GridOptions((0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 2.0), 1)


def run_grid(
    grid: GridOptions, setup: SetupOptions, seed: int, folder: Path, progress: ProgressBars, retrain: bool
) -> tuple[list[Pruned], WidthLatencies, GPUNetSpace]:
    """Measure latencies and search with every setting; with ``setup.resume`` what the folder has is used.

    The searches of a grid are the same with and without retraining: a folder of one script serves the other.
    """
    start_over(folder, setup)
    space, latencies = measured_space(setup, seed, folder, progress)
    specs = [
        SearchSpec(f"alpha{alpha:g}_phi{phi:g}_lambda{scale:g}_seed{own}", own, alpha, phi=phi, scale=scale)
        for alpha in grid.alphas
        for own in range(seed, seed + grid.seeds)
        for phi, scale in SKIP_SETTINGS
    ]
    return run_searches(specs, setup, latencies, folder, progress, retrain), latencies, space
