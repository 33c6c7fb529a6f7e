"""What the final projection of a search maximized or minimized, kept so that its certificate can be computed again.

``objective.safetensors`` lies in the run's folder: an offset, a score for every option of the space in order, and (of the pairwise
surrogate) one for every pair; or the log probability of every operation of a filter, of which there are many in a decision. A
certificate's value is that of the found network there. Its bound cannot be proven again so cheaply, but it can be refuted: by a
network that fits and is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from pathlib import Path

import numpy as np
import torch

from constrained_nas.ask_tell import Objective
from constrained_nas.methods.filter_level import LikelyCounts
from constrained_nas.runs.record import CertificateRecord
from constrained_nas.training import load_checkpoint, save_checkpoint
from graphs import Architecture, SearchSpace
from graphs.costs import CostModel
from solvers import Quadratic
from solvers.arrays import FloatArray

OBJECTIVE_FILE = "objective.safetensors"
_ROUNDING = 1e-6  # of the value: solvers prove to a tolerance, and sum in another order
_MOST = 1_000  # options of a space whose networks one change away are tried


def save_objective(objective: Objective, path: Path) -> None:
    """Write the file.

    Raises:
        TypeError: an objective of a kind that no method has.
    """
    if isinstance(objective, LikelyCounts):
        parts = {"log_probabilities": objective.log_probabilities}
    elif isinstance(objective, Quadratic):
        parts = {"offset": np.array([objective.offset]), "linear": objective.linear}
        if objective.theta.any():
            parts["theta"] = objective.theta
    else:
        raise TypeError(f"expected a Quadratic or LikelyCounts, got {type(objective).__name__}")
    save_checkpoint(path, {name: torch.tensor(part, dtype=torch.float64) for name, part in parts.items()}, {})


def load_objective(path: Path, space: SearchSpace) -> Objective:
    """Read the file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of another space.
    """
    tensors, _ = load_checkpoint(path)
    shapes, dimension = {name: tuple(tensor.shape) for name, tensor in tensors.items()}, space.blocks.dimension
    many = any(decision.units != 1 for decision in space.decisions)
    if many and shapes == {"log_probabilities": (len(space.decisions), len(space.decisions[0].options))}:
        logs = tensors["log_probabilities"].numpy()
        if np.isfinite(logs).all() and logs.max() <= 0 and (np.exp(logs).sum(1) <= 1 + _ROUNDING).all():
            return LikelyCounts(logs)
        raise ValueError(f"{path}: no log probabilities: finite numbers, and of one decision at most 1 in all")
    if {"theta": (dimension, dimension)} | shapes != {"offset": (1,), "linear": (dimension,), "theta": (dimension, dimension)}:
        raise ValueError(f"{path}: of another space than the run's, which has {dimension} options")
    return Quadratic.of(float(tensors["offset"]), *(tensors[name].numpy() for name in ("linear", "theta") if name in tensors))


def contradictions(
    certificate: CertificateRecord,
    objective: Objective,
    space: SearchSpace,
    found: Architecture,
    others: Mapping[str, Architecture],
    limits: Mapping[CostModel, float],
    free: bool,
) -> Iterator[str]:
    """What the certificate says and is not so.

    Args:
        certificate: of the record.
        objective: see the module.
        space: that was searched.
        found: the network of the certificate.
        others: networks that must not be better than the bound where they fit, by name.
        limits: of the projection, by cost.
        free: whether any option of a decision goes with any of the others; then networks one change away are tried too.
    """
    point = space.point(found)
    value, rounding = objective.value(point), _ROUNDING * max(1.0, abs(certificate.primal))
    if abs(value - certificate.primal) > rounding:
        yield f"the certificate's value is {certificate.primal:.10g}, and {value:.10g} by computing it"
        return
    if certificate.bound is None:
        return
    sign = 1.0 if certificate.maximize else -1.0
    tried = {name: space.point(architecture) for name, architecture in others.items()}
    if free and len(point) <= _MOST:
        tried |= {f"the found one with {name}": other for name, other in _one_change(space, point)}
    for name, other in tried.items():
        if sign * (objective.value(other) - certificate.bound) <= rounding:
            continue
        architecture = space.architecture(other)
        if all(cost.cost(architecture) <= limit for cost, limit in limits.items()):
            better = f"no network within the budgets is better than {certificate.bound:.10g}"
            yield f"the certificate says that {better}, and {name} has {objective.value(other):.10g}"
            return


def _one_change(space: SearchSpace, point: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    for decision in space.decisions:
        where = space.slice(decision.name)
        if decision.units != 1:  # a unit moves from one option to another
            for source, target in permutations(range(len(decision.options)), 2):
                if point[where][source]:
                    other = point.copy()
                    other[where][[source, target]] += -1.0, 1.0
                    yield f"a unit of {decision.name} at {decision.options[target]}, not {decision.options[source]}", other
            continue
        for place, option in enumerate(decision.options):
            if not point[where][place]:
                other = point.copy()
                other[where] = np.eye(len(decision.options))[place]
                yield f"{decision.name}: {option}", other
