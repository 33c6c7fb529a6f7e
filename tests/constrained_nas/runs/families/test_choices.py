"""A network of one's own as a family: its costs and ends, a search within several budgets, and the network that comes of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from constrained_nas.data import DataSplits
from constrained_nas.runs import (
    RunSettings,
    check_feasible,
    make_problem,
    plan_of,
    search_problem,
    train_prepared,
    trained_network,
    untrained,
)
from constrained_nas.runs.families import ChoiceFamily
from constrained_nas.search import NetworkLoss
from graphs import Architecture, Choice, Supernet, choice_space
from solvers import InfeasibleError


class Network(nn.Module):
    """Two choices between a stem and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=4, padding=1)
        options = {"none": nn.Identity(), "small": nn.Conv2d(4, 4, 1), "large": nn.Conv2d(4, 4, 3, padding=1)}
        self.first = Choice("first", options)
        self.second = Choice("second", {"small": nn.Conv2d(4, 4, 1), "large": nn.Conv2d(4, 4, 3, padding=1)})
        self.head = nn.Linear(4 * 16, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(self.first(self.stem(images)))).flatten(1))


@pytest.fixture(scope="module")
def family() -> ChoiceFamily:
    torch.manual_seed(0)
    return ChoiceFamily(choice_space(Network(), torch.zeros(2, 1, 16, 16), "own"))


def architectures(family: ChoiceFamily) -> list[Architecture]:
    options = [range(len(decision.options)) for decision in family.decisions.decisions]
    names = [decision.name for decision in family.decisions.decisions]
    return [
        Architecture({n: tuple(int(i == p) for i in range(len(o))) for n, p, o in zip(names, c, options, strict=True)})
        for c in itertools.product(*options)
    ]


def test_costs_and_ends_equal_enumeration(family: ChoiceFamily) -> None:
    for cost in family.counted().values():
        values = [cost.cost(architecture) for architecture in architectures(family)]
        assert cost.cost(family.cheapest(cost)) == min(values)
        assert cost.cost(family.largest(cost)) == max(values)
    parameters = family.counted()["params"]
    for architecture in architectures(family):
        assert parameters.cost(architecture) == sum(p.numel() for p in family.network(architecture).parameters())


def test_a_search_fits_is_best_by_its_scores_and_projects_again(family: ChoiceFamily, tmp_path: Path) -> None:
    asked = RunSettings(
        space="hardcore-small",
        training_digits=64,
        draws=1,
        batch_size=8,
        train_epochs=1,
        warm_up=1,
        epochs=1,
        fine_tune_epochs=1,
        resolution=16,
    )
    plan = plan_of(asked.model_copy(update={"space": "own", "budget": ("params=900", "macs=9e3")}), ChoiceFamily)
    prepared, costs = untrained(plan, tmp_path, family), family.counted()
    problem = make_problem(family, {"params": 850.0, "macs": 4000.0}, costs)
    check_feasible(plan, family, problem, costs)
    assert train_prepared(prepared) > 0
    found = search_problem(prepared, problem, costs, prepared.saved("search"), "option-scores")
    scores = found.history[0]["scores"]

    def worth(architecture: Architecture) -> float:
        return sum(float(np.dot(list(scores[d.name].values()), architecture.counts[d.name])) for d in family.decisions.decisions)

    for limits in ((850.0, 4000.0), (1e6, 1e6)):
        tried = make_problem(family, dict(zip(("params", "macs"), limits, strict=True)), costs)
        result = found.again(tried)
        assert tried.fits(result.architecture)
        assert worth(result.architecture) == pytest.approx(max(worth(a) for a in architectures(family) if tried.fits(a)))
    network, accuracy = trained_network(prepared, found.supernet, found.result.architecture, "network")
    assert sum(p.numel() for p in network.parameters()) == costs["params"].cost(found.result.architecture)
    images, labels = next(iter(DataLoader(prepared.data.test, batch_size=10_000)))  # type: ignore[arg-type] # all of it
    with torch.no_grad():
        right = network.eval()(images).argmax(1) == labels
    assert accuracy == pytest.approx(100 * right.double().mean().item())


def test_what_cannot_be_done_is_said(family: ChoiceFamily) -> None:
    costs = family.counted()
    plan = replace(plan_of(RunSettings(space="hardcore-small")), family=ChoiceFamily, method="option-scores")
    with pytest.raises(InfeasibleError, match="is below the cheapest network"):
        check_feasible(plan, family, make_problem(family, {"params": 1.0}, costs), costs)
    with pytest.raises(FileNotFoundError, match=r"table\.json"):  # networks of one's own have tables too
        family.read_table(Path("table.json"))
    with pytest.raises(FileNotFoundError, match=r"own\.py: no such file"):
        ChoiceFamily.build("own.py:build", 10, 1, 16)


def layer(size: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, 8, size, padding=size // 2), nn.BatchNorm2d(8), nn.ReLU())


def test_a_search_beats_random_networks_that_fit(tmp_path: Path) -> None:
    """By the loss of test images, which no search sees, with the super-network's weights; both budgets bind."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.as_tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    split = TensorDataset(images, torch.as_tensor(labels))
    weights, held, test = (Subset(split, part) for part in (range(900), range(900, 1200), range(1200, 1797)))
    torch.manual_seed(0)
    blocks = [Choice(name, {"skip": nn.Identity()} | {str(size): layer(size) for size in (1, 3, 5)}) for name in "abcd"]
    stem = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
    body = *blocks[:2], nn.MaxPool2d(2), *blocks[2:]
    network = nn.Sequential(*stem, *body, nn.Flatten(), nn.Linear(128, 10))
    family = ChoiceFamily(choice_space(network, torch.zeros(2, 1, 8, 8), "own"))
    asked = RunSettings(space="hardcore-small", train_epochs=6, evaluations=24, resolution=8)
    plan = plan_of(asked.model_copy(update={"space": "own"}), ChoiceFamily)
    assert plan.method == "surrogate" and plan.path_per == "batch"
    prepared = untrained(plan, tmp_path, family, DataSplits("digits", weights, held, test, 10, 1, 8))
    train_prepared(prepared)
    costs, generator = family.counted(), np.random.default_rng(0)
    loss = NetworkLoss(cast(Supernet, prepared.supernet), test, 500, prepared.fabric, batch_statistics=True)
    low, high = (costs["params"].cost(end(costs["params"])) for end in (family.cheapest, family.largest))
    for share in (0.15, 0.4):
        problem = make_problem(family, {"params": low + share * (high - low)}, costs)
        found = search_problem(prepared, problem, costs, prepared.saved(f"search at {share}")).result.architecture
        drawn = [family.decisions.architecture(family.decisions.blocks.vertex(generator.integers(4, size=4))) for _ in range(150)]
        losses = [loss(network) for network in drawn if problem.fits(network)][:20]
        assert problem.fits(found) and len(losses) > 10
        assert loss(found) < np.mean(losses) - np.std(losses) / 2
