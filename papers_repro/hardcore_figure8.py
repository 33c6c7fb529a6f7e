"""Figure 8 of HardCoRe-NAS at your scale: networks trained from scratch, against those fine-tuned from the super-network's w*.

The same networks, alike in every block, are taken out of a trained super-network and tested as they are, fine-tuned for few epochs
under labels and the heaviest network's answers ("2 for 1"), and trained from fresh weights on labels alone for as few epochs and
for as many as the super-network had. Differences are paired by seed. What it takes is told too: one super-network serves every
network, so it pays from some number of networks up.

Reference: Nayman et al., HardCoRe-NAS, Fig. 8 and Appendix G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from graphs.costs import mac_cost
from papers_repro.experiment import make_fabric, one_thread
from papers_repro.hardcore import (
    SetupOptions,
    Tests,
    UniformNetwork,
    learned_digits,
    load_data,
    make_space,
    prepare,
    setup_preset,
    training_options,
    uniform_networks,
)
from papers_repro.harness import (
    Column,
    Reports,
    Row,
    Rows,
    Scale,
    ScriptOptions,
    at_a_time,
    compared,
    half_width,
    mean,
    new_figure,
    run_seeds,
    save_figure,
    started,
)

SCRIPT = "hardcore_figure8"


@dataclass(frozen=True)
class Options(ScriptOptions):
    """Networks from scratch against the same fine-tuned from the super-network; writes hardcore_figure8.json and .png."""

    seeds: int = 3
    """Super-networks, each with splits and trainings of its own."""
    networks: int = 5
    """At most so many uniform networks."""
    tuned_epochs: tuple[int, ...] = (0, 1, 4)
    """Of fine-tuning, each tried; 0 for w* as it is."""
    tuned_rate: float = 0.05
    """Learning rate at the start of fine-tuning."""
    scratch_epochs: tuple[int, ...] = (4, 13)
    """Of training from scratch, each tried."""
    processes: int = 0
    """Seeds at a time, a process each (CPU only); 0: one a core."""
    setup: Annotated[SetupOptions, tyro.conf.arg(name="")] = field(default_factory=SetupOptions)
    """Data, space and training."""


def preset(scale: Scale) -> Options:
    setup = setup_preset(scale)
    if scale == "smoke":
        few = replace(setup, training_digits=100, draws=1)
        return Options(scale, seeds=1, networks=2, tuned_epochs=(0, 1), scratch_epochs=(1,), processes=1, setup=few)
    if scale == "laptop":
        return Options(scale, setup=replace(learned_digits(), path_per="batch"))
    # Appendix G; from scratch as Fig. 4 has it
    return Options(scale, seeds=1, networks=18, tuned_epochs=(0, 10, 50), scratch_epochs=(200,), setup=setup)


@dataclass(frozen=True, slots=True)
class Way:
    """Training for so many epochs, from scratch or from w*."""

    scratch: bool
    epochs: int

    @property
    def name(self) -> str:
        """As the table has it."""
        epochs = f"{self.epochs} epoch" + ("" if self.epochs == 1 else "s")
        if self.scratch:
            return f"from scratch, {epochs}"
        return f"w* fine-tuned, {epochs}" if self.epochs else "w* as it is"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What one seed gave.

    Attributes:
        accuracies: test accuracies (%) of the networks, in their order, by way.
        seconds: of training a network, in the mean over them, by way.
        supernet_seconds: of training the super-network; less than the whole where it was resumed.
    """

    accuracies: dict[str, list[float]]
    seconds: dict[str, float]
    supernet_seconds: float


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        seeds = range(options.seed, options.seed + options.seeds)
        data = load_data(options.setup, options.seed)
        space = make_space(options.setup, data.classes, data.image_channels)
        try:
            networks = uniform_networks(space, options.networks)
        except ValueError as error:
            raise SystemExit(f"--{error}") from error
        if not options.scratch_epochs or not options.tuned_epochs:
            raise SystemExit("--tuned-epochs and --scratch-epochs: expected at least one number each")
        epochs = options.setup.warm_up_epochs + options.setup.multi_path_epochs
        weights = {"heaviest network": options.setup.warm_up_epochs, "sampled paths": options.setup.multi_path_epochs}
        named = {name: float(count) for name, count in weights.items()} | {way.name: float(way.epochs) for way in _ways(options)}
        pieces = options.seeds * (epochs + len(networks) * sum(way.epochs for way in _ways(options)))
        cores = at_a_time(options.processes, options.seeds, options.setup.device)
        with script.bars() as bars, bars.phase("training", pieces, named) as reports:
            found = run_seeds(partial(_of_seed, options, script.folder, networks), seeds, cores, reports)
        macs = [mac_cost(space).cost(network.architecture(space)) for network in networks]
        script.show(_ways_table(found, options), _every(networks, found, macs, options))
        _plot(networks, found, macs, options, script.picture)


def _ways(options: Options) -> list[Way]:
    tuned = [Way(False, epochs) for epochs in sorted(set(options.tuned_epochs))]
    return tuned + [Way(True, epochs) for epochs in sorted(set(options.scratch_epochs))]


