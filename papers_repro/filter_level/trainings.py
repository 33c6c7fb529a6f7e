"""Many trainings of many configurations, side by side, each kept in a file of its own so that a run can be resumed.

Every configuration is trained several times from weights and in an order of its own, on the same data. A training stops after
``patience`` epochs without a new best validation accuracy; the weights of the best epoch are tested.

Reference: Zur et al., Sec. 4 (grid search: three trainings of every configuration).
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from constrained_nas.methods.filter_level import Configuration, fresh_network, train_configurations
from constrained_nas.training import evaluate
from graphs import FilterNetwork
from graphs.files import save_json
from papers_repro.experiment import make_fabric
from papers_repro.filter_level.setup import FilterSetup, Kind, cost_of, load_splits, network_builder, space_of
from papers_repro.harness import ProgressBars, Reports, run_seeds

Counts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration to train: (decisions, operations) counts or (decisions, 1) widths, its cost, whether it is homogeneous."""

    kind: Kind
    name: str
    counts: Counts
    cost: float
    homogeneous: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """A candidate with the test and validation accuracies (%) of its trainings, the epochs they took, and seconds in all."""

    candidate: Candidate
    test: tuple[float, ...]
    validation: tuple[float, ...]
    epochs: tuple[int, ...]
    seconds: float

    @property
    def mean(self) -> float:
        """Mean test accuracy, %."""
        return float(np.mean(self.test))


def candidate(setup: FilterSetup, kind: Kind, name: str, counts: np.ndarray, homogeneous: bool = False) -> Candidate:
    """A configuration with its cost."""
    space = space_of(setup, kind)
    whole = np.asarray(counts, dtype=np.int64)
    cost = cost_of(space).cost(space.architecture(whole))
    return Candidate(kind, name, tuple(map(tuple, whole.tolist())), cost, homogeneous)


def train_candidates(
    candidates: Sequence[Candidate],
    repeats: int,
    setup: FilterSetup,
    seed: int,
    folder: Path,
    progress: ProgressBars,
    more: bool = False,
) -> list[Trained]:
    """Train every candidate ``repeats`` times; candidates of the same counts share their trainings.

    Args:
        more: go on from the trainings of this run even where the run does not resume.
    """
    distinct = list({(c.kind, c.counts): c for c in candidates}.values())
    jobs = [(each, repeat) for repeat in range(repeats) for each in distinct]
    processes = setup.side_by_side(len(jobs))
    where = folder / "checkpoints" / "trainings"
    if not setup.resume and not more:
        for old in where.glob("*.json"):
            old.unlink()
    if setup.data == "digits" and processes > 1:
        load_splits(setup, seed)
    work = partial(_train_part, jobs, processes, setup, seed, where)
    parts = run_seeds(work, range(processes), processes, progress)
    found: dict[tuple[Kind, Counts], list[dict[str, Any]]] = {}
    for each, _repeat, result in sorted((entry for part in parts for entry in part), key=lambda entry: entry[1]):
        found.setdefault((each.kind, each.counts), []).append(result)
    return [_gather(each, found[each.kind, each.counts]) for each in candidates]


def _gather(each: Candidate, results: Sequence[dict[str, Any]]) -> Trained:
    def column(key: str) -> tuple[Any, ...]:
        return tuple(result[key] for result in results)

    return Trained(each, column("test"), column("validation"), column("epochs"), sum(column("seconds")))


def _train_part(
    jobs: Sequence[tuple[Candidate, int]], parts: int, setup: FilterSetup, seed: int, where: Path, part: int, progress: Reports
) -> list[tuple[Candidate, int, dict[str, Any]]]:
    """Every ``parts``-th job, from the ``part``-th on."""
    mine, done = list(jobs[part::parts]), []
    what = "trainings" if parts == 1 else f"trainings, part {part + 1} of {parts}"
    for number, (each, repeat) in enumerate(mine):
        progress.update(what, number, len(mine))
        done.append((each, repeat, _train_once(each, repeat, setup, seed, where)))
    progress.update(what, len(mine), len(mine))
    return done


def _train_once(each: Candidate, repeat: int, setup: FilterSetup, seed: int, where: Path) -> dict[str, Any]:
    identity = _identity(each, repeat, setup, seed)
    path = where / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]
        return kept
    result = _train(each, repeat, setup, seed)
    save_json({"identity": identity, "result": result}, path)
    return result


def _identity(each: Candidate, repeat: int, setup: FilterSetup, seed: int) -> dict[str, Any]:
    """What decides a training: a file under another identity is another training's."""
    decisive = {name: value for name, value in asdict(setup).items() if name not in ("data_root", "processes", "device", "resume")}
    return {"kind": each.kind, "counts": each.counts, "repeat": repeat, "seed": seed, "setup": decisive}


def _train(each: Candidate, repeat: int, setup: FilterSetup, seed: int) -> dict[str, Any]:
    began = time.perf_counter()
    splits, fabric, space = load_splits(setup, seed), make_fabric(setup), space_of(setup, each.kind)
    # The name is left out: the same counts under another name are the same training. Repeats differ in weights and order.
    draw = int(np.random.default_rng([seed, repeat]).integers(2**31))
    network = fresh_network(network_builder(setup, each.kind), draw, splits.weights, setup.weights, fabric)
    configuration = Configuration(np.array(each.counts)[space.owner_index])
    best = _Best(network, splits.architecture, setup, fabric)
    fixed = [configuration]
    train_configurations(
        network, lambda _: fixed, splits.weights, setup.epochs, setup.weights, fabric, draw, after_epoch=best.after_epoch
    )
    network.load_state_dict(best.state)
    accuracy = 100 * evaluate(network.eval(), splits.test, fabric)
    seconds = time.perf_counter() - began
    return {"test": accuracy, "validation": 100 * best.accuracy, "epochs": best.epochs, "seconds": seconds}


class _Best:
    """The best epoch so far, of equal ones the last, and whether to go on."""

    def __init__(self, network: FilterNetwork, data: Dataset[Any], setup: FilterSetup, fabric: Any) -> None:
        self.network, self.data, self.setup, self.fabric = network, data, setup, fabric
        self.accuracy, self.best_epoch, self.epochs, self.state = -1.0, 0, 0, dict[str, torch.Tensor]()

    def after_epoch(self, epochs: int) -> bool:
        accuracy = evaluate(self.network.eval(), self.data, self.fabric)
        self.epochs = epochs
        if accuracy > self.accuracy:
            self.best_epoch = epochs
        if accuracy >= self.accuracy:  # on few examples ties are common, and the later weights have seen more
            self.accuracy, self.state = accuracy, copy.deepcopy(self.network.state_dict())
        return epochs - self.best_epoch >= self.setup.patience
