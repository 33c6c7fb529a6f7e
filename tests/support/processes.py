"""Several processes for one training, as torchrun starts them; run as a script, each trains every method for a few steps."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from support.searches import problem, setting
from support.tiny import fresh, latency_of, striped_data, tiny
from torch import nn

from constrained_nas.methods import Budgeted, HardCoRe, PairwiseSurrogate, PruNet, recommended
from constrained_nas.methods.filter_level import FilterLevel, FilterWeights, c1, filter_search, statistics_of
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import (
    PRUNET_TRAINING,
    JudgeOptions,
    NetworkLoss,
    SearchOptions,
    WeightTraining,
    search,
    search_networks,
)
from constrained_nas.training import TrainingOptions, fine_tune, make_fabric, process_count, save_checkpoint, train_supernet
from graphs import resnet_fabric, resnet_filters, resnet_topology
from graphs.costs import BitOperations, connected_macs


def in_processes(count: int, command: Sequence[str]) -> list[tuple[int, str]]:
    """Exit status and standard error of every process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": 0, "OMP_NUM_THREADS": 1}
    shared |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = []
    for rank in range(count):
        own = {name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        started.append(subprocess.Popen(command, env=os.environ | own, stderr=subprocess.PIPE, text=True))
    return [(process.returncode, said) for process in started for said in [process.communicate(timeout=300)[1]]]


def after_training(parts: int, normalized: bool = True, joined: bool = False) -> dict[str, torch.Tensor]:
    """What every kind of training and search comes to on tiny spaces, by name: weights, statistics, states of methods.

    Args:
        parts: of a batch.
        normalized: whether normalizations use the batch's statistics; else they are as if evaluated, and rows do not meet.
        joined: whether parts are normalized together; then there are three steps of each.
    """
    torch.set_num_threads(1)
    found: dict[str, torch.Tensor] = {}
    options = TrainingOptions(3 if joined else 1, 16, 0.1, seed=3, parts=parts, sync_batchnorm=joined)
    for name, train in _trainings(options, make_fabric()).items():
        network = train(None if normalized else _as_evaluated)
        found |= {f"{name}.{key}": value for key, value in network.items()}
    return found


Change = Callable[[nn.Module], None] | None


def _trainings(options: TrainingOptions, fabric: Any) -> dict[str, Callable[[Change], dict[str, torch.Tensor]]]:
    parts, joined = options.parts, options.sync_batchnorm
    looped = SearchOptions(options.epochs, 16, seed=4, parts=parts, sync_batchnorm=joined)
    setting()  # once, as it seeds torch

    def shared(change: Change) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        net = setting()[0].supernet()
        if change:
            change(net)
        train_supernet(net, net.gates(setting()[0].heaviest()), striped_data(16, 1), options, options, fabric)
        return net.state_dict()

    def tuned(change: Change) -> dict[str, torch.Tensor]:
        torch.manual_seed(2)
        net, teacher = (setting()[0].supernet().extract(setting()[0].heaviest()) for _ in range(2))
        if change:
            change(net)
        fine_tune(net, striped_data(16, 1), replace(options, recompute=joined), fabric, teacher)
        return net.state_dict()

    def hardcore(change: Change) -> dict[str, torch.Tensor]:
        run = search(
            problem(0.5),
            HardCoRe(setting()[0].space, setting()[0].staged),
            setting()[1],
            striped_data(16, 7),
            _still(looped, change),
            fabric,
        )
        return {"point": torch.as_tensor(run.state.point), "losses": torch.tensor(run.losses)}

    def surrogate(change: Change) -> dict[str, torch.Tensor]:
        method = PairwiseSurrogate(setting()[0].space, setting()[0].staged, 4, noisy=True)
        run = search(problem(0.5), method, setting()[1], striped_data(16, 7), _still(looped, change), fabric)
        return {"losses": torch.tensor(run.losses)}

    def judged(change: Change) -> dict[str, torch.Tensor]:
        (space, net, *_), images = setting(), striped_data(16, 7)
        loss = NetworkLoss(net, images, 16, fabric, batch_statistics=change is None)
        method = recommended(space.space, space.staged, 18)
        run = search_networks(problem(0.5), method, loss, net, JudgeOptions(18, 16, seed=4), fabric)
        return {"points": torch.as_tensor(run.state.points), "losses": torch.as_tensor(run.state.losses)}

    def budgeted(change: Change) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        space = resnet_fabric(1, classes=3, image_channels=1, side=16, widths=(4, 8, 8))
        net, cost = space.supernet(rows="route", disconnected="zeros"), connected_macs(space, "exact")
        if change:
            change(net)
        limit = Budget(cost, 0.8 * cost.cost(space.whole), cost.unit)
        method = Budgeted(space, samples=4, warm_up=0, hard=True)
        training = WeightTraining(0.05)
        run = search(SearchProblem(space.space, (limit,)), method, net, striped_data(16, 7), looped, fabric, training=training)
        return net.state_dict() | {"losses": torch.tensor(run.losses)}

    def prunet(change: Change) -> dict[str, torch.Tensor]:
        net, rest = fresh(), striped_data(16, 5)
        if change:
            change(net)
        run = search(
            SearchProblem(tiny().space, ()),
            PruNet(tiny(), latency_of(tiny()), warm_up=0),
            net,
            striped_data(16, 7),
            looped,
            fabric,
            # RMSprop makes whole steps of gradients that are nought but for rounding, as those of a shift before a normalization.
            training=replace(PRUNET_TRAINING, optimizer="sgd") if joined else PRUNET_TRAINING,
            weights_data=rest,
        )
        return net.state_dict() | {"logits": torch.as_tensor(run.state.logits), "losses": torch.tensor(run.losses)}

    def filters(change: Change) -> dict[str, torch.Tensor]:
        topology = resnet_topology((4, 8, 8), 1, 1, 16)
        space = topology.quantization_space()
        level = FilterLevel(space, learning_rate=0.05, hard=True)
        # Weights that round to noise draw it by parts, unless these are normalized together.
        weights = FilterWeights(16, 0.05, noise_share=0.0 if change else 0.05, parts=parts, sync_batchnorm=joined)
        how = c1(weight_epochs=options.epochs, samples=2, iterations=1, weights=weights, seed=5)
        cost = BitOperations(space)
        limit = Budget(cost, 0.5 * cost.cost(space.homogeneous(len(space.operations) - 1)), cost.unit)

        def build() -> Any:
            kept = statistics_of(level, how)
            net = resnet_filters((4, 8, 8), 1, 3, 1, 16, operations=space.operations, sets=kept)
            if change:
                change(net)
            return net

        run = filter_search(SearchProblem(space.space, (limit,)), level, build, striped_data(16, 6), how, fabric)
        return {"parameters": torch.as_tensor(run.state.parameters), "losses": torch.tensor(run.losses)}

    made: dict[str, Callable[[Change], dict[str, torch.Tensor]]] = {"shared": shared, "tuned": tuned, "hardcore": hardcore}
    return made | {"surrogate": surrogate, "judged": judged, "budgeted": budgeted, "prunet": prunet, "filters": filters}


def _still(options: SearchOptions, change: Change) -> SearchOptions:
    return replace(options, batch_statistics=change is None)


def _as_evaluated(network: nn.Module) -> None:
    """Normalizations keep to evaluation mode whatever they are told."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]


if __name__ == "__main__":
    for name, joined in (("", False), ("joined", True)):
        results = after_training(2, joined=joined)
        save_checkpoint(Path(sys.argv[1]) / f"{os.environ['RANK']}of{process_count()}{name}.safetensors", results, {})
