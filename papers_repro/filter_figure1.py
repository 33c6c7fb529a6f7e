"""Figure 1 of filter-level compression: a grid search of heterogeneous networks against the homogeneous ones.

Quantization: every layer gives the same shares of its filters to four operations. Pruning: one width a stage. Each configuration is
trained several times; means carry 0.6827 intervals (Student's t), and each heterogeneous one is compared with the line of the
homogeneous ones at its own cost. An interval that leaves out 0 is no proof where many configurations are compared: about a sixth of
those that are no better than the line do so upwards. ``filter_variance`` has the test that allows for that.

Laptop scale: a ResNet-8 on digits drawn at 16x16 among clutter. The paper has ResNet-20 on CIFAR-10; its figure has no numbers.

Reference: Zur et al., Fig. 1.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from papers_repro.filter_level import (
    CONFIDENCE,
    KINDS,
    Comparison,
    FilterSetup,
    Kind,
    Trained,
    compare_with_line,
    draw_accuracies,
    homogeneous_candidates,
    new_figure,
    pruning_grid,
    quantization_grid,
    save_figure,
    setup_preset,
    train_candidates,
)
from papers_repro.harness import (
    Cell,
    Column,
    Rows,
    Scale,
    half_width,
    output_folder,
    print_rows,
    progress_bars,
    read_options,
    save_record,
)

SCRIPT = "filter_figure1"


@dataclass(frozen=True)
class Options:
    """A grid of heterogeneous networks, trained several times each, against the line of the homogeneous ones."""

    scale: Scale = "laptop"
    """smoke: seconds, to see that it runs. laptop: minutes on two cores. paper: the paper's protocol on CIFAR-10."""
    seed: int = 0
    """Of the data and of all trainings."""
    out: Path | None = None
    """Folder of the results; runs/filter_figure1 by default."""
    repeats: int = 3
    """Trainings of every configuration."""
    parts: int = 2
    """Quantization: a layer's filters are given to the operations in so many equal parts."""
    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Pruning: shares of the filters that a stage may keep."""
    line_shares: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Pruning: shares of the homogeneous networks."""
    setup: Annotated[FilterSetup, tyro.conf.arg(name="")] = field(default_factory=FilterSetup)
    """Data, network and training."""


def preset(scale: Scale) -> Options:
    """The options of a scale."""
    options = Options(scale, setup=setup_preset(scale))
    if scale == "smoke":
        return replace(options, repeats=2, shares=(0.5, 1.0), line_shares=(0.5, 1.0))
    return replace(options, parts=4, shares=options.line_shares) if scale == "paper" else options


def main() -> None:
    """Run at the scale of the command line."""
    options = read_options(preset)
    began = time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else 120)
    folder = output_folder(options.out, SCRIPT)
    console.print(f"{SCRIPT}, scale {options.scale}: results go to {folder}", highlight=False)
    candidates = [each for kind in KINDS for each in homogeneous_candidates(options.setup, kind, options.line_shares)]
    candidates += quantization_grid(options.setup, options.parts) + pruning_grid(options.setup, options.shares)
    with progress_bars(console) as progress:
        trained = train_candidates(candidates, options.repeats, options.setup, options.seed, folder, progress)
    tables = []
    figure, axes = new_figure(1, 2)
    for kind, panel in zip(KINDS, axes[0], strict=True):
        ours = [each for each in trained if each.candidate.kind == kind]
        comparisons = compare_with_line(ours)
        tables.append(_rows(options, kind, ours, comparisons))
        draw_accuracies(panel, kind, ours, comparisons)
    figure.suptitle(f"Grid search on {options.setup.data}, {options.repeats} trainings each (Zur et al., Fig. 1)")
    save_figure(figure, folder / f"{SCRIPT}.png")
    for rows in tables:
        print_rows(rows, console)
    record = save_record(folder, SCRIPT, options.scale, options.seed, options, tables, began)
    console.print(f"{record} and {SCRIPT}.png in {time.perf_counter() - began:.0f} s", highlight=False)


def _rows(options: Options, kind: Kind, trained: Sequence[Trained], comparisons: Sequence[Comparison]) -> Rows:
    unit, scale = ("MBOPs", 1e6) if kind == "quantization" else ("kMACs", 1e3)
    columns = [
        Column("name", "configuration", "homogeneous networks first; shares of the filters a layer or a stage"),
        Column("cost", unit, "bit operations, or multiply-adds of the convolutions, of one image", ".2f"),
        Column("accuracy", "acc. %", f"test accuracy, mean of {options.repeats} trainings", ".2f"),
        Column("half", "0.6827", "half the interval of that mean, Student's t", ".2f"),
        Column("difference", "minus line", "accuracy minus that of the homogeneous line at the same cost", "+.2f"),
        Column("error", "± 0.6827", "half the interval of the difference; the line's own trainings count too", ".2f"),
        Column("verdict", "verdict", "whether that interval leaves out 0; for one comparison alone"),
    ]
    compared = {id(each.trained): each for each in comparisons}
    rows: list[dict[str, Cell]] = []
    for each in sorted(trained, key=lambda each: (not each.candidate.homogeneous, each.candidate.cost)):
        row: dict[str, Cell] = {
            "name": each.candidate.name,
            "cost": each.candidate.cost / scale,
            "accuracy": each.mean,
            "half": half_width(each.test, CONFIDENCE),
        }
        if id(each) in compared:
            found = compared[id(each)]
            row |= {
                "difference": found.gain.difference,
                "error": found.gain.half(CONFIDENCE),
                "verdict": found.gain.verdict(CONFIDENCE),
            }
        rows.append(row)
    above = sum(each.gain.verdict(CONFIDENCE) == "better" for each in comparisons)
    remark = (
        f"{above} of {len(comparisons)} lie above the line by their 0.6827 interval; by chance alone about "
        f"{(1 - CONFIDENCE) / 2 * len(comparisons):.1f} would. {sum(each.seconds for each in trained):.0f} s of training."
    )
    return Rows(f"Grid search, {kind}", columns, rows, remark=remark)


if __name__ == "__main__":
    main()
