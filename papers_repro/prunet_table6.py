"""Table 6 of PruNet at your scale: total loss and depth of searches over (alpha, phi, lambda).

While a layer competes with its absence its output is scaled by lambda and the skip's by phi. Settings under 1 keep more layers; the
paper finds 1.1 and 0.55 or 0.4 best. The loss is that of the last epoch, CE + alpha (ln LAT)^0.6 with LAT in microseconds: losses
of different alphas cannot be compared. Rows are means over seeds; settings are compared with the paper's first column, (1, 1), by
seed.

Reference: PruNet, Table 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from papers_repro.harness import Column, Row, Rows, Scale, half_width, mean, started
from papers_repro.prunet import (
    SKIP_SETTINGS,
    TABLE6,
    GridOptions,
    Pruned,
    PruNetOptions,
    fit_remark,
    grid_preset,
    run_grid,
    setup_preset,
)

SCRIPT = "prunet_table6"


@dataclass(frozen=True)
class Options(PruNetOptions):
    """Loss and depth over (alpha, phi, lambda)."""

    grid: Annotated[GridOptions, tyro.conf.arg(name="")] = field(default_factory=GridOptions)
    """Settings to search with."""


def preset(scale: Scale) -> Options:
    """The options of a scale."""
    return Options(scale, grid=grid_preset(scale), setup=setup_preset(scale))


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        options = script.options
        with script.bars() as progress:
            found, latencies, _ = run_grid(options.grid, options.setup, options.seed, script.folder, progress, retrain=False)
        script.say(fit_remark(latencies))
        script.show(loss_rows(options, found), published_rows())


def loss_rows(options: Options, found: Sequence[Pruned]) -> Rows:
    """A row a setting."""
    columns = [
        Column("setting", "alpha; phi, lambda", "coefficient of the latency; scales of the skip's and of the block's output"),
        Column("loss", "loss", "total loss in the last epoch, mean over seeds", ".4f"),
        Column("interval", "95 %", "half the 95 % interval of that mean", ".4f"),
        Column("difference", "minus (1, 1)", "its difference from phi = lambda = 1 at the same alpha, mean over seeds", "+.4f"),
        Column("half", "± 95 %", "half the 95 % interval of that difference", ".4f"),
        Column("blocks", "IRBs", "inverted residuals that are left, mean over seeds", ".1f"),
        Column("latency", "est. ms", "estimated latency of the network, mean over seeds", ".3f"),
    ]
    ours: list[Row] = []
    for alpha in options.grid.alphas:
        plain = _group(found, alpha, 1.0, 1.0)
        for phi, scale in SKIP_SETTINGS:
            group = _group(found, alpha, phi, scale)
            losses = [entry.record.loss for entry in group]
            differences = [loss - entry.record.loss for loss, entry in zip(losses, plain, strict=True)]
            base = (phi, scale) == (1.0, 1.0)
            ours.append(
                {
                    "setting": f"{alpha:g}; {phi:g}, {scale:g}",
                    "loss": mean(losses),
                    "interval": half_width(losses),
                    "difference": None if base else mean(differences),
                    "half": None if base else half_width(differences),
                    "blocks": mean([entry.record.blocks for entry in group]),
                    "latency": mean([entry.record.latency_ms for entry in group]),
                }
            )
    undecided = sum(entry.record.undecided > 0 for entry in found)
    remark = (
        f"{options.grid.seeds} seed(s); {len(found) - undecided} of {len(found)} searches ended with one option in every layer. A "
        "difference within its interval cannot be told from 0."
    )
    return Rows("Loss and depth of the searches here", columns, ours, remark=remark)


def published_rows() -> Rows:
    """Table 6 as published, a table of its own."""
    columns = [
        Column("setting", "alpha; phi, lambda", "as published"),
        Column("loss", "loss", "total loss of the search", ".4f"),
        Column("blocks", "IRBs", "inverted residuals that are left", "d"),
    ]
    published: list[Row] = [
        {"setting": f"{row.alpha:g}; {row.phi:g}, {row.scale:g}", "loss": row.loss, "blocks": row.depth} for row in TABLE6
    ]
    return Rows("Published, for orientation: ImageNet, another device", columns, [], published, "PruNet, Table 6")


def _group(found: Sequence[Pruned], alpha: float, phi: float, scale: float) -> list[Pruned]:
    return [entry for entry in found if (entry.spec.alpha, entry.spec.phi, entry.spec.scale) == (alpha, phi, scale)]


if __name__ == "__main__":
    main()
