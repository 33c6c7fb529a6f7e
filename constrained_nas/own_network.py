"""Search a network of one's own from Python, in one call: choices inside it, data, budgets; a trained network that fits comes back.

The command ``search FILE.py:CALLABLE`` does the same in a folder that can be resumed and reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import networkx as nx
import torch
from torch import Tensor, nn

from constrained_nas.ask_tell import SearchResult
from constrained_nas.budgets import read_amount
from constrained_nas.data import DataSplits
from constrained_nas.latency import Progress, Timer, automatic_clock
from constrained_nas.runs import (
    RunSettings,
    check_feasible,
    costs_of,
    fit_found,
    make_problem,
    plan_of,
    search_problem,
    train_prepared,
    trained_network,
    untrained,
)
from constrained_nas.runs.families import ChoiceFamily, DagFamily, Family, measure_option_table
from graphs import ChoiceSpace, DagSpace, choice_space

_PLACE = "network.py:given"  # what a command would call it


@dataclass(frozen=True, slots=True, eq=False)
class FoundNetwork:
    """What :func:`search_network` found.

    Attributes:
        network: with its weights, in evaluation mode.
        choices: the option of every decision.
        costs: by name, of all costs that the space knows; budgets are met.
        accuracy: on the test images, in %.
        measured_ms: the median on the device, where the latency was limited.
        result: the search's own answer, with its certificate.
        example: a few test images, to export the network with.
    """

    network: nn.Module
    choices: dict[str, Any]
    costs: dict[str, float]
    accuracy: float
    measured_ms: float | None
    result: SearchResult
    example: Tensor


def search_network(
    network: nn.Module | ChoiceSpace | nx.MultiDiGraph | DagSpace,
    data: str | DataSplits = "digits",
    budgets: Mapping[str, float | str] | None = None,
    *,
    threads: int = 1,
    progress: Progress | None = None,
    **settings: Any,
) -> FoundNetwork:
    """Train all options of a network together, choose the best that fits all budgets, and train it further.

    Args:
        network: a module with :class:`graphs.Choice` in it, or a graph with decisions (:class:`graphs.DagSpace`).
        data: an image folder with train/ and val/, ``cifar10``, ``digits``; or splits of one's own, images (channels, side, side).
        budgets: by ``params``, ``macs``, ``size`` or ``latency_ms``: numbers, or texts such as ``"5M"`` and ``"2ms"``. A latency
            is measured on this machine, option by option, and the found network as a whole until it fits with 95 % confidence.
        threads: that the latency is about.
        progress: told (steps done, steps in all, what).
        settings: as of the command ``search``: ``epochs``, ``train_epochs``, ``fine_tune_epochs``, ``resolution``, ``seed`` ...

    Raises:
        ValueError: no choices, or a budget on a cost that the space does not know.
        InfeasibleError: nothing fits; with the least cost there is.

    Example:
        >>> from graphs import Choice
        >>> options = {"conv": nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()), "skip": nn.Identity()}
        >>> head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3, 2), Choice("block", options), *head)
        >>> quick = {"training_digits": 100, "draws": 1, "warm_up": 1, "train_epochs": 1, "evaluations": 8, "fine_tune_epochs": 1}
        >>> found = search_network(net, "digits", {"params": "0.5K"}, resolution=16, batch_size=16, **quick)
        >>> found.choices, found.costs["params"]
        ({'block': 'skip'}, 170.0)
    """
    limits = {name: read_amount(limit, name) if isinstance(limit, str) else float(limit) for name, limit in (budgets or {}).items()}
    kind: type[Family] = DagFamily if isinstance(network, nx.Graph | DagSpace) else ChoiceFamily
    given = None
    if isinstance(data, DataSplits):
        given, settings = data, {"resolution": data.resolution, **settings}
    named = data if isinstance(data, str) else "digits"
    asked = RunSettings(space=_PLACE, budget=tuple(f"{name}={limit!r}" for name, limit in limits.items()), data=named, **settings)
    plan = plan_of(asked, kind)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        prepared = untrained(plan, place, lambda found: _family(network, found), given)
        family, table = prepared.family, None
        parts = family.parts() if "latency_ms" in limits else None
        if parts is not None:
            timer = Timer(1, threads, "cpu", clock=automatic_clock("cpu", threads))
            table = measure_option_table(parts, timer, seed=asked.seed, progress=progress)[0]
        costs = costs_of(family, table)
        problem = make_problem(family, limits, costs)
        check_feasible(plan, family, problem, costs)
        train_prepared(prepared, progress)
        found = search_problem(prepared, problem, costs, prepared.saved("search", progress))
        result, median = found.result, None
        if table is not None:
            result, measured, _ = fit_found(prepared, problem, found, table, progress)
            median = measured.median
        trained, accuracy = trained_network(prepared, found.supernet, result.architecture, "network", progress)
        example = torch.stack([prepared.data.test[place][0] for place in range(2)])
    described = family.decisions.describe(result.architecture)
    priced = {name: cost.cost(result.architecture) for name, cost in costs.items()}
    return FoundNetwork(trained.cpu(), dict(described), priced, accuracy, median, result, example)


def _family(network: nn.Module | ChoiceSpace | nx.MultiDiGraph | DagSpace, data: DataSplits) -> Family:
    if isinstance(network, ChoiceSpace):
        return ChoiceFamily(network)
    if isinstance(network, DagSpace):
        return DagFamily(network)
    if isinstance(network, nx.Graph):
        return DagFamily(DagSpace("own", network))
    return ChoiceFamily(choice_space(network, torch.zeros(2, data.image_channels, data.resolution, data.resolution), "own"))
