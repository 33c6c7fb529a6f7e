"""Figure 4 of HardCoRe-NAS at your scale: does a super-network rank networks as training them alone does?

Networks that are alike in every block (depth x expansion x kernel) are each trained alone from fresh weights. Super-networks are
trained in two ways for the same number of epochs: with a path for every example of a batch (multi path), and with one path a batch
(single path; a quarter of the batches go to the heaviest network). Their accuracies with inherited weights are held against those
of the networks trained alone, by Kendall's tau and Spearman's rho; multiply-adds alone are the baseline, and how well one training
from scratch ranks as another does is as much as any guess can reach. What a search needs is less: the order after fine-tuning from
the same weights, which is told beside it.

What a path for every example costs is in the table too: at equal epochs it takes longer (``macro_variants.py`` compares the ways at
equal time of the processor).

Reference: Nayman et al., HardCoRe-NAS, Fig. 4 and Sec. 3.3; Guo et al., Single Path One-Shot NAS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from scipy.stats import kendalltau, spearmanr

from constrained_nas.training import evaluate
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

SCRIPT = "hardcore_figure4"
Way = Literal["example", "batch"]
WAYS: dict[Way, str] = {"example": "multi path: one an example", "batch": "single path: one a batch"}
OWN, KEPT = "own", "training"  # whose statistics a network is judged by


@dataclass(frozen=True)
class Options(ScriptOptions):
    """Rank correlation of super-networks with networks trained alone, multi path against single path.

    Writes hardcore_figure4.json and hardcore_figure4.png.
    """

    seeds: int = 3
    """Super-networks by each way, and trainings alone of every network, each seed with its own splits."""
    networks: int = 18
    """At most so many uniform networks."""
    alone_epochs: int = 8
    """Of a network trained alone."""
    tuned_epochs: int = 1
    """Of fine-tuning from each super-network."""
    tuned_rate: float = 0.05
    """Learning rate at the start of fine-tuning."""
    processes: int = 0
    """Seeds at a time, a process each (CPU only); 0: one a core."""
    setup: Annotated[SetupOptions, tyro.conf.arg(name="")] = field(default_factory=SetupOptions)
    """Data, space and training."""


def preset(scale: Scale) -> Options:
    setup = setup_preset(scale)
    if scale == "smoke":
        return Options(scale, seeds=2, networks=2, alone_epochs=1, processes=1, setup=replace(setup, training_digits=100, draws=1))
    if scale == "laptop":
        return Options(scale, seeds=2, setup=learned_digits())
    return Options(scale, seeds=1, alone_epochs=200, tuned_epochs=10, setup=setup)  # Fig. 4, Appendix G


@dataclass(frozen=True, slots=True)
class Judged:
    """What one seed says of the networks, in their order.

    Attributes:
        alone: test accuracies (%), trained alone.
        tuned: test accuracies (%), fine-tuned from the super-network, by way.
        guessed: accuracies (%) with inherited weights on the split kept from training, by way and statistics.
        seconds: of training the super-network, by way; as they went by.
    """

    alone: list[float]
    tuned: dict[Way, list[float]]
    guessed: dict[tuple[Way, str], list[float]]
    seconds: dict[Way, float]


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
        epochs = options.setup.warm_up_epochs + options.setup.multi_path_epochs
        cores = at_a_time(options.processes, options.seeds, options.setup.device)
        work = len(networks) * (options.alone_epochs + len(WAYS) * options.tuned_epochs)
        with (
            script.bars() as bars,
            bars.phase("training", options.seeds * (len(WAYS) * epochs + work), _weights(options)) as reports,
        ):
            found = run_seeds(partial(_of_seed, options, script.folder, networks), seeds, cores, reports)
        macs = [mac_cost(space).cost(network.architecture(space)) for network in networks]
        script.show(_correlations(found, macs, options), _every(networks, found, macs))
        _plot(networks, found, script.picture)


def _weights(options: Options) -> dict[str, float]:
    setup = options.setup
    named = {"heaviest network": setup.warm_up_epochs, "sampled paths": setup.multi_path_epochs, "alone": options.alone_epochs}
    named["tuned"] = options.tuned_epochs
    return {name: float(epochs) for name, epochs in named.items()}


def _of_seed(options: Options, folder: Path, networks: Sequence[UniformNetwork], seed: int, progress: Reports) -> Judged:
    setup, fabric = options.setup, make_fabric(options.setup)
    guessed: dict[tuple[Way, str], list[float]] = {}
    seconds: dict[Way, float] = {}
    tuned: dict[Way, list[float]] = {}
    alone = list[float]()
    with one_thread(setup.device):
        for way in WAYS:
            own = folder / f"path_per_{way}"
            prepared = prepare(replace(setup, path_per=way), seed, fabric, progress, own, timed=False)
            scratch = replace(training_options(setup, options.alone_epochs, setup.learning_rate, seed), from_scratch=True)
            tests = Tests(prepared, scratch, fabric, own / "checkpoints" / f"alone_seed{seed}.json", setup.resume)
            further = training_options(setup, options.tuned_epochs, options.tuned_rate, seed)
            tunings = Tests(prepared, further, fabric, own / "checkpoints" / "tuned" / f"tuned_seed{seed}.json", setup.resume)
            architectures = [network.architecture(prepared.space) for network in networks]
            seconds[way] = prepared.training_seconds
            guessed[way, OWN] = [100 * tests.inherited(architecture) for architecture in architectures]
            guessed[way, KEPT] = []
            for architecture in architectures:
                gates = prepared.supernet.gates(architecture)
                forward = partial(prepared.supernet, gates=gates)
                guessed[way, KEPT].append(100 * evaluate(forward, prepared.data.architecture, fabric, workers=setup.workers))
            tuned[way] = []
            for network, architecture in zip(networks, architectures, strict=True):
                tuned[way].append(100 * tunings.accuracy(architecture)[0])
                progress.update(f"seed {seed}, a path per {way}, {network.name} tuned", 1, 1)
            if not alone:
                for network, architecture in zip(networks, architectures, strict=True):
                    alone.append(100 * tests.accuracy(architecture)[0])
                    progress.update(f"seed {seed}, {network.name} alone", 1, 1)
    return Judged(alone, tuned, guessed, seconds)


def _correlations(found: Sequence[Judged], macs: Sequence[float], options: Options) -> Rows:
    truth = np.mean([judged.alone for judged in found], axis=0).tolist()
    rows: list[Row] = []
    taus = {key: [_tau(judged.guessed[key], truth) for judged in found] for key in found[0].guessed}
    for (way, statistics), by_seed in taus.items():
        rhos = [_rank(spearmanr, judged.guessed[way, statistics], truth) for judged in found]
        row: Row = {"guess": WAYS[way], "statistics": statistics, "tau": mean(by_seed), "half": half_width(by_seed)}
        row |= {"spearman": mean(rhos), "accuracy": mean(mean(judged.guessed[way, statistics]) for judged in found)}
        row["seconds"] = mean(judged.seconds[way] for judged in found)
        row["tuned"] = mean(_tau(judged.guessed[way, statistics], judged.tuned[way]) for judged in found)
        if way == "example":
            row["against"] = compared(by_seed, taus["batch", statistics], "multi path")
        rows.append(row)
    rows.append({"guess": "multiply-adds alone", "tau": _tau(macs, truth), "spearman": _rank(spearmanr, macs, truth)})
    again = [
        _tau(judged.alone, np.mean([other.alone for other in found if other is not judged], axis=0).tolist())
        for judged in found
        if len(found) > 1
    ]
    rows.append({"guess": "another training alone", "tau": mean(again) if again else None, "half": half_width(again)})
    columns = (
        Column("guess", "guess", "what ranks the networks; the last row: as much as any guess can reach"),
        Column("statistics", "statistics", "of batch normalization: a network's own, recalibrated, or those of training"),
        Column("tau", "tau", "Kendall's, with mean test accuracy of networks trained alone", ".2f"),
        Column("half", "±", f"half of its 95 % interval over {len(found)} seed(s)", ".2f"),
        Column("spearman", "rho", "Spearman's", ".2f"),
        Column("tuned", "tau tuned", "Kendall's, with test accuracy after fine-tuning from the same super-network", ".2f"),
        Column("accuracy", "mean %", "accuracy with inherited weights, on images kept from training", ".1f"),
        Column("seconds", "train s", "of the super-network, as they went by; less where a run was resumed", ".0f"),
        Column("against", "minus single path", "difference of tau, paired by seed, with its 95 % interval"),
    )
    published: list[Row] = [
        {"guess": WAYS["example"], "tau": 0.95, "spearman": 0.99},
        {"guess": WAYS["batch"], "tau": 0.60, "spearman": 0.82},
    ]
    setup = options.setup
    images = f"{setup.data} {setup.resolution}x{setup.resolution}"
    title = f"Rank correlation on {len(macs)} uniform networks; {images}, {len(found)} seed(s)"
    remark = (
        f"Super-networks: {setup.warm_up_epochs} epochs of the heaviest network, {setup.multi_path_epochs} of paths. Alone: "
        f"{options.alone_epochs} epochs; test accuracy {min(truth):.1f} to {max(truth):.1f} %. "
        f"Fine-tuned: {options.tuned_epochs} epochs."
    )
    return Rows(title, columns, rows, published, "Nayman et al., Fig. 4, on ImageNet", remark)


def _tau(guess: Sequence[float], truth: Sequence[float]) -> float:
    return _rank(kendalltau, guess, truth)


def _rank(correlation: Callable[..., Any], guess: Sequence[float], truth: Sequence[float]) -> float:
    """A rank correlation; 0 where all are guessed alike."""
    return float(correlation(guess, truth).statistic) if len(set(guess)) > 1 and len(set(truth)) > 1 else 0.0


def _every(networks: Sequence[UniformNetwork], found: Sequence[Judged], macs: Sequence[float]) -> Rows:
    columns = (
        Column("network", "network", "d: blocks a stage, e: expansion, k: kernel"),
        Column("macs", "MMACs", "millions of multiply-adds", ".2f"),
        Column("alone", "alone %", "test accuracy, trained alone, mean over seeds", ".2f"),
        Column("half", "±", "half of its 95 % interval", ".2f"),
        Column("example", "multi path %", "with inherited weights and statistics of its own, mean over seeds", ".2f"),
        Column("batch", "single path %", "the same of single-path super-networks", ".2f"),
    )
    rows: list[Row] = []
    for place, network in enumerate(networks):
        alone = [judged.alone[place] for judged in found]
        row: Row = {"network": network.name, "macs": macs[place] / 1e6, "alone": mean(alone), "half": half_width(alone)}
        rows.append(row | {way: mean(judged.guessed[way, OWN][place] for judged in found) for way in WAYS})
    return Rows("The networks", columns, rows)


def _plot(networks: Sequence[UniformNetwork], found: Sequence[Judged], path: Path) -> None:
    figure = new_figure(9, 4.2)
    depths, expansions = (sorted({getattr(network, key) for network in networks}) for key in ("depth", "expansion"))
    truth = np.mean([judged.alone for judged in found], axis=0)
    panels: Mapping[Way, Any] = dict(zip(WAYS, figure.subplots(1, len(WAYS), sharey=True), strict=True))
    for way, axes in panels.items():
        guess = np.mean([judged.guessed[way, OWN] for judged in found], axis=0)
        for place, network in enumerate(networks):
            axes.scatter(
                guess[place],
                truth[place],
                s=30 + 30 * (network.kernel > 3),
                color=f"C{depths.index(network.depth)}",
                marker="osD^v"[expansions.index(network.expansion) % 5],
                alpha=0.85,
            )
        axes.set_title(f"{WAYS[way]}: tau {_tau(guess.tolist(), truth.tolist()):.2f}", fontsize=10)
        axes.set_xlabel("accuracy with inherited weights, %")
        axes.grid(alpha=0.25)
    panels["example"].set_ylabel("test accuracy trained alone, %")
    for index, depth in enumerate(depths):
        panels["batch"].scatter([], [], color=f"C{index}", label=f"depth {depth}")
    for index, expansion in enumerate(expansions):
        panels["batch"].scatter([], [], color="0.4", marker="osD^v"[index % 5], label=f"expansion {expansion}")
    panels["batch"].legend(fontsize=7, frameon=False, title="larger: kernel 5", title_fontsize=7)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
