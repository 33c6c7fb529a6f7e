"""Algorithm 1 of PruNet on a trade-off with a known optimum: which widths it finds, where it fails, and what repairs it.

Every Prunode minimizes ``x / o + o / x`` over the share x of its channels, by a fresh Adam of rate 0.1 on the logit between its two
candidates, for every optimum o that is a multiple of the granularity. Without noise it finds every optimum from a fifth of the
channels on; below, it can get stuck at the narrow end, which a clamp on the logit (not in the paper) repairs. Noise of the loss
pulls the widths towards the middle. Masks freeze at the progress ``1 - sqrt(g / (0.6 M))``.

A third table asks how many steps a search needs: a search of few steps shrinks the distance between its candidates before it has
learned where to move.

This is the whole experiment at every scale; the scales differ in the number of noisy repetitions.

Reference: PruNet, Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constrained_nas.methods.prunet import PrunodeSettings, freeze_progress, init_prunodes, pick_widths, step_prunodes
from graphs.spaces import gpunet_small
from papers_repro.harness import Column, Reports, Row, Rows, Scale, ScriptOptions, new_figure, row_of, save_figure, started
from solvers.arrays import FloatArray, IntArray

SCRIPT = "prunet_prunode"


@dataclass(frozen=True)
class Options(ScriptOptions):
    """Algorithm 1 on a synthetic trade-off."""

    scale: Scale = "laptop"
    """Decides the number of noisy repetitions."""
    seed: int = 0
    """Of the noise."""
    resume: bool = False
    """There is nothing to resume in a run of seconds; accepted because every script has it."""
    maxima: tuple[int, ...] = (192, 512, 768, 1280, 2304, 3584)
    """M, widest widths in channels: those of the paper's ImageNet space."""
    granularity: int = 32
    """g, in channels."""
    steps: int = 1000
    """Architecture steps after the warm-up."""
    fewer: tuple[int, ...] = (24, 48, 96, 200, 400)
    """Smaller numbers of steps to compare with; 96 is what searches have at laptop scale."""
    noise: tuple[float, ...] = (0.1, 0.3)
    """Standard deviations of the noise of the loss difference between two candidates; the loss at the optimum is 2."""
    repetitions: int = 20
    """Of every noisy search."""
    clamp: float = 0.3
    """The greatest logit that the clamped variant lets a step use."""

    @property
    def spaces(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Maxima and granularity of the paper's space and of the laptop scale's."""
        small = gpunet_small(resolution=16)
        maxima = tuple(sorted({shape.widths[-1] for shape in small.layers.values() if shape.widths}))
        return {"paper": (self.maxima, self.granularity), "laptop": (maxima, small.settings.granularity)}


def preset(scale: Scale) -> Options:
    return Options(scale, repetitions={"smoke": 2, "laptop": 20}.get(scale, 100))


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Every multiple of the granularity as the optimum, for every maximum: (P,) arrays, in channels."""

    maximum: IntArray
    optimum: IntArray
    found: IntArray
    frozen_at: FloatArray

    @property
    def share(self) -> FloatArray:
        """The optimum as a share of the maximum."""
        shares: FloatArray = self.optimum / self.maximum
        return shares

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """The optima that the algorithm is expected to find: from a fifth of the maximum on."""
        return 5 * self.optimum >= self.maximum


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        with script.bars() as progress:
            quiet = {clamp: run_sweep(options, clamp, 0.0, 1, progress) for clamp in (None, options.clamp)}
            noisy = {
                (clamp, noise): run_sweep(options, clamp, noise, options.repetitions, progress)
                for noise in options.noise
                for clamp in (None, options.clamp)
            }
            courses = {
                (space, steps, noise): run_sweep(
                    replace(options, steps=steps, maxima=maxima, granularity=granularity), None, noise, repetitions, progress
                )
                for space, (maxima, granularity) in options.spaces.items()
                for steps in (*options.fewer, options.steps)
                for noise, repetitions in ((0.0, 1), *((noise, options.repetitions) for noise in options.noise))
            }
        script.show(exact_rows(options, quiet), noisy_rows(options, noisy), step_rows(options, courses))
        draw(options, quiet, noisy, script.picture)


def run_sweep(options: Options, clamp: float | None, noise: float, repetitions: int, progress: Reports) -> Sweep:
    """Search every optimum at once, ``repetitions`` times side by side."""
    most = [width for width in options.maxima for _ in range(width // options.granularity)]
    best = [step for width in options.maxima for step in range(options.granularity, width + 1, options.granularity)]
    maximum, optimum = np.tile(most, repetitions), np.tile(best, repetitions)
    generator, share = np.random.default_rng(options.seed), optimum / maximum
    settings, state = PrunodeSettings(clamp=clamp), init_prunodes(maximum, options.granularity)
    w, first, second = (np.zeros(len(maximum)) for _ in range(3))
    frozen_at = np.full(len(maximum), np.nan)
    for step in range(options.steps):
        small, large = state.small / maximum, state.large / maximum
        difference = (large / share + share / large) - (small / share + share / small)
        difference = difference + noise * generator.standard_normal(len(maximum))
        a = 1 / (1 + np.exp(-w))
        gradient = a * (1 - a) * difference  # of the expected loss with respect to the logit of the large candidate
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        w = w - 0.1 * (first / (1 - 0.9 ** (step + 1))) / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        before = state.frozen
        state, w = step_prunodes(state, w, step / options.steps, settings)
        frozen_at[state.frozen & ~before] = step / options.steps
        if step % 50 == 49 or step + 1 == options.steps:
            label = f"{options.steps} steps, {'paper' if clamp is None else f'clamp {clamp:g}'}"
            progress.update(f"{label}, noise {noise:g}", step + 1, options.steps)
    return Sweep(maximum, optimum, pick_widths(state, w), frozen_at)


def exact_rows(options: Options, quiet: dict[float | None, Sweep]) -> Rows:
    """Without noise, by maximum."""
    paper, clamped = quiet[None], quiet[options.clamp]
    columns = [
        Column("maximum", "M", "widest width, in channels"),
        Column("freeze", "freezes", "progress at which the masks freeze, by the formula", ".3f"),
        Column("froze", "froze", "the same as it happened, the last of the Prunodes", ".3f"),
        Column("wanted", "o >= .2", "optima from a fifth of M on, found exactly / all"),
        Column("small", "o < .2", "optima below, found exactly / all"),
        Column("worst", "worst", "the greatest error, in steps of the granularity", "d"),
        Column("clamped", "clamped o < .2", "optima below a fifth of M that the clamped variant finds exactly / all"),
        Column("clamped_worst", "clamped worst", "its greatest error, in steps", "d"),
    ]
    ours: list[Row] = []
    for most in (*options.maxima, None):
        of = np.ones(len(paper.maximum), dtype=np.bool_) if most is None else paper.maximum == most
        row: Row = {"maximum": "all" if most is None else str(most)}
        if most is not None:
            freeze = float(freeze_progress(most, options.granularity)[0])
            row |= {"freeze": freeze, "froze": float(np.nanmax(paper.frozen_at[of]))}
        row |= {
            "wanted": _exact(paper, of & paper.wanted),
            "small": _exact(paper, of & ~paper.wanted),
            "worst": _worst(paper, of, options.granularity),
            "clamped": _exact(clamped, of & ~clamped.wanted),
            "clamped_worst": _worst(clamped, of, options.granularity),
        }
        ours.append(row)
    remark = f"{options.steps} steps, no noise. The clamped variant finds {_exact(clamped, clamped.wanted)} of o >= .2."
    return Rows("Algorithm 1 without noise", columns, ours, remark=remark)


def noisy_rows(options: Options, noisy: dict[tuple[float | None, float], Sweep]) -> Rows:
    """Under noise, by the optimum's share."""
    columns = [
        Column("variant", "variant, noise", "as in the paper or clamped; standard deviation of the noise of a loss difference"),
        Column("share", "o", "the optimum's share of M"),
        Column("error", "mean error", "found minus optimum as a share of M, mean over maxima and repetitions", "+.3f"),
        Column("deviation", "std", "standard deviation of that error", ".3f"),
        Column("near", "within 2", "share of searches within two steps of the granularity", ".2f"),
    ]
    bands = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
    ours: list[Row] = []
    for (clamp, noise), sweep in noisy.items():
        error = (sweep.found - sweep.optimum) / sweep.maximum
        for low, high in bands:
            of = (sweep.share > low) & (sweep.share <= high)
            ours.append(
                {
                    "variant": f"{'paper' if clamp is None else f'clamp {clamp:g}'}, {noise:g}",
                    "share": f"{low:g}-{high:g}",
                    "error": float(error[of].mean()),
                    "deviation": float(error[of].std()),
                    "near": float((np.abs(sweep.found - sweep.optimum)[of] <= 2 * options.granularity).mean()),
                }
            )
    remark = f"{options.repetitions} repetitions of every optimum and maximum."
    return Rows("Algorithm 1 under noise", columns, ours, remark=remark)


def step_rows(options: Options, courses: dict[tuple[str, int, float], Sweep]) -> Rows:
    """By the number of steps, over all optima of a space."""
    columns = [
        Column("space", "space", "whose maxima and granularity these are: the paper's, or that of the laptop scale"),
        Column("steps", "steps", "architecture steps after the warm-up", "d"),
        Column("exact", "exact %", "optima found exactly, without noise", ".0f"),
        Column("error", "mean |error|", "of the widths found, as a share of M, without noise", ".3f"),
    ]
    for n, noise in enumerate(options.noise):
        columns.append(Column(f"exact{n}", f"exact %, noise {noise:g}", f"optima found exactly at noise {noise:g}", ".0f"))
        columns.append(Column(f"noise{n}", f"|error|, noise {noise:g}", f"mean error at noise {noise:g}, as a share of M", ".3f"))
    ours: list[Row] = []
    for space in options.spaces:
        for steps in (*options.fewer, options.steps):
            row: list[str | float] = [space, steps]
            for noise in (0.0, *options.noise):
                sweep = courses[space, steps, noise]
                row.append(100 * float((sweep.found == sweep.optimum).mean()))
                row.append(float((np.abs(sweep.found - sweep.optimum) / sweep.maximum).mean()))
            ours.append(row_of(columns, *row))
    return Rows("Algorithm 1 by the number of steps", columns, ours, remark="All optima, those below a fifth of M too.")


def draw(options: Options, quiet: dict[float | None, Sweep], noisy: dict[tuple[float | None, float], Sweep], path: Path) -> None:
    """Found over optimal share without noise, and the bias under noise."""
    figure = new_figure(10, 4.4)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
    for (clamp, sweep), colour, marker in zip(quiet.items(), ("#1f6fb2", "#d9741a"), "o+", strict=True):
        name = "as in the paper" if clamp is None else f"logit clamped to {clamp:g}"
        size = 22 if marker == "o" else 26
        face = "none" if marker == "o" else colour
        kept = {"facecolors": face, "edgecolors": colour} if marker == "o" else {"color": colour}
        left.scatter(sweep.share, sweep.found / sweep.maximum, s=size, marker=marker, linewidths=0.9, label=name, **kept)
    left.axvline(0.2, color="0.6", linestyle="--", linewidth=1)
    left.annotate("a fifth of M", (0.21, 0.9), fontsize=8, color="0.35")
    left.set(xlabel="optimum, share of M", ylabel="found, share of M", title="without noise")
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2, "frameon": False, "fontsize": 8}
    left.legend(**below)
    # The paper's lines are broad and pale, so that the clamped variant's can be seen on them.
    styles: dict[float | None, dict[str, Any]] = {None: {"lw": 4.5, "alpha": 0.35}, options.clamp: {"lw": 1.2, "ls": "--"}}
    colours = dict(zip(options.noise, ("#2a9d5b", "#b0305c", "#6a4c93", "#444444"), strict=False))
    for (clamp, noise), sweep in noisy.items():
        edges = np.linspace(0, 1, 11)
        places = np.clip(np.digitize(sweep.share, edges, right=True) - 1, 0, 9)
        error = (sweep.found - sweep.optimum) / sweep.maximum
        means = [float(error[places == place].mean()) if (places == place).any() else math.nan for place in range(10)]
        name = f"noise {noise:g}, {'paper' if clamp is None else f'clamp {clamp:g}'}"
        right.plot(0.5 * (edges[1:] + edges[:-1]), means, color=colours.get(noise, "0.3"), label=name, **styles[clamp])
    right.axhline(0, color="0.7", linewidth=1, zorder=0)
    right.set(
        xlabel="optimum, share of M", ylabel="mean error, share of M", title=f"under noise, {options.repetitions} repetitions"
    )
    right.legend(**below)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    save_figure(figure, path)


def _exact(sweep: Sweep, of: NDArray[np.bool_]) -> str:
    return f"{int((sweep.found == sweep.optimum)[of].sum())}/{int(of.sum())}"


def _worst(sweep: Sweep, of: Sequence[bool] | NDArray[np.bool_], granularity: int) -> int:
    return int(np.abs(sweep.found - sweep.optimum)[of].max()) // granularity


if __name__ == "__main__":
    main()
