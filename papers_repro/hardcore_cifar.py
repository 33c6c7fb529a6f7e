"""Real images: HardCoRe-NAS's small space searched under hard budgets on CIFAR-10; what is found is trained and tested.

One super-network a seed, trained as the recipe ``cifar`` of ``constrained-nas search`` has it (the heaviest network, then a path
a batch; mixup, label smoothing, moving average), for as many epochs as the scale allows. Every method searches it under budgets on
multiply-adds. What it finds is trained from fresh weights or, where these would need more epochs than the scale has, fine-tuned
from the shared ones, and tested once. A network that two methods find is trained once.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.3 and 4.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning_fabric import Fabric
from torch.utils.data import Subset

from constrained_nas.ask_tell import SearchMethod
from constrained_nas.methods import JUDGED_ROWS, HardCoRe, SoftPenalty, random_feasible, recommended, small_steps
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import JudgeOptions, NetworkLoss, SearchOptions, search, search_networks
from constrained_nas.training import Checkpoint, TrainingOptions, evaluate, fine_tune, path_a_batch, train_supernet
from graphs import Architecture, MBConvSpace, hardcore_small
from graphs.costs import QuadraticCost, mac_cost
from graphs.files import read_json, save_json
from papers_repro.experiment import (
    DeviceOptions,
    DrawingOptions,
    LoopOptions,
    fresh_supernet,
    kept_under,
    load_images,
    make_fabric,
    one_thread,
)
from papers_repro.harness import (
    Column,
    ProgressBars,
    Row,
    Rows,
    Scale,
    ScriptOptions,
    compared,
    half_width,
    mean,
    new_figure,
    save_figure,
    started,
)
from solvers import cheapest_start

SCRIPT = "hardcore_cifar"
OURS = "ours: pairwise surrogate"
SMALL_STEPS = "HardCoRe-NAS, small steps"
PRINTED = "HardCoRe-NAS as printed"
SOFT = "soft penalty + argmax"
RANDOM = "random that fits"
CHEAPEST, HEAVIEST = "cheapest network", "heaviest network"
METHODS = (OURS, SMALL_STEPS, PRINTED, SOFT, RANDOM)


@dataclass(frozen=True)
class Options(LoopOptions, DrawingOptions, DeviceOptions, ScriptOptions):
    """Searches on CIFAR-10 under budgets on multiply-adds; every network that is found is trained and tested.

    Writes hardcore_cifar.json and hardcore_cifar.png. --data FOLDER (images in train/ and val/ or test/), or --data cifar10 with
    --data-root.
    """

    architecture_share: float = 0.2
    """Share of the training images kept for the search."""
    budgets: tuple[float, ...] = (0.1, 0.25, 0.5)
    """As shares of the way from the multiply-adds of the cheapest network to those of the heaviest."""
    seeds: int = 3
    """Super-networks, with searches and networks of their own."""
    warm_up_epochs: int = 1
    """Of the heaviest network."""
    path_epochs: int = 4
    """With a path drawn uniformly for every batch, the heaviest in a quarter of them."""
    batch_size: int = 128
    """Of training and search."""
    learning_rate: float = 0.1
    """Of the heaviest network, at the start of the cosine."""
    paths_rate: float = 0.06
    """The same of the paths."""
    mixup: float = 0.0
    """Parameter of mixup's Beta distribution; 0 turns it off."""
    ema_decay: float = 0.0
    """Of the moving average of the weights; 0 turns it off."""
    methods: tuple[str, ...] = METHODS
    """Who searches."""
    random_networks: int = 1
    """Random networks a budget, whose mean is the row."""
    evaluations: int = 120
    """Networks whose loss by the super-network the surrogate is told."""
    evaluated_images: int = 500
    """Images on which they are, the same for all; of those kept for the search."""
    search_epochs: int = 1
    """Passes of the other searches over the images kept for it."""
    search_images: int = 5_120
    """At most so many of them."""
    weights: Literal["fresh", "shared"] = "fresh"
    """What a found network begins with: fresh weights, or the super-network's, which tell more after few epochs."""
    found_epochs: int = 3
    """Of every found network."""
    found_rate: float = 0.1
    """Learning rate of these at the start of the cosine."""


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(
            scale,
            data="digits",
            training_digits=200,
            budgets=(0.3,),
            seeds=1,
            path_epochs=1,
            batch_size=16,
            evaluations=12,
            evaluated_images=32,
            search_images=32,
            found_epochs=1,
        )
    if scale == "laptop":
        return Options(
            scale,
            data="cifar10",
            resolution=16,
            path_epochs=6,
            random_networks=2,
            weights="shared",
            found_epochs=1,
            found_rate=0.05,
        )
    return Options(  # on a GPU: the recipe, and networks from scratch for as long as its super-network
        scale,
        data="cifar10",
        device="auto",
        resolution=32,
        architecture_share=0.1,
        warm_up_epochs=30,
        path_epochs=60,
        mixup=0.2,
        ema_decay=0.999,
        evaluations=300,
        evaluated_images=1_000,
        search_epochs=2,
        found_epochs=60,
        workers=4,
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What a method found under a budget, and the test accuracy (%) of its network, trained."""

    method: str
    budget: int
    seed: int
    use: float
    fits: bool
    macs: float
    accuracy: float


def main() -> None:
    with started(SCRIPT, preset) as script:
        options, found, spent = script.options, list[Found](), 0.0
        if unknown := [name for name in options.methods if name not in METHODS]:
            raise SystemExit(f"--methods: no method {unknown[0]!r}; there are {', '.join(METHODS)}")
        fabric = make_fabric(options)
        try:
            with one_thread(options.device), script.bars() as progress:
                for seed in range(options.seed, options.seed + options.seeds):
                    answers, seconds = _of_seed(options, seed, fabric, script.folder, progress)
                    found, spent = found + answers, spent + seconds
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
        script.show(_table(found, options, spent))
        _plot(found, script.picture)


def _of_seed(options: Options, seed: int, fabric: Fabric, folder: Path, progress: ProgressBars) -> tuple[list[Found], float]:
    """The answers, and the processor seconds that they took; what is found again is not trained again."""
    data = load_images(options, options.architecture_share, seed, recipe="crop_flip")
    space = hardcore_small(data.classes, data.resolution, data.image_channels)
    supernet, cost, told = fresh_supernet(space, seed), mac_cost(space), progress.callback(f"seed {seed}")
    training = TrainingOptions(
        batch_size=options.batch_size, mixup=options.mixup, ema_decay=options.ema_decay, workers=options.workers, seed=seed
    )
    checkpoints = folder / "checkpoints"
    if not options.resume:
        for old in checkpoints.glob(f"*_seed{seed}*"):
            old.unlink()
    kept = kept_under(checkpoints / f"supernet_seed{seed}.safetensors", data)
    first = replace(training, epochs=options.warm_up_epochs, learning_rate=options.learning_rate)
    paths = replace(training, epochs=options.path_epochs, learning_rate=options.paths_rate)
    fresh = options.weights == "fresh"
    alone = replace(training, epochs=options.found_epochs, learning_rate=options.found_rate, from_scratch=fresh)
    known = _Accuracies.read(checkpoints / f"networks_seed{seed}.json", {**kept.made_by, "found networks": asdict(alone)})
    heaviest = supernet.gates(space.heaviest())
    kept = replace(kept, made_by={**kept.made_by, "path per": "batch"})
    train_supernet(supernet, heaviest, data.weights, first, paths, fabric, kept, told, path_a_batch(supernet, heaviest))
    known.save()

    def accuracy(architecture: Architecture) -> float:
        key = "|".join(map(str, space.space.describe(architecture).values()))
        if key not in known.found:
            network = supernet.extract(architecture)
            fine_tune(network, data.weights, alone, fabric, progress=progress.callback(f"seed {seed}, found network"))
            known.found[key] = 100 * evaluate(network, data.test, fabric)
            known.save()
        return known.found[key]

    def noted(method: str, budget: int, architecture: Architecture, limit: float) -> Found:
        macs = cost.cost(architecture)
        return Found(method, budget, seed, 100 * macs / limit, macs <= limit, macs, accuracy(architecture))

    split = data.architecture
    losses = NetworkLoss(
        supernet, split, options.evaluated_images, fabric, batch_statistics=True, workers=options.workers, seed=seed
    )
    images = Subset(split, range(min(options.search_images, len(split))))  # type: ignore[arg-type]
    low, high = cost.cost(_cheapest(space, cost)), cost.cost(space.heaviest())
    found = [noted(CHEAPEST, -1, _cheapest(space, cost), low), noted(HEAVIEST, -1, space.heaviest(), high)]
    for budget, share in enumerate(options.budgets):
        limit, begins = low + share * (high - low), seed * 1000 + budget
        problem = SearchProblem(space.space, (Budget(cost, limit, cost.unit),))
        for name in options.methods:
            where = Checkpoint(checkpoints / f"search_{METHODS.index(name)}_seed{seed}_budget{budget}.safetensors", kept.made_by)
            if name == RANDOM:
                generator = np.random.default_rng([seed, budget])
                drawn = [random_feasible(problem, space.staged, generator).result for _ in range(options.random_networks)]
                found += [noted(name, budget, result.architecture, limit) for result in drawn]
                continue
            if name == OURS:
                judging = JudgeOptions(options.evaluations, options.evaluated_images, JUDGED_ROWS, seed=begins)
                ours = recommended(space.space, space.staged, options.evaluations)
                result = search_networks(problem, ours, losses, supernet, judging, fabric, where, told).result
            else:
                settings = SearchOptions(options.search_epochs, options.batch_size, workers=options.workers, seed=begins)
                result = search(problem, _method(name, space), supernet, images, settings, fabric, where, told).result
            found.append(noted(name, budget, result.architecture, limit))
            known.save()
    return found, known.seconds


@dataclass(slots=True)
class _Accuracies:
    """Of the networks of a seed, trained from scratch, by their choices; and the processor seconds spent on that seed so far."""

    path: Path
    made_by: Mapping[str, Any]
    found: dict[str, float]
    seconds: float
    since: float

    @classmethod
    def read(cls, path: Path, made_by: Mapping[str, Any]) -> _Accuracies:
        """What is there.

        Raises:
            ValueError: it is of other data, versions or training.
        """
        kept = read_json(path, "list of accuracies") if path.exists() else {"made_by": made_by, "found": {}, "seconds": 0.0}
        if not isinstance(kept, dict) or kept.get("made_by") != json.loads(json.dumps(made_by)):
            raise ValueError(f"{path}: of other options, data or versions; start over with --no-resume, or restore them")
        return cls(path, made_by, kept["found"], kept["seconds"], time.process_time())

    def save(self) -> None:
        """Write the file."""
        now = time.process_time()
        self.seconds, self.since = self.seconds + now - self.since, now
        save_json({"made_by": self.made_by, "found": self.found, "seconds": self.seconds}, self.path)


def _method(name: str, space: MBConvSpace) -> SearchMethod[Any]:
    """One that searches by batches."""
    made: dict[str, Callable[..., SearchMethod[Any]]] = {SMALL_STEPS: small_steps, PRINTED: HardCoRe, SOFT: SoftPenalty}
    return made[name](space.space, space.staged)


def _cheapest(space: MBConvSpace, cost: QuadraticCost) -> Architecture:
    return space.space.architecture(np.asarray(cheapest_start(space.staged, cost.quadratic, np.inf).require_feasible().x))


def _table(found: Sequence[Found], options: Options, seconds: float) -> Rows:
    seeds = sorted({answer.seed for answer in found})

    def by_seed(method: str) -> list[float]:
        """Mean accuracy over the budgets."""
        return [mean(a.accuracy for a in found if a.method == method and a.seed == seed) for seed in seeds]

    rows: list[Row] = []
    for method in (*options.methods, CHEAPEST, HEAVIEST):
        own = [answer for answer in found if answer.method == method]
        row: Row = {"method": method, "accuracy": mean(by_seed(method)), "half": half_width(by_seed(method))}
        if method in METHODS:
            for budget in range(len(options.budgets)):
                row[f"b{budget}"] = mean(a.accuracy for a in own if a.budget == budget)
            row |= {"use": mean(a.use for a in own), "violations": 100 * mean(not a.fits for a in own)}
        if method != OURS and OURS in options.methods:
            row["against"] = compared(by_seed(OURS), by_seed(method), "ours")
        row["macs"] = mean(a.macs for a in own) / 1e6
        rows.append(row)
    columns = (
        Column("method", "method", "who found the network"),
        *(
            Column(
                f"b{number}", f"T {100 * share:.0f} %", f"test accuracy at {100 * share:.0f} % of the multiply-adds' range", ".2f"
            )
            for number, share in enumerate(options.budgets)
        ),
        Column("accuracy", "mean %", "test accuracy, mean over the budgets", ".2f"),
        Column("half", "±", f"half of its 95 % interval over {len(seeds)} seed(s)", ".2f"),
        Column("macs", "MMACs", "million multiply-adds, mean", ".2f"),
        Column("use", "use %", "share of the budget that the answer uses", ".0f"),
        Column("violations", "over %", "share of answers beyond the budget", ".0f"),
        Column("against", "ours less it", "difference of accuracy, paired by seed, with its 95 % interval"),
    )
    images = f"CIFAR-10 at {options.resolution} x {options.resolution} pixels"
    title = f"{images}, found networks trained from {options.weights} weights for {options.found_epochs} epoch(s)"
    epochs = (
        f"Super-network: {options.warm_up_epochs} epochs of the heaviest network, {options.path_epochs} of paths. "
        f"{len(seeds)} seeds in {seconds / 3600:.2f} hours of the processor."
    )
    return Rows(title, columns, rows, remark=epochs)


def _plot(found: Sequence[Found], path: Path) -> None:
    figure = new_figure(7.5, 4.8)
    axes = figure.subplots()
    for number, method in enumerate(METHODS):
        own = [answer for answer in found if answer.method == method]
        axes.scatter([a.macs / 1e6 for a in own], [a.accuracy for a in own], s=12, color=f"C{number}", alpha=0.5, linewidths=0)
        groups = [[a for a in own if a.budget == budget] for budget in sorted({a.budget for a in own})]
        x, y = ([mean(getattr(a, key) for a in group) for group in groups] for key in ("macs", "accuracy"))
        axes.plot([macs / 1e6 for macs in x], y, marker="o", color=f"C{number}", label=method, markersize=5)
    for limit in {round(a.macs / a.use * 100) for a in found if a.method == RANDOM}:
        axes.axvline(limit / 1e6, color="0.6", linewidth=1, linestyle="--", zorder=0)
    axes.set(xlabel="million multiply-adds (dashed: the budgets)", ylabel="test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
