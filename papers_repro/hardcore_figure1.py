"""Figure 1 of HardCoRe-NAS on your device: published ImageNet accuracy over latency that is measured here.

The six published networks are built by this library from their block strings, their peers by timm (an optional peer itself: without
it those rows are left out). All are timed in interleaved rounds with fresh weights, which do not matter to the time. Accuracies are
published figures and nothing else: nothing is trained here. The paper's latencies are of its own Xeon, and their order need not be
yours: the table has both, and how well they agree.

Reference: Nayman et al., HardCoRe-NAS, Fig. 1 and Table 1.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import nn

from constrained_nas.commands import ProfileClock, make_timer
from constrained_nas.latency import Measurement, Timer, device_name, measure_runs
from graphs import hardcore_network
from graphs.costs import count
from papers_repro.hardcore import FRONT
from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, new_figure, row_of, save_figure, started
from solvers import non_dominated

SCRIPT = "hardcore_figure1"
_OWN = "hardcorenas"


@dataclass(frozen=True)
class Options(ScriptOptions):
    """Published accuracy over latency measured on this device; writes hardcore_figure1.json and hardcore_figure1.png."""

    networks: tuple[str, ...] = tuple(FRONT)
    """By timm's names."""
    resolution: int = 224
    """Side of the images in pixels; accuracies are those of 224."""
    rounds: int = 50
    """Timed passes of every network."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 ..."""
    batch: int = 1
    """Images at a time."""
    threads: int = 1
    """Of torch."""
    clock: ProfileClock = "auto"
    """wall, processor (one thread on a CPU: other work does not count), or auto: processor where it can be."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.networks) - FRONT.keys())
        if unknown or len(set(self.networks)) < 2:
            raise ValueError(f"--networks: expected two or more of {', '.join(FRONT)}, got {', '.join(self.networks) or 'none'}")


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        few = ("mnasnet_100", "mobilenetv3_large_100", "hardcorenas_a", "hardcorenas_f")
        return Options(scale, networks=few, resolution=64, rounds=5)
    return Options(scale, rounds=200 if scale == "paper" else 50)


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        timm: Any = importlib.import_module("timm") if importlib.util.find_spec("timm") is not None else None
        names = [name for name in options.networks if timm or name.startswith(_OWN)]
        timer = make_timer(options.batch, options.threads, options.device, options.clock)
        with script.bars() as bars:
            networks = {name: _network(timm, name) for name in names}
            images = timer.noise((3, options.resolution, options.resolution))
            runs = {name: partial(timer.place(network), images) for name, network in networks.items()}
            times = measure_runs(runs, timer, options.rounds, np.random.default_rng(options.seed), bars.callback())
        script.show(_table(networks, times, options, timer, timm))
        _plot(times, timer, script.picture)


def _network(timm: Any, name: str) -> nn.Module:
    """With fresh weights; torch's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = hardcore_network(name) if name.startswith(_OWN) else timm.create_model(name, pretrained=False)
    return network.eval()


def _front(times: Mapping[str, Measurement]) -> list[str]:
    """The networks that none beats in both, by latency."""
    names = list(times)
    kept = non_dominated([[times[name].median, FRONT[name][2]] for name in names], [False, True])
    return sorted((name for name, on in zip(names, kept, strict=True) if on), key=lambda name: times[name].median)


def _table(networks: Mapping[str, nn.Module], times: Mapping[str, Measurement], options: Options, timer: Timer, timm: Any) -> Rows:
    columns = [
        Column("network", "network", "as the paper names it, and as timm does"),
        Column("timm", "in timm", "its name there"),
        Column("macs", "MMACs", f"millions of multiply-adds at {options.resolution} pixels, counted here", ".0f"),
        Column("parameters", "Mparams", "millions, counted here", ".2f"),
        Column("measured", "measured ms", "median over the rounds, on this device", ".2f"),
        Column("spread", "spread", "interquartile range of the rounds, ms", ".2f"),
        Column("front", "on the front", "no other network here is both faster, as measured, and better, as published"),
        Column("accuracy", "published %", "ImageNet top-1 as published; not measured here", ".1f"),
        Column("published", "published ms", "latency on the authors' Xeon; not this device", ".0f"),
    ]
    front, rows = _front(times), list[Row]()
    for name in sorted(times, key=lambda name: times[name].median):
        counted = count(networks[name].to("meta"), (3, options.resolution, options.resolution))
        paper_name, published, accuracy = FRONT[name]
        counts = counted.macs / 1e6, counted.parameters / 1e6
        rows.append(
            row_of(columns, paper_name, name, *counts, times[name].median, times[name].spread, name in front, accuracy, published)
        )
    said = [f"{options.rounds} interleaved rounds, {timer.clock} clock, channels last, fresh weights."]
    for what, names in _groups(times):
        tau = kendalltau([FRONT[name][1] for name in names], [times[name].median for name in names]).statistic
        said.append(f"Kendall's tau of published and measured latency, {what} ({len(names)}): {tau:.2f}.")
    if timm is None:
        said.append("timm is not installed (pip install 'constrained-nas[timm]'): its networks are left out.")
    else:
        said.append(f"Peers as timm {timm.__version__} builds them, HardCoRe-NAS from its block strings.")
    threads = "one thread" if timer.threads == 1 else f"{timer.threads} threads"
    title = f"Published accuracy, latency measured here: {device_name(timer.device)}, batch {timer.batch}, {threads}"
    return Rows(title, columns, rows, remark=" ".join(said))


def _groups(times: Mapping[str, Measurement]) -> list[tuple[str, Sequence[str]]]:
    own = [name for name in times if name.startswith(_OWN)]
    peers = [name for name in times if name not in own]
    groups = (("HardCoRe-NAS's own", own), ("the peers", peers), ("all", list(times)))
    return [(what, names) for what, names in groups if len(names) > 2]


def _plot(times: Mapping[str, Measurement], timer: Timer, path: Path) -> None:
    figure = new_figure(7.5, 4.8)
    axes = figure.subplots()
    own = sorted((name for name in times if name.startswith(_OWN)), key=lambda name: times[name].median)
    peers = [name for name in times if name not in own]
    for names, colour, marker, line, label in (
        (own, "#d62728", "o", "-", "HardCoRe-NAS (published networks)"),
        (peers, "#1f77b4", "s", "", "peers, as timm builds them"),
    ):
        x, y = [times[name].median for name in names], [FRONT[name][2] for name in names]
        axes.errorbar(x, y, xerr=[times[n].spread / 2 for n in names], color=colour, marker=marker, linestyle=line, label=label)
    for name in times:
        text = FRONT[name][0].removeprefix("HardCoRe-NAS ")
        place = (0, 7) if name in own else (0, -12)
        axes.annotate(text, (times[name].median, FRONT[name][2]), place, textcoords="offset points", fontsize=8, ha="center")
    front = _front(times)
    steps = [times[name].median for name in front], [FRONT[name][2] for name in front]
    axes.step(*steps, where="post", color="0.6", linewidth=1, linestyle="--", zorder=0, label="front")
    axes.set_xlabel(f"latency measured here, ms (batch {timer.batch}; bars: half of the passes)")
    axes.set_ylabel("ImageNet top-1 as published, %")
    axes.margins(x=0.12, y=0.1)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    save_figure(figure, path)


if __name__ == "__main__":
    main()
