"""What moves the rank correlation of a super-network with the truth, on NAS-Bench-Macro, at equal time of the processor.

A path for every example against one a batch; the heaviest network first; in-place distillation from it; one normalization after the
projections of a layer against one each; three times as long. Networks are judged by the statistics of training and by their own.
Seeds are paired: the same images, splits, first weights and networks for every way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from papers_repro.experiment import DeviceOptions, load_images, make_fabric, one_thread
from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, compared, half_width, mean, started
from papers_repro.macro import (
    WAYS,
    Judge,
    TrainingChoices,
    Way,
    benchmark_path,
    drawn_codes,
    ranking,
    read_benchmark,
    trained_by,
)

SCRIPT = "macro_variants"


@dataclass(frozen=True)
class Options(TrainingChoices, DeviceOptions, ScriptOptions):
    """Rank correlation by the way a super-network is trained.

    Writes macro_variants.json. Needs the benchmark's file, --benchmark nas-bench-macro_cifar10.json (github.com/xiusu/NAS-Bench-
    Macro), and CIFAR-10: --data FOLDER (images in train/ and val/ or test/), or --data cifar10 with --data-root.
    """

    benchmark: Path | None = None
    """The benchmark's file."""
    width: float = 0.25
    ways: tuple[Way, ...] = WAYS
    """Ways of training; the first is what the others are compared with."""
    minutes: float = 1.0
    """Of the processor, for a training."""
    seeds: int = 2
    """Super-networks by each way."""
    networks: int = 80
    """Networks that are ranked."""
    ranking_images: int = 1_000
    """Images kept from training on which they are ranked."""
    calibration_batches: int = 4
    """Training batches from which a network's own statistics are made."""


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(
            scale,
            data="digits",
            training_digits=200,
            width=0.125,
            batch_size=32,
            ways=("example", "in-place distillation", "shared norm"),
            minutes=0.005,
            seeds=1,
            networks=8,
            ranking_images=80,
            calibration_batches=1,
        )
    if scale == "laptop":
        return Options(scale, data="cifar10")
    return Options(
        scale, data="cifar10", device="auto", resolution=32, width=1.0, minutes=60, seeds=3, networks=200, ranking_images=10_000
    )


def main() -> None:
    with started(SCRIPT, preset) as script:
        options, taus = script.options, dict[Way, list[dict[str, float]]]()
        benchmark = benchmark_path(options.benchmark)
        fabric, memory = make_fabric(options), script.folder / "ranked.json"
        try:
            table = read_benchmark(benchmark)
            with one_thread(options.device), script.bars() as progress:
                for seed in range(options.seed, options.seed + options.seeds):
                    data = load_images(options, options.architecture_share, seed, recipe="crop_flip")
                    codes = drawn_codes(table.codes, options.networks, seed)
                    places = np.array([table.place[code] for code in codes])
                    truth, macs = table.accuracies[places], table.macs[places]
                    for way in options.ways:
                        told = progress.callback(f"seed {seed}, {way}")
                        made, spent = trained_by(way, options, data, 60 * options.minutes, seed, fabric, told)
                        batches, size = options.calibration_batches, options.batch_size
                        judge = Judge(made, options.ranking_images, batches, size, fabric, memory)
                        seen = [
                            judge(made.space.architecture(code)) for code in progress.track(codes, f"seed {seed}, {way}: ranking")
                        ]
                        by_loss = ranking([-of_network.loss for of_network in seen], truth, macs)
                        found = {
                            "tau": by_loss.tau,
                            "within": by_loss.within,
                            "own": ranking([-of_network.own_loss for of_network in seen], truth, macs).tau,
                            "by accuracy": ranking([of_network.accuracy for of_network in seen], truth, macs).tau,
                            "macs": ranking(macs, truth, macs).tau,
                            "accuracy": mean(of_network.accuracy for of_network in seen),
                            "epochs": spent.epochs,
                        }
                        taus.setdefault(way, []).append(found)
                        script.say(f"seed {seed}, {way}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
        script.show(_table(taus, options))


def _table(taus: dict[Way, list[dict[str, float]]], options: Options) -> Rows:
    rows: list[Row] = []
    first = taus[options.ways[0]]
    for way, found in taus.items():
        row: Row = {"way": way, **{key: mean(of_seed[key] for of_seed in found) for key in found[0]}}
        row["half"] = half_width([of_seed["tau"] for of_seed in found])
        if way != options.ways[0]:
            row["against"] = compared([a["tau"] for a in found], [a["tau"] for a in first], way)
        rows.append(row)
    columns = (
        Column("way", "way", "longer: three times the time, a path an example, as all but batch; the rest as the words say"),
        Column("tau", "tau", "Kendall's, of the loss with inherited weights and the statistics of training, with the truth", ".3f"),
        Column("half", "±", f"half of its 95 % interval over {options.seeds} seed(s)", ".3f"),
        Column("within", "within", "mean of tau in fifths of the networks by multiply-adds", ".3f"),
        Column("own", "recalibrated", "tau of the loss with statistics of a network's own", ".3f"),
        Column("by accuracy", "by accuracy", "tau of accuracy with the statistics of training", ".3f"),
        Column("macs", "MACs", "tau of multiply-adds alone", ".3f"),
        Column("accuracy", "mean %", "accuracy with inherited weights", ".1f"),
        Column("epochs", "epochs", "what came of the time", ".1f"),
        Column("against", f"against {options.ways[0]}", "difference of tau, paired by seed, with its 95 % interval"),
    )
    shape = f"{options.resolution} x {options.resolution} pixels, {options.width:g} of the channels"
    title = (
        f"Ways to train a super-network, {options.minutes:g} minutes of the processor each ({shape}); {options.networks} networks"
    )
    return Rows(title, columns, rows)


if __name__ == "__main__":
    main()
