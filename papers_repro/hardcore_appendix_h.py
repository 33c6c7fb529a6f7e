"""HardCoRe-NAS, Appendix H: what the constrained programs of a search cost, beside one back-propagation through the super-network.

The paper spends 1.15e-5 CPU hours on a program and 2.15e-3 GPU hours on a back-propagation, and concludes that hard constraints are
nearly free. Here every program of a search is timed at the paper's size (20 blocks of 12 configurations, 5 depths of 3), with each
back end that solves it, on many tables, budgets and gradients; back ends that solve the same program are checked to agree. One
back-propagation is the forward and backward pass of a batch, a path drawn for each example, through the super-network of the scale:
at laptop scale a much smaller one than the paper's, so that the ratios there are on the high side.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.nn import functional

from constrained_nas.training import uniform_rows
from graphs import hardcore_imagenet, hardcore_small
from papers_repro.hardcore import Backend, Problem, draw_problem, search_programs, synthetic_space
from papers_repro.harness import Column, ProgressBars, Row, Rows, Scale, ScriptOptions, new_figure, save_figure, started

SCRIPT = "hardcore_appendix_h"
BACK_PROPAGATION = "back-propagation"
PROGRAM_MS, BACK_PROPAGATION_MS = 1.15e-5 * 3.6e6, 2.15e-3 * 3.6e6  # published: CPU hours, GPU hours


@dataclass(frozen=True, slots=True)
class Options(ScriptOptions):
    """The time of each constrained program of a search, per back end, against one back-propagation through the super-network.

    Prints medians with their spread and their ratio to a back-propagation; writes hardcore_appendix_h.json and
    hardcore_appendix_h.png. Needs no data: images and latencies are made up, neither changes the time of a pass or a program.
    """

    seed: int = 0
    """Of latencies, gradients and points."""
    backends: tuple[Backend, ...] = ("native", "highs", "scipy", "cvxpy")
    """native: this library's own solvers. highs: its adapter of HiGHS, which keeps the model. scipy, cvxpy: through these."""
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)
    """Budgets, as shares of the way from the cheapest to the costliest network."""
    tables: int = 3
    """Latency tables drawn for each budget."""
    draws: int = 10
    """Gradients and points drawn for each table and budget."""
    batch: int = 64
    """Images of a back-propagation."""
    passes: int = 15
    """Back-propagations timed, after three that are not."""
    space: Literal["small", "imagenet"] = "small"
    """Super-network of the back-propagation. imagenet: the paper's."""
    resolution: int = 32
    """Side of its images in pixels."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where the back-propagation runs; programs always run on the CPU."""
    threads: int = 1
    """Torch threads of the back-propagation; 1, so that on a CPU both sides have one core. 0: as many as torch chooses."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of a program by one back end, and the greatest relative difference of its objective from the native one's."""

    program: str
    backend: str
    milliseconds: tuple[float, ...]
    differs: float | None

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median, upper quartile."""
        low, middle, high = np.percentile(self.milliseconds, [25, 50, 75]).tolist()
        return low, middle, high


def preset(scale: Scale) -> Options:
    """The options of a scale."""
    if scale == "smoke":
        return Options(scale, shares=(0.3,), tables=1, draws=3, batch=16, passes=3, resolution=16)
    if scale == "laptop":
        return Options(scale)
    return Options(scale, tables=10, draws=20, passes=50, space="imagenet", resolution=224, device="auto")


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        options = script.options
        if options.threads:
            torch.set_num_threads(options.threads)
        with script.bars() as progress:
            passes = _back_propagations(options, progress)
            timings = _time_programs(_problems(options), options.backends, progress)
        script.show(_table(passes, timings, options))
        _plot(passes, timings, options, script.picture)


def _back_propagations(options: Options, progress: ProgressBars) -> list[Timing]:
    """Forward and backward pass to the weights (a step of training) and to the gates alone (a step of the search)."""
    device = Fabric(accelerator=options.device, devices=1).device
    space = hardcore_small if options.space == "small" else hardcore_imagenet
    network = space(resolution=options.resolution).supernet().to(device).to(memory_format=torch.channels_last).train()
    channels = 1 if options.space == "small" else 3
    generator = torch.Generator().manual_seed(options.seed)
    images = torch.randn(options.batch, channels, options.resolution, options.resolution, generator=generator)
    images = images.to(device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (options.batch,), generator=generator).to(device)
    timings = []
    for name in ("weights", "gates"):
        network.requires_grad_(name == "weights")
        seconds = []
        for _ in progress.track(range(options.passes + 3), f"{BACK_PROPAGATION} to the {name}"):
            gates = {key: gate.to(device) for key, gate in uniform_rows(network, options.batch, generator).items()}
            if name == "gates":
                for gate in gates.values():
                    gate.requires_grad_()
            network.zero_grad(set_to_none=True)
            _wait(device)
            began = time.perf_counter()
            functional.cross_entropy(network(images, gates), labels).backward()
            _wait(device)
            seconds.append(time.perf_counter() - began)
        timings.append(Timing(BACK_PROPAGATION, f"to the {name}", tuple(1e3 * each for each in seconds[3:]), None))
    return timings


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _problems(options: Options) -> list[Problem]:
    generator, space = np.random.default_rng(options.seed), synthetic_space()
    return [draw_problem(space, share, options.draws, generator) for share in options.shares for _ in range(options.tables)]


def _time_programs(problems: Sequence[Problem], backends: Sequence[str], progress: ProgressBars) -> list[Timing]:
    """Each program by each back end on the same problems; the first call of each, which pays for imports, is not counted."""
    timings = []
    pairs = [(name, backend) for name, (_, served) in search_programs().items() for backend in served if backend in backends]
    values: dict[tuple[str, str], list[float | None]] = {}
    for name, backend in progress.track(pairs, "programs"):
        program = search_programs()[name][0]
        program(problems[0], backend)(problems[0].draws[0])
        seconds, reached = [], values.setdefault((name, backend), [])
        for problem in problems:
            solve = program(problem, backend)
            for draw in problem.draws:
                began = time.perf_counter()
                value = solve(draw)
                seconds.append(time.perf_counter() - began)
                reached.append(value)
        differs = _difference(reached, values.get((name, "native"), [])) if backend != "native" else None
        timings.append(Timing(name, backend, tuple(1e3 * each for each in seconds), differs))
    return timings


def _difference(values: Sequence[float | None], natives: Sequence[float | None]) -> float | None:
    pairs = [(a, b) for a, b in zip(values, natives, strict=False) if a is not None and b is not None]
    return max((abs(a - b) / max(abs(b), 1e-12) for a, b in pairs), default=None)


def _table(passes: Sequence[Timing], timings: Sequence[Timing], options: Options) -> Rows:
    columns = (
        Column(
            "program",
            "program: by",
            "back-propagation: forward and backward pass, to the weights (training) or to the gates "
            "(search). LP oracle: Eq. 11, the model already built; block step: Eq. 10-11, freezing and building included; starts: "
            "Appendix E; the rest are projections, joint exact being ours and project_to_budget that of the configurations alone",
        ),
        Column(
            "median", "median ms", f"over {len(timings[0].milliseconds)} calls (passes: {options.passes}) on this machine", ".3g"
        ),
        Column("spread", "IQR ms", "interquartile range", ".2g"),
        Column("ratio", "% of pass", "median in per cent of a back-propagation to the weights", ".3g"),
        Column("native", "x native", "median over that of the native solver", ".3g"),
        Column("differs", "differs", "greatest relative difference of the objective from the native one's", ".0e"),
    )
    native = {each.program: each.quartiles[1] for each in timings if each.backend == "native"}
    reference = passes[0].quartiles[1]
    rows: list[Row] = []
    for each in (*passes, *timings):
        low, median, high = each.quartiles
        rows.append(
            {
                "program": f"{each.program}: {each.backend}" if each in timings else f"{each.program} {each.backend}",
                "median": median,
                "spread": high - low,
                "ratio": 100.0 * median / reference,
                "native": median / native[each.program] if each.program in native and each.backend != "native" else None,
                "differs": each.differs,
            }
        )
    published: list[Row] = [
        {"program": "back-propagation, GPU", "median": BACK_PROPAGATION_MS},
        {"program": "a program, CPU", "median": PROGRAM_MS, "ratio": 100.0 * PROGRAM_MS / BACK_PROPAGATION_MS},
    ]
    threads = torch.get_num_threads()
    network = f"{options.space} super-network, {options.resolution} px, batch {options.batch}"
    title = f"Programs of the paper's size against a back-propagation ({network})"
    remark = f"Back-propagation on {options.device} with {threads} torch thread(s); programs on one CPU core."
    return Rows(title, columns, rows, published, "Appendix H: 2.15e-3 GPU h, 1.15e-5 CPU h", remark)


def _plot(passes: Sequence[Timing], timings: Sequence[Timing], options: Options, path: Path) -> None:
    """A bar a program and back end, on a logarithmic scale, with lines at a back-propagation and at the published program."""
    colors = {"native": "#08306b", "highs": "#d95f02", "scipy": "#7570b3", "cvxpy": "#999999"}
    figure = new_figure(9.5, 0.27 * len(timings) + 2.6)
    axes = figure.subplots()
    place, ticks, labelled = 0.0, [], set()
    for name in dict.fromkeys(each.program for each in timings):
        group = [each for each in timings if each.program == name]
        ticks.append((place + 0.5 * (len(group) - 1), name))
        for each in group:
            low, median, high = each.quartiles
            label = None if each.backend in labelled else each.backend
            labelled.add(each.backend)
            error = np.array([[median - low], [high - median]])
            axes.barh(place, median, 0.85, color=colors[each.backend], xerr=error, ecolor="0.25", capsize=2, label=label)
            axes.text(high * 1.15, place, f"{median:.3g}", va="center", fontsize=7, color="0.25")
            place += 1
        place += 0.7
    for timing, style in zip(passes, ("-", ":"), strict=True):
        axes.axvline(timing.quartiles[1], color="#c51b7d", ls=style, lw=1.4, label=f"back-propagation {timing.backend} (measured)")
    axes.axvline(PROGRAM_MS, color="0.45", ls="--", lw=1.2, label="a program (published)")
    axes.set(xscale="log", xlabel="milliseconds a call: median, whiskers from quartile to quartile")
    axes.set_yticks([middle for middle, _ in ticks], [name for _, name in ticks])
    axes.margins(y=0.015)
    axes.invert_yaxis()
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    where = f"{options.space} super-network, batch {options.batch}"
    figure.suptitle(f"Constrained programs against one back-propagation, {where} (HardCoRe-NAS, App. H)", fontsize=11)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
