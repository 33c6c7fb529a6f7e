"""Searches by whole networks: each is told its own loss, budgets hold, and a resumed search ends as an unbroken one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.searches import FABRIC, data, problem, setting
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn
from torch.nn import functional

from constrained_nas.methods import HardCoRe, recommended
from constrained_nas.search import JudgeOptions, NetworkLoss, SearchRun, search_networks
from constrained_nas.training import Curves, read_curves
from graphs import Architecture

OPTIONS = JudgeOptions(networks=21, images=32, seed=1)


def drawn(seed: int) -> Architecture:
    blocks = setting()[0].staged.blocks
    return setting()[0].space.architecture(blocks.vertex([int(c) for c in np.random.default_rng(seed).integers(blocks.sizes)]))


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_a_network_is_told_its_own_loss_and_the_super_network_stays(batch_statistics: bool) -> None:
    net, images, labels = setting()[1], *data().tensors
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    loss = NetworkLoss(net, data(), 32, FABRIC, batch_statistics=batch_statistics)
    for seed in range(3):
        network: nn.Module = net.extract(drawn(seed)).train(batch_statistics)
        with torch.no_grad():
            expected = functional.cross_entropy(network(images[:32]), labels[:32])
        assert loss(drawn(seed)) == pytest.approx(float(expected), rel=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items()) and not net.training


def test_matrix_products_of_a_search_have_one_thread() -> None:
    space, net, threads = setting()[0], setting()[1], set[int]()

    def loss(architecture: Architecture) -> float:
        threads.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return 0.0

    with threadpool_limits(2, "blas"):
        search_networks(problem(0.3), recommended(space.space, space.staged, 4), loss, net, JudgeOptions(4, 8), FABRIC)
    assert threads == {1}


def judged(
    checkpoint: Path | None = None, stop: int = 0, share: float = 0.3, curves: Path | None = None
) -> tuple[SearchRun, list[float]]:
    """Interrupted when so many networks are judged; and the losses of networks in the order in which they were."""
    space, net, told = setting()[0], setting()[1], list[float]()
    real = NetworkLoss(net, data(), OPTIONS.images, FABRIC)

    def loss(architecture: Architecture) -> float:
        told.append(real(architecture))
        return told[-1]

    def progress(done: int, total: int, what: str) -> None:
        assert (total, what) == (OPTIONS.networks, "search")
        if done == stop:
            raise KeyboardInterrupt

    method = recommended(space.space, space.staged, OPTIONS.networks)
    curve = None if curves is None else Curves(curves).of("search")
    return search_networks(problem(share), method, loss, net, OPTIONS, FABRIC, checkpoint, progress, curve=curve), told


def test_every_network_fits_and_every_budget_is_met() -> None:
    run, told = judged()
    asked, space = problem(0.3), setting()[0]
    assert len(told) == OPTIONS.networks == len(run.state.losses)
    assert all(asked.fits(space.space.architecture(point)) for point in run.state.points)
    assert run.result.feasible and [entry["epoch"] for entry in run.history] == [1, 2, 3]
    tighter = recommended(space.space, space.staged, OPTIONS.networks).finish(problem(0.05), run.state)
    assert tighter.feasible and problem(0.05).fits(tighter.architecture)


def test_a_resumed_search_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    whole, every = judged(curves=tmp_path / "whole.jsonl")
    for stop in (3, 12, 21):
        with pytest.raises(KeyboardInterrupt):
            judged(tmp_path / "search.safetensors", stop, curves=tmp_path / "curves.jsonl")
    resumed, rest = judged(tmp_path / "search.safetensors", curves=tmp_path / "curves.jsonl")
    assert (tmp_path / "curves.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert rest == every[-len(rest) :] and len(rest) < OPTIONS.networks  # of proposals that were whole nothing is judged again
    assert resumed.result.architecture == whole.result.architecture and resumed.losses == whole.losses
    assert resumed.history == whole.history
    assert np.array_equal(resumed.state.points, whole.state.points) and np.array_equal(resumed.state.losses, whole.state.losses)
    with pytest.raises(ValueError, match="budgets"):
        judged(tmp_path / "search.safetensors", share=0.4)


def test_a_line_of_the_curve_is_a_proposal(tmp_path: Path) -> None:
    run, _ = judged(curves=tmp_path / "curves.jsonl")
    lines, space, asked = read_curves(tmp_path / "curves.jsonl"), setting()[0].space, problem(0.3)
    assert [(line["phase"], line["step"]) for line in lines] == [("search", 1), ("search", 2), ("search", 3)]
    assert [line["architecture_loss"] for line in lines] == pytest.approx(run.losses, rel=1e-5)
    for line, points in zip(lines, np.split(run.state.points, [8, 16]), strict=True):  # eight networks a proposal, of exact losses
        for decision in space.decisions:
            shares = dict(zip(decision.options, points.mean(0)[space.slice(decision.name)], strict=True))
            assert line["probabilities"][decision.name] == pytest.approx({name: s for name, s in shares.items() if s}, abs=1e-4)
        assert all(line["costs"][budget.cost.name] <= budget.limit for budget in asked.budgets)
    assert lines[-1]["costs"] == pytest.approx(run.result.costs, rel=1e-5)


def test_methods_that_want_gradients_are_refused() -> None:
    space, net = setting()[0], setting()[1]
    with pytest.raises(ValueError, match="HardCoRe wants gradients, which whole networks do not have: use search"):
        search_networks(problem(0.3), HardCoRe(space.space, space.staged), lambda network: 0.0, net, OPTIONS, FABRIC)
