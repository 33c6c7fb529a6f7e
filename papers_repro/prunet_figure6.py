"""Figures 6 and 7 of PruNet at your scale: fronts of the searched networks for every (phi, lambda).

Accuracy after retraining (Fig. 6), and the cross-entropy at the end of the search (Fig. 7), over measured latency; every alpha with
every setting of layer skipping (the paper: 28 searches). Lines join the networks that none of the same setting beats in both.
Searches of a seed share their warm-up, as the paper's do.

With ``--resume`` and the ``--out`` of ``prunet_table6`` that script's searches are used.

Reference: PruNet, Fig. 6 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from papers_repro.harness import Column, Row, Rows, Scale, half_width, mean, row_of, started
from papers_repro.prunet import (
    SKIP_SETTINGS,
    GridOptions,
    Measured,
    Pruned,
    PruNetOptions,
    draw_two,
    fit_remark,
    grid_preset,
    measure_found,
    run_grid,
    setup_preset,
)
from solvers.pareto import hypervolume

SCRIPT = "prunet_figure6"


@dataclass(frozen=True)
class Options(PruNetOptions):
    """Fronts of accuracy and of the search's cross-entropy over latency."""

    measuring_rounds: int = 30
    """Timed passes of every found network."""
    grid: Annotated[GridOptions, tyro.conf.arg(name="")] = field(default_factory=GridOptions)
    """Settings to search with."""


def preset(scale: Scale) -> Options:
    return Options(scale, measuring_rounds=5 if scale == "smoke" else 30, grid=grid_preset(scale), setup=setup_preset(scale))


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        with script.bars() as progress:
            found, latencies, space = run_grid(options.grid, options.setup, options.seed, script.folder, progress, retrain=True)
            measured = measure_found(found, latencies, space, options.measuring_rounds, options.seed, progress)
        script.say(fit_remark(latencies))
        groups = {f"φ {phi:g}, λ {scale:g}": _places(found, phi, scale) for phi, scale in SKIP_SETTINGS}
        script.show(front_rows(options, found, measured, groups), network_rows(found, measured))
        draw_two(
            {name: [found[place] for place in places] for name, places in groups.items()},
            {name: [measured.latencies[place].median for place in places] for name, places in groups.items()},
            script.picture,
            f"{options.setup.title}, seeds: {options.grid.seeds}",
            "measured latency, ms",
        )


def front_rows(options: Options, found: Sequence[Pruned], measured: Measured, groups: dict[str, list[int]]) -> Rows:
    """How good a front is, a row a setting."""
    columns = [
        Column("setting", "phi, lambda", "scales of the skip's and of the block's output while they compete"),
        Column("searches", "searches", "networks of the setting, over all alphas and seeds", "d"),
        Column(
            "volume",
            "hypervolume",
            "mean over seeds of the area under a seed's front, to the slowest network and accuracy 0",
            ".2f",
        ),
        Column("interval", "95 %", "half the 95 % interval of that mean", ".2f"),
        Column("accuracy", "acc. %", "mean over all its networks", ".2f"),
        Column("latency", "meas. ms", "measured latency, mean over all its networks", ".3f"),
    ]
    slowest = max(one.median for one in measured.latencies)
    ours: list[Row] = []
    for name, places in groups.items():
        volumes = []
        for seed in sorted({found[place].spec.seed for place in places}):
            own = [place for place in places if found[place].spec.seed == seed]
            points = [(measured.latencies[place].median, found[place].accuracy) for place in own]
            volumes.append(hypervolume(points, (slowest, 0.0), [False, True]))
        accuracy = mean([found[place].accuracy for place in places])
        latency = mean([measured.latencies[place].median for place in places])
        ours.append(row_of(columns, name, len(places), mean(volumes), half_width(volumes), accuracy, latency))
    return Rows("Fronts of accuracy over measured latency", columns, ours, remark=measured.remark)


def network_rows(found: Sequence[Pruned], measured: Measured) -> Rows:
    """Every network: what the picture shows."""
    columns = [
        Column("search", "search", "alpha, phi, lambda, seed"),
        Column("estimated", "est. ms", "latency by the table", ".3f"),
        Column("measured", "meas. ms", "latency measured now", ".3f"),
        Column("entropy", "CE", "cross-entropy in the search's last epoch", ".4f"),
        Column("accuracy", "acc. %", "test accuracy after retraining", ".2f"),
        Column("blocks", "IRBs", "inverted residuals that are left", "d"),
    ]
    ours = []
    for entry, one in zip(found, measured.latencies, strict=True):
        spec, record = entry.spec, entry.record
        search = f"{spec.alpha:g}, {spec.phi:g}, {spec.scale:g}, {spec.seed}"
        ours.append(row_of(columns, search, record.latency_ms, one.median, record.cross_entropy, entry.accuracy, record.blocks))
    return Rows("The networks", columns, ours)


def _places(found: Sequence[Pruned], phi: float, scale: float) -> list[int]:
    return [place for place, entry in enumerate(found) if (entry.spec.phi, entry.spec.scale) == (phi, scale)]


if __name__ == "__main__":
    main()
