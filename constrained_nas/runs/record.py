"""The record of one search from the command line: what was asked, what was found, and how good it is; versioned JSON.

A run is a folder. ``run.json`` is this record; beside it lie ``architecture.json`` (see ``constrained_nas.records``),
``network.safetensors`` (the found network's weights) and, while a search is under way, its checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import DeviceAttempt
from constrained_nas.problem import SearchProblem
from constrained_nas.records import BudgetRecord
from constrained_nas.runs.settings import SETTINGS_FILE, no_run_hint
from graphs import Architecture
from graphs.costs import CostModel
from graphs.files import Record, load_json, save_json


class CertificateRecord(Record):
    """``primal`` is the projection's objective at the answer, nothing feasible is better than ``bound`` (None: no bound known).

    ``prices`` holds one multiplier a budget, by its cost's name: what a unit more of it would bring.
    """

    primal: float
    bound: float | None
    gap: float | None = Field(default=None, ge=0)
    violation: float
    maximize: bool = Field(validation_alias=AliasChoices("maximize", "maximise"))  # as records of 0.1 before the release have it
    prices: dict[str, float] = Field(default_factory=dict)


class MeasuredBudget(Record):
    """The latency of the found network on the device, in ``unit``: the median of ``samples`` passes and its upper bound.

    ``fits`` says whether the median is within the budget with ``confidence``; ``attempts`` are all networks that were measured.
    """

    cost: str
    unit: str
    limit: float
    median: float
    bound: float
    samples: int
    fits: bool
    confidence: float
    attempts: tuple[DeviceAttempt, ...]


class NetworkRecord(Record):
    """A network: its choices, what it costs (estimates, by name, with units), and its test accuracy in % where it was tested."""

    name: str
    choices: dict[str, str | dict[str, int]] = Field(max_length=5000)
    costs: dict[str, float] = Field(max_length=100)
    accuracy: float | None = Field(default=None, ge=0, le=100)


class NearbyRecord(Record):
    """What the search would have ended in with another limit on one budget, by the same scores.

    ``score`` is the projection's objective (None without a certificate), ``changes`` the options that differ from the found
    network's: {decision: option}.
    """

    cost: str
    limit: float
    costs: dict[str, float] = Field(max_length=100)
    score: float | None = None
    changes: dict[str, str | dict[str, int]] = Field(max_length=5000)


class ImageShape(Record):
    """What a network was built for besides the resolution, which is a setting."""

    classes: int = Field(ge=1, le=1_000_000)
    channels: int = Field(ge=1, le=1024)


class RunRecord(Record):
    """A search from start to end.

    Attributes:
        space, method, data, seed: what was searched, how, on what.
        settings: every option of the command, as given or by default.
        budgets: what each asked for and what the found network costs by the table or count.
        measured: the same on the device, for latency budgets; None where nothing was measured.
        found: the network of the search, after fine-tuning or training.
        references: networks to hold it against (cheapest, largest, random, uniform), tested alike.
        units: of the costs.
        certificate: of the final projection; None for methods without one.
        nearby: what the search would have ended in under other limits.
        history: an entry an epoch of the search.
        seconds: of every part.
        remarks: what a reader should know besides.
        versions: of the libraries.
        machine: what it ran on.
        images: of the data, so that the space can be built again without them.
        files: the sha256 of every file that belongs to the record, by name; empty in records of version 1.
    """

    kind: Literal["run"] = "run"
    schema_version: Literal[1, 2] = 2
    space: str
    method: str
    data: str
    seed: int
    settings: dict[str, Any]
    budgets: tuple[BudgetRecord, ...]
    measured: MeasuredBudget | None = None
    found: NetworkRecord
    references: tuple[NetworkRecord, ...] = Field(default=(), max_length=100)
    units: dict[str, str]
    certificate: CertificateRecord | None = None
    nearby: tuple[NearbyRecord, ...] = Field(default=(), max_length=1000)
    history: tuple[dict[str, Any], ...] = Field(default=(), max_length=100_000)
    seconds: dict[str, float] = Field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    machine: str = ""
    images: ImageShape | None = None
    files: dict[str, str] = Field(default_factory=dict)


def save_run(record: RunRecord, folder: Path | str) -> Path:
    """Write ``run.json`` into a run's folder, whole or not at all, and return its path."""
    path = Path(folder) / "run.json"
    save_json(record, path)
    return path


def load_run(folder: Path | str) -> RunRecord:
    """Read the record of a run's folder.

    Raises:
        FileNotFoundError: the folder has no finished run.
        ValueError: the file is cut off, or is no record of this kind and version.
    """
    path = Path(folder) / "run.json"
    if not path.exists():
        if (Path(folder) / SETTINGS_FILE).exists():
            raise FileNotFoundError(
                f"{folder}: no search has ended there: constrained-nas resume {folder} continues the one that began"
            )
        raise FileNotFoundError(f"{folder}: no search has ended there, and none has begun{no_run_hint(folder)}")
    return load_json(path, RunRecord, "record of a run")


def network_record(
    problem: SearchProblem, costs: Mapping[str, CostModel], name: str, architecture: Architecture, accuracy: float | None
) -> NetworkRecord:
    """An architecture with its ``costs`` (by the names they are to have) and its test accuracy in %, None if it was not tested."""
    prices = {cost: model.cost(architecture) for cost, model in costs.items()}
    return NetworkRecord(name=name, choices=problem.space.describe(architecture), costs=prices, accuracy=accuracy)


def certificate_record(problem: SearchProblem, result: SearchResult) -> CertificateRecord | None:
    """The projection's certificate, with a price for every budget where the solver gave them; None without a certificate."""
    certificate = result.certificate
    if certificate is None:
        return None
    names = [budget.cost.name for budget in problem.budgets]
    dual = None if certificate.dual is None else certificate.dual.tolist()
    prices = dict(zip(names, dual, strict=True)) if dual is not None and len(dual) == len(names) else {}
    return CertificateRecord(
        primal=certificate.primal,
        bound=certificate.bound,
        gap=certificate.gap,
        violation=certificate.violation,
        maximize=certificate.maximize,
        prices=prices,
    )