def _of_seed(options: Options, folder: Path, networks: Sequence[UniformNetwork], seed: int, progress: Reports) -> Tuned:
    setup, fabric = options.setup, make_fabric(options.setup)
    accuracies, seconds = dict[str, list[float]](), dict[str, float]()
    with one_thread(setup.device):
        prepared = prepare(setup, seed, fabric, progress, folder, timed=False)
        for way in _ways(options):
            rate = setup.learning_rate if way.scratch else options.tuned_rate
            training = replace(training_options(setup, way.epochs, rate, seed), from_scratch=way.scratch)
            kept = folder / "checkpoints" / f"{'scratch' if way.scratch else 'tuned'}_{way.epochs}" / f"accuracies_seed{seed}.json"
            tests, pairs = Tests(prepared, training, fabric, kept, setup.resume), list[tuple[float, float]]()
            for network in networks:
                pairs.append(tests.accuracy(network.architecture(prepared.space)))
                progress.update(f"seed {seed}, {network.name}: {way.name}", 1, 1)
            accuracies[way.name] = [100 * accuracy for accuracy, _ in pairs]
            seconds[way.name] = mean(spent for _, spent in pairs)
    return Tuned(accuracies, seconds, prepared.training_seconds)


def _ways_table(found: Sequence[Tuned], options: Options) -> Rows:
    ways = _ways(options)
    longest = max((way for way in ways if way.scratch), key=lambda way: way.epochs)
    best = [mean(tuned.accuracies[longest.name]) for tuned in found]
    supernet, alone = (mean(each) for each in zip(*((t.supernet_seconds, t.seconds[longest.name]) for t in found), strict=True))
    rows: list[Row] = []
    for way in ways:
        by_seed = [mean(tuned.accuracies[way.name]) for tuned in found]
        seconds = mean(tuned.seconds[way.name] for tuned in found)
        row: Row = {"way": way.name, "accuracy": mean(by_seed), "half": half_width(by_seed), "seconds": seconds}
        if way != longest:
            row["against"] = compared(by_seed, best, "it")
        equal = Way(True, way.epochs)
        if not way.scratch and equal in ways:
            row["equal"] = compared(by_seed, [mean(tuned.accuracies[equal.name]) for tuned in found], "it")
        if not way.scratch and seconds < alone:
            row["pays"] = supernet / (alone - seconds)
        rows.append(row)
    columns = (
        Column("way", "way", "w*: weights of the super-network, with the network's own statistics; fine-tuned under a teacher"),
        Column("accuracy", "acc. %", "test accuracy, mean over networks and seeds", ".2f"),
        Column("half", "±", f"half of its 95 % interval over {len(found)} seed(s)", ".2f"),
        Column("against", f"minus {longest.name}", "difference, paired by seed, with its 95 % interval"),
        Column("equal", "minus scratch", "the same against as many epochs from scratch, where they were tried"),
        Column("seconds", "s a network", "of training it, as they went by", ".1f"),
        Column(
            "pays", "pays from", "networks from which the super-network is made up for, against the longest from scratch", ".1f"
        ),
    )
    setup = options.setup
    images = f"{setup.data} {setup.resolution}x{setup.resolution}"
    title = f"From scratch against w*, {len(next(iter(found[0].accuracies.values())))} networks; {images}, {len(found)} seed(s)"
    remark = (
        f"Super-network: {setup.warm_up_epochs} epochs of the heaviest network, {setup.multi_path_epochs} of paths, one per "
        f"{setup.path_per}; {supernet:.0f} s."
    )
    return Rows(title, columns, rows, remark=remark)


def _every(networks: Sequence[UniformNetwork], found: Sequence[Tuned], macs: Sequence[float], options: Options) -> Rows:
    ways = _ways(options)
    columns = (
        Column("network", "network", "d: blocks a stage, e: expansion, k: kernel; with squeeze-and-excitation"),
        Column("macs", "MMACs", "millions of multiply-adds", ".2f"),
        *(Column(way.name, way.name, "test accuracy in %, mean over seeds", ".1f") for way in ways),
    )
    rows: list[Row] = []
    for place, network in enumerate(networks):
        row: Row = {"network": network.name, "macs": macs[place] / 1e6}
        rows.append(row | {way.name: mean(tuned.accuracies[way.name][place] for tuned in found) for way in ways})
    return Rows("The networks", columns, rows)


def _plot(networks: Sequence[UniformNetwork], found: Sequence[Tuned], macs: Sequence[float], options: Options, path: Path) -> None:
    figure = new_figure(7.5, 4.8)
    axes = figure.subplots()
    order = np.argsort(macs, kind="stable")
    for number, way in enumerate(_ways(options)):
        values = np.array([tuned.accuracies[way.name] for tuned in found])[:, order]  # (seeds, networks)
        axes.plot(values.mean(0), "s--" if way.scratch else "o-", color=f"C{number}", label=way.name, markersize=5)
        axes.fill_between(range(len(order)), values.min(0), values.max(0), color=f"C{number}", alpha=0.12, linewidth=0)
    names = [f"{networks[place].name}\n{macs[place] / 1e6:.2f} MMACs" for place in order]
    axes.set_xticks(range(len(order)), names, fontsize=8, rotation=0 if len(order) < 9 else 90)
    axes.set_ylabel(f"test accuracy, % (bands: {len(found)} seeds)")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
