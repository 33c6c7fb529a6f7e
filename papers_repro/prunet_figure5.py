"""Figure 5 of PruNet at your scale: block pruning at a constant threshold against the rising one.

On Imagewoof the paper's threshold rises from 0.133 to 0.55 after the warm-up; a constant one of 0.133 removes blocks later, and its
searches take 15 to 45 % longer for an equal front. Here the same searches are run both ways: time of the phase after the warm-up by
the processor's clock (on a CPU), accuracy after retraining, and the front of both. The paper scale is Imagewoof, its space and its
protocol.

Reference: PruNet, Fig. 5, Table 5, Appendix B.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from papers_repro.harness import Column, Row, Rows, Scale, compared, half_width, mean, new_figure, save_figure, started
from papers_repro.prunet import (
    COLOURS,
    CONSTANT_THRESHOLD,
    RISING_THRESHOLDS,
    Pruned,
    PruNetOptions,
    SearchSpec,
    fit_remark,
    imagewoof_preset,
    measured_space,
    run_searches,
    scatter_front,
    setup_preset,
    start_over,
)

SCRIPT = "prunet_figure5"

_RISING, _CONSTANT = "rising", "constant"


@dataclass(frozen=True)
class Options(PruNetOptions):
    """Constant against rising threshold of block pruning."""

    seeds: int = 3
    """How many seeds."""
    alphas: tuple[float, ...] = (0.2, 2.0)
    """Coefficients of the latency."""
    constant: float = CONSTANT_THRESHOLD
    """The constant threshold."""
    rising: tuple[float, float] = RISING_THRESHOLDS
    """The rising threshold, first and last."""


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(scale, seeds=1, alphas=(0.6,), setup=setup_preset(scale))
    if scale == "laptop":
        return Options(scale, setup=setup_preset(scale))
    if scale == "gpu":
        return Options(scale, alphas=(0.2, 0.8, 2.0), setup=setup_preset(scale))
    return Options(scale, seeds=1, alphas=(0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 2.0, 3.0), setup=imagewoof_preset())


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        start_over(script.folder, options.setup)
        thresholds = {_RISING: options.rising, _CONSTANT: (options.constant, options.constant)}
        with script.bars() as progress:
            _, latencies = measured_space(options.setup, options.seed, script.folder, progress)
            specs = [
                SearchSpec(f"{name}_alpha{alpha:g}_seed{seed}", seed, alpha, thresholds=threshold)
                for alpha in options.alphas
                for seed in range(options.seed, options.seed + options.seeds)
                for name, threshold in thresholds.items()  # the two next to each other in time
            ]
            found = run_searches(specs, options.setup, latencies, script.folder, progress)
        script.say(fit_remark(latencies))
        script.show(threshold_rows(options, found))
        draw(options, found, script.picture)


def threshold_rows(options: Options, found: Sequence[Pruned]) -> Rows:
    """A row an alpha and threshold."""
    clock = "processor" if all(entry.record.processor_seconds for entry in found) else "wall"
    columns = [
        Column(
            "setting",
            "alpha, threshold",
            f"rising {options.rising[0]:g} to {options.rising[1]:g}, or constant {options.constant:g}",
        ),
        Column("after", "s after", f"{clock} time of the phase after the warm-up, mean over seeds", ".2f"),
        Column("slower", "over rising", "that time over the rising threshold's of the same seed, mean over seeds", ".2f"),
        Column("interval", "95 %", "half the 95 % interval of that ratio", ".2f"),
        Column("undecided", "open", "layers with more than one option left at the end, mean over seeds", ".1f"),
        Column("latency", "est. ms", "estimated latency, mean over seeds", ".3f"),
        Column("accuracy", "acc. %", "test accuracy after retraining, mean over seeds", ".2f"),
        Column("versus", "minus rising", "difference of accuracy by seed, half its 95 % interval, verdict"),
    ]
    ours: list[Row] = []
    for alpha in options.alphas:
        rising, constant = (_group(found, name, alpha) for name in (_RISING, _CONSTANT))
        for name, group in ((_RISING, rising), (_CONSTANT, constant)):
            ratios = [_after(a, options) / _after(b, options) for a, b in zip(group, rising, strict=True)]
            versus = compared([e.accuracy for e in group], [e.accuracy for e in rising], _CONSTANT)
            ours.append(
                {
                    "setting": f"{alpha:g}, {name}",
                    "after": mean([_after(entry, options) for entry in group]),
                    "slower": None if name == _RISING else mean(ratios),
                    "interval": None if name == _RISING else half_width(ratios),
                    "undecided": mean([entry.record.undecided for entry in group]),
                    "latency": mean([entry.record.latency_ms for entry in group]),
                    "accuracy": mean([entry.accuracy for entry in group]),
                    "versus": None if name == _RISING else versus,
                }
            )
    every = [
        _after(a, options) / _after(b, options)
        for alpha in options.alphas
        for a, b in zip(_group(found, _CONSTANT, alpha), _group(found, _RISING, alpha), strict=True)
    ]
    remark = (
        f"{options.seeds} seed(s). All together a constant threshold takes {np.mean(every):.2f} times as long after the warm-up; "
        "the paper, on Imagewoof: 1.15 to 1.45 times."
    )
    return Rows("Threshold of block pruning", columns, ours, remark=remark)


def draw(options: Options, found: Sequence[Pruned], path: Path) -> None:
    """Left the fronts, right the blocks that are left and the time of every epoch."""
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    time_axes = right.twinx()
    for name, colour, marker in ((_RISING, COLOURS[0], "o"), (_CONSTANT, COLOURS[1], "s")):
        entries = [entry for entry in found if entry.spec.name.startswith(name)]
        label = f"rising {options.rising[0]:g} to {options.rising[1]:g}" if name == _RISING else f"constant {options.constant:g}"
        latencies, accuracies = [e.record.latency_ms for e in entries], [e.accuracy for e in entries]
        scatter_front(left, latencies, accuracies, label, colour, marker, maximize=True)
        epochs = np.arange(1, options.setup.epochs + 1)
        right.plot(epochs, np.mean([[h["options"] for h in e.record.history] for e in entries], 0), color=colour, label=label)
        seconds = np.mean([_epochs(e) for e in entries], 0)
        time_axes.plot(epochs, seconds, "--", color=colour, alpha=0.8)
    right.axvline(options.setup.warm_up + 0.5, color="0.6", linewidth=1, linestyle=":")
    right.annotate("warm-up ends", (options.setup.warm_up + 0.6, 1.0), fontsize=8, color="0.35", xycoords=("data", "data"))
    left.set(xlabel="estimated latency, ms", ylabel="test accuracy after retraining, %", title=f"{options.setup.title}: fronts")
    right.set(
        xlabel="epoch", ylabel="options left a layer, mean (solid)", title="course of the search (one line until the warm-up ends)"
    )
    time_axes.set_ylabel("seconds an epoch (dashed)")
    time_axes.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2, "frameon": False, "fontsize": 8}
    left.legend(**below)
    right.legend(**below)
    save_figure(figure, path)


def _group(found: Sequence[Pruned], name: str, alpha: float) -> list[Pruned]:
    return [entry for entry in found if entry.spec.name.startswith(f"{name}_") and entry.spec.alpha == alpha]


def _epochs(entry: Pruned) -> list[float]:
    """Seconds of every epoch."""
    record = entry.record
    return list(record.processor_seconds) or [seconds * record.steps for seconds in record.step_seconds]


def _after(entry: Pruned, options: Options) -> float:
    return sum(_epochs(entry)[options.setup.warm_up :])


if __name__ == "__main__":
    main()
