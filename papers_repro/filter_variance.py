"""Is heterogeneous better than homogeneous? A test that allows for the spread of trainings and for how many are compared.

The paper concludes: quantized networks vary so much from training to training that a gain of the heterogeneous ones cannot be
established; pruned ones vary little, and some heterogeneous ones are significantly better. Here a few configurations of each kind
are trained more often than in the grid search, and the same three questions are asked of both kinds:

- How much does one training vary around its configuration's mean, and how small a gain could this experiment have seen?
- Which heterogeneous networks lie above the homogeneous line by their 0.6827 interval, the paper's criterion, and how far above it
  are all of them on average?
- Which do so at 5 % when all of the kind are tested together (one-sided Welch tests, Holm's correction)?

The statement, with its intervals, is computed from the run and printed as it comes out, whether it agrees with the paper's or not.
It is about this data, these networks and trainings of this length, and about the line: that is straight between homogeneous
networks, and one that is poor for its cost (at laptop scale w2a4) bends it down, so that what costs nearly as much rises above it.

Reference: Zur et al., Sec. 4 and 5; Welch 1947; Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from papers_repro.filter_level import (
    CONFIDENCE,
    KINDS,
    Comparison,
    Kind,
    SplitOptions,
    Trained,
    at_chance,
    compare_with_line,
    deviation_ratio,
    draw_accuracies,
    finish_axes,
    holm,
    mean_difference,
    new_panels,
    setup_preset,
    train_grid,
    typical_deviation,
)
from papers_repro.harness import Column, Row, Rows, Scale, row_of, save_figure, started

SCRIPT = "filter_variance"
_LEVEL = 0.05


@dataclass(frozen=True)
class Options(SplitOptions):
    """Few configurations, many trainings: whether heterogeneous networks can be told from homogeneous ones."""

    repeats: int = 5
    shares: tuple[float, ...] = (0.5, 1.0)

    def __post_init__(self) -> None:
        if self.repeats < 2:
            raise ValueError("--repeats: a variance needs at least two trainings")


def preset(scale: Scale) -> Options:
    options = Options(scale, setup=setup_preset(scale))
    if scale == "smoke":
        return replace(options, repeats=2, line_shares=(0.5, 1.0))
    return replace(options, repeats={"laptop": 5, "cpu": 3, "gpu": 10, "paper": 20}[scale])


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        with script.bars() as progress:
            trained = train_grid(options, script.folder, progress)
        script.show(_summary(trained, options.setup.classes), *(_tests(kind, trained, options.setup.classes) for kind in KINDS))
        _draw(trained, options, script.picture)


def detectable(comparisons: Sequence[Comparison], level: float = _LEVEL, power: float = 0.8) -> float:
    """The true gain (%) that a one-sided test of a median comparison at ``level`` would see with probability ``power``.

    By the usual approximation of a non-central t: (t at the level + t at the power) standard errors.
    """
    errors = np.array([each.gain.error for each in comparisons])
    freedom = np.array([each.gain.freedom for each in comparisons])
    gains = (student.ppf(1 - level, freedom) + student.ppf(power, freedom)) * errors
    return float(np.median(gains))


def statement(kind: Kind, trained: Sequence[Trained], classes: int = 10) -> str:
    """What the run says of a kind, with 95 % intervals: on average, and which networks are better when all are tested together.

    Nothing but that, where homogeneous networks have not learned.
    """
    if poor := at_chance(trained, classes):
        return f"{kind}: {poor}"
    comparisons = compare_with_line(trained)
    adjusted = holm([each.gain.p_value for each in comparisons])
    better = [each for each, p in zip(comparisons, adjusted, strict=True) if p < _LEVEL]
    best = max(comparisons, key=lambda each: each.gain.difference)
    average = mean_difference(trained).written(1 - _LEVEL)
    if better:
        named = "; ".join(f"{each.trained.candidate.name} {each.gain.written(1 - _LEVEL)}" for each in better)
        found = f"{len(better)} of {len(comparisons)} are better at 5 % after Holm's correction: {named}"
    else:
        found = (
            f"that any of the {len(comparisons)} is better cannot be established; greatest: {best.trained.candidate.name} "
            f"{best.gain.written(1 - _LEVEL)}"
        )
    agrees = "as" if bool(better) == (kind == "pruning") else "not as"
    return f"{kind}: {found} ({agrees} in the paper). Heterogeneous minus line, mean of all: {average}"


def spreads(trained: Sequence[Trained]) -> str:
    """Whether quantized trainings vary more than pruned ones, as the paper says: the ratio of deviations with its interval."""
    ratio, low, high = deviation_ratio(_of("quantization", trained), _of("pruning", trained))
    if math.isnan(ratio):
        return "The spreads of the two kinds cannot be compared: one of them has none"
    word = "more" if low > 1 else "less" if high < 1 else "neither more nor less, as far as can be told,"
    return f"Quantized trainings vary {word} than pruned ones: {ratio:.2f} times (95 % interval {low:.2f} to {high:.2f})"


def _of(kind: Kind, trained: Sequence[Trained]) -> list[Trained]:
    return [each for each in trained if each.candidate.kind == kind]


def _summary(trained: Sequence[Trained], classes: int) -> Rows:
    columns = [
        Column("kind", "kind", "quantization (operations) or pruning (a width a stage)"),
        Column(
            "deviation",
            "deviation",
            "standard deviation (%) of one training around its configuration's mean, the median one",
            ".2f",
        ),
        Column("detectable", "detectable", "true gain (%) a single 5 % test would see 4 times of 5, median comparison", ".2f"),
        Column("tested", "tested", "heterogeneous networks"),
        Column("above", "above", "of them above the line by their 0.6827 interval"),
        Column("chance", "by chance", "how many would be if none were better: .159 of them", ".1f"),
        Column("significant", "at 5 %", "above the line at 5 %, Holm's correction over the kind"),
        Column("below", "below", "below the line by their 0.6827 interval"),
        Column("average", "mean gain", "accuracy minus the line's (%), mean of all heterogeneous networks", "+.2f"),
        Column("interval", "± 95 %", "half the interval of that mean; the networks share a line, which it allows for", ".2f"),
    ]
    rows: list[Row] = []
    remarks = []
    for kind in KINDS:
        ours = _of(kind, trained)
        remarks.append(statement(kind, ours, classes).removesuffix("."))
        if at_chance(ours, classes):
            rows.append({"kind": kind})
            continue
        comparisons = compare_with_line(ours)
        verdicts = [each.gain.verdict(CONFIDENCE) for each in comparisons]
        average = mean_difference(ours)
        rows.append(
            {
                "kind": kind,
                "deviation": typical_deviation(ours),
                "detectable": detectable(comparisons),
                "tested": len(comparisons),
                "above": verdicts.count("better"),
                "chance": (1 - CONFIDENCE) / 2 * len(comparisons),
                "significant": sum(p < _LEVEL for p in holm([each.gain.p_value for each in comparisons])),
                "below": verdicts.count("worse"),
                "average": average.difference,
                "interval": average.half(1 - _LEVEL),
            }
        )
    if not at_chance(trained, classes):
        remarks.append(spreads(trained))
    published: list[Row] = [{"kind": "quantization: cannot be established"}, {"kind": "pruning: some are better"}]
    source = "Zur et al., in words"
    return Rows("Is heterogeneous better?", columns, rows, published, source, remark=".\n".join(remarks) + ".")


def _tests(kind: Kind, trained: Sequence[Trained], classes: int) -> Rows:
    columns = [
        Column("name", "configuration", "shares of the filters a layer (operations) or a stage (widths)"),
        Column("accuracy", "acc. %", "test accuracy, mean of the trainings", ".2f"),
        Column("deviation", "s", "standard deviation of its trainings, %", ".2f"),
        Column("difference", "minus line", "accuracy minus that of the homogeneous line at the same cost", "+.2f"),
        Column("half", "± 0.6827", "half the interval of the difference", ".2f"),
        Column("wide", "± 95 %", "half the 95 % interval of the difference", ".2f"),
        Column("verdict", "by 0.6827", "whether that interval leaves out 0"),
        Column("p", "p", "one-sided: so large a difference if the network were no better", ".3f"),
        Column("holm", "Holm", "p corrected for all the comparisons of the table", ".3f"),
    ]
    comparisons = [] if at_chance(_of(kind, trained), classes) else compare_with_line(_of(kind, trained))
    adjusted = holm([each.gain.p_value for each in comparisons])
    rows = []
    for each, p in zip(comparisons, adjusted, strict=True):
        ours, gain = each.trained, each.gain
        trained_alone = ours.candidate.name, ours.mean, float(np.std(ours.test, ddof=1))
        intervals = gain.difference, gain.half(CONFIDENCE), gain.half(1 - _LEVEL), gain.verdict(CONFIDENCE)
        rows.append(row_of(columns, *trained_alone, *intervals, gain.p_value, p))
    line = ", ".join(
        f"{each.candidate.name} {each.mean:.2f} (s {np.std(each.test, ddof=1):.2f})"
        for each in _of(kind, trained)
        if each.candidate.homogeneous
    )
    return Rows(f"Tests, {kind}", columns, rows, remark=f"The line: {line}.")


def _draw(trained: Sequence[Trained], options: Options, path: Path) -> None:
    chance = {kind: at_chance(_of(kind, trained), options.setup.classes) for kind in KINDS}
    figure, axes = new_panels(1 if all(chance.values()) else 2, 2, 4.6)  # no empty half of a page
    for column, kind in enumerate(KINDS):
        ours = _of(kind, trained)
        panel = axes[-1, column]
        if chance[kind]:
            draw_accuracies(axes[0, column], kind, ours, [])
            if len(axes) == 1:
                panel.set_title(f"{kind}: homogeneous networks near chance, nothing to compare with", fontsize=10)
                continue
            panel.text(0.5, 0.5, "homogeneous networks near chance:\nnothing to compare with", ha="center", va="center")
            panel.set_axis_off()
            continue
        comparisons = compare_with_line(ours)
        draw_accuracies(axes[0, column], kind, ours, comparisons)
        order = sorted(comparisons, key=lambda each: each.gain.difference)
        gains = [mean_difference(ours), *(each.gain for each in order)]
        places = np.arange(len(gains))
        panel.axvline(0.0, color="0.3", lw=0.9)
        for confidence, width, colour, label in ((1 - _LEVEL, 1.4, "#8fa9c4", "95 %"), (CONFIDENCE, 5.0, "#33658a", "0.6827")):
            halves = np.nan_to_num([gain.half(confidence) for gain in gains])
            centres = [gain.difference for gain in gains]
            panel.errorbar(centres, places, xerr=halves, fmt="none", lw=width, color=colour, label=f"interval {label}")
        panel.plot([gain.difference for gain in gains], places, "o", color="white", mec="#12344d", ms=6)
        panel.axhline(0.5, color="0.6", lw=0.8, ls=":")
        panel.set_yticks(places, ["mean of all", *(each.trained.candidate.name for each in order)], fontsize=9)
        title = f"{kind}: one training deviates by {_deviation(ours)}"
        finish_axes(panel, "accuracy minus the homogeneous line's, %", "", title)
    figure.suptitle(f"Is heterogeneous better? {options.setup.title}, {options.repeats} trainings of each configuration")
    save_figure(figure, path)


def _deviation(trained: Sequence[Trained]) -> str:
    value = typical_deviation(trained)
    return "unknown" if math.isnan(value) else f"{value:.2f} %"


if __name__ == "__main__":
    main()
