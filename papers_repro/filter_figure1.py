"""Figure 1 of filter-level compression: a grid search of heterogeneous networks against the homogeneous ones.

Quantization: every layer gives the same shares of its filters to four operations. Pruning: one width a stage. Each configuration is
trained several times; means carry 0.6827 intervals (Student's t), and each heterogeneous one is compared with the line of the
homogeneous ones at its own cost. An interval that leaves out 0 is no proof where many configurations are compared: about a sixth of
those that are no better than the line do so upwards. ``filter_variance`` has the test that allows for that. Where a homogeneous
network has not learned, nothing is compared.

Laptop scale: a ResNet-8 on digits drawn at 16x16 among clutter. The paper has ResNet-20 on CIFAR-10; its figure has no numbers.

Reference: Zur et al., Fig. 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from papers_repro.filter_level import (
    CONFIDENCE,
    KINDS,
    Comparison,
    Kind,
    SplitOptions,
    Trained,
    at_chance,
    compare_with_line,
    draw_accuracies,
    new_panels,
    setup_preset,
    train_grid,
)
from papers_repro.harness import Column, Row, Rows, Scale, half_width, row_of, save_figure, started

SCRIPT = "filter_figure1"


@dataclass(frozen=True)
class Options(SplitOptions):
    """A grid of heterogeneous networks, trained several times each, against the line of the homogeneous ones."""


def preset(scale: Scale) -> Options:
    options = Options(scale, setup=setup_preset(scale))
    if scale == "smoke":
        return replace(options, repeats=2, shares=(0.5, 1.0), line_shares=(0.5, 1.0))
    return replace(options, parts=4, shares=options.line_shares) if scale == "paper" else options


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        with script.bars() as progress:
            trained = train_grid(options, script.folder, progress)
        figure, axes = new_panels(1, 2)
        for kind, panel in zip(KINDS, axes[0], strict=True):
            ours = [each for each in trained if each.candidate.kind == kind]
            comparisons = [] if at_chance(ours, options.setup.classes) else compare_with_line(ours)
            script.show(_rows(options, kind, ours, comparisons))
            draw_accuracies(panel, kind, ours, comparisons)
        figure.suptitle(f"Grid search on {options.setup.title}, {options.repeats} trainings each (Zur et al., Fig. 1)")
        save_figure(figure, script.picture)


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
    compared = {id(each.trained): each.gain for each in comparisons}
    rows: list[Row] = []
    for each in sorted(trained, key=lambda each: (not each.candidate.homogeneous, each.candidate.cost)):
        gain = compared.get(id(each))
        contrast = () if gain is None else (gain.difference, gain.half(CONFIDENCE), gain.verdict(CONFIDENCE))
        itself = each.candidate.name, each.candidate.cost / scale, each.mean, half_width(each.test, CONFIDENCE)
        rows.append(row_of(columns, *itself, *contrast))
    above = sum(each.gain.verdict(CONFIDENCE) == "better" for each in comparisons)
    said = at_chance(trained, options.setup.classes) or (
        f"{above} of {len(comparisons)} lie above the line by their 0.6827 interval; by chance alone about "
        f"{(1 - CONFIDENCE) / 2 * len(comparisons):.1f} would."
    )
    remark = f"{said} {sum(each.seconds for each in trained):.0f} s of training."
    return Rows(f"Grid search, {kind}", columns, rows, remark=remark)


if __name__ == "__main__":
    main()
