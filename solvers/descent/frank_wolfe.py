"""Frank-Wolfe: minimize a smooth function over a set that is known only by its linear minimization oracle.

Every step goes towards a vertex (or away from one, or from one to another), so every iterate is a convex combination of vertices
and feasible by construction: no projection, no penalty. The Frank-Wolfe gap ``max_s gradient @ (x - s)`` bounds the error of a
convex objective; of any other it only measures stationarity.

Reference: Frank and Wolfe, 1956; Jaggi, Revisiting Frank-Wolfe, 2013; Lacoste-Julien and Jaggi, On the global linear convergence of
Frank-Wolfe optimization variants, 2015 (Algorithms 1 and 2); Nayman et al., HardCoRe-NAS, Algorithm 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from solvers.arrays import FloatArray
from solvers.descent.oracles import LinearOracle
from solvers.descent.step_rules import Step, StepRule, open_loop
from solvers.results import Certificate, Result, SolverError, Status

Variant = Literal["vanilla", "away", "pairwise"]


@dataclass(frozen=True, slots=True, eq=False)
class ActiveSet:
    """A point as a convex combination: ``weights`` (k,) > 0 that sum to 1, of ``vertices`` (k, n)."""

    weights: FloatArray
    vertices: FloatArray

    @property
    def point(self) -> FloatArray:
        """The combination, shape (n,)."""
        return self.weights @ self.vertices


@dataclass(frozen=True, slots=True, eq=False)
class Iterate:
    """What a callback sees: the point before step ``iteration`` (from 0), its gap, and its objective where one was given."""

    iteration: int
    x: FloatArray
    gap: float
    objective: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A result and how it came about.

    Attributes:
        result: the last point; its certificate's bound is set only for an objective declared convex.
        gaps: (iterations + 1,) Frank-Wolfe gap of each iterate, the last one's included.
        steps: (iterations,) step sizes taken.
        objectives: (iterations + 1,), or None where no objective was given.
    """

    result: Result
    gaps: FloatArray
    steps: FloatArray
    objectives: FloatArray | None


def frank_wolfe(
    gradient: Callable[[FloatArray], FloatArray],
    oracle: LinearOracle,
    start: FloatArray | ActiveSet,
    *,
    iterations: int,
    step_rule: StepRule | None = None,
    variant: Variant = "vanilla",
    objective: Callable[[FloatArray], float] | None = None,
    convex: bool = False,
    tolerance: float = 0.0,
    callback: Callable[[Iterate], bool | None] | None = None,
) -> Run:
    """Minimize from ``start`` over the set of ``oracle``.

    Args:
        gradient: gradient of the objective, (n,) -> (n,).
        oracle: any object with ``minimize(gradient) -> Result``.
        start: a feasible point (n,), or a combination of points to step away from. The away and pairwise variants treat a plain
            point as one atom.
        iterations: at most so many steps.
        step_rule: see ``solvers.descent.step_rules``; None means ``open_loop(2)``. The variants need a line search or short steps
            to gain anything.
        variant: "vanilla" steps towards a vertex; "away" may step away from the worst atom; "pairwise" moves weight from the worst
            atom to the new vertex.
        objective: only for line searches, histories and certificates.
        convex: the caller's word that the objective is convex: only then is the gap a bound (``primal - gap``).
        tolerance: stop when the gap is this small, in units of the objective.
        callback: called before each step; True stops.

    Returns:
        The run. Status is OPTIMAL where ``convex`` and the gap met the tolerance, INFEASIBLE where the oracle's set is empty, else
        FEASIBLE. The certificate's primal is NaN where no objective was given; its violation is 0 by construction, if the start
        fits.

    Raises:
        ValueError: an unknown variant, negative iterations, a start of another shape than the gradient.
        SolverError: the gradient is NaN or infinite.

    Example:
        >>> from solvers import Blocks, SimplexOracle, exact_line_search
        >>> oracle, start = SimplexOracle(Blocks.of([2])), np.array([1.0, 0.0])
        >>> frank_wolfe(lambda x: 2 * x, oracle, start, iterations=9, step_rule=exact_line_search()).result.x.tolist()
        [0.5, 0.5]
    """
    if variant not in ("vanilla", "away", "pairwise"):
        raise ValueError(f"variant: expected 'vanilla', 'away' or 'pairwise', got {variant!r}")
    if iterations < 0:
        raise ValueError(f"iterations: expected 0 or more, got {iterations}")
    began = time.perf_counter()
    rule = open_loop(2) if step_rule is None else step_rule
    atoms = _Atoms(start) if variant != "vanilla" or isinstance(start, ActiveSet) else None
    x = atoms.point() if atoms is not None else np.array(start, dtype=np.float64)
    gaps: list[float] = []
    steps: list[float] = []
    objectives: list[float] = []
    for iteration in range(iterations + 1):
        slope = np.asarray(gradient(x), dtype=np.float64)
        if slope.shape != x.shape:
            raise ValueError(f"gradient: expected shape {x.shape} like the start, got {slope.shape}")
        if not np.isfinite(slope).all():
            raise SolverError(f"the gradient is not finite at iteration {iteration}")
        answer = oracle.minimize(slope)
        if answer.x is None:
            result = Result(None, answer.status, None, iteration, time.perf_counter() - began, answer.message)
            return Run(result, np.array(gaps), np.array(steps), np.array(objectives) if objective else None)
        gap = max(0.0, float(slope @ (x - answer.x)))
        gaps.append(gap)
        if objective is not None:
            objectives.append(float(objective(x)))
        seen = Iterate(iteration, x, gap, objectives[-1] if objective is not None else None)
        stop = callback is not None and callback(seen) is True
        if stop or gap <= tolerance or iteration == iterations:
            break
        if atoms is None or variant == "vanilla":
            direction, largest = answer.x - x, 1.0
            size = rule(Step(iteration, x, direction, gap, largest, gradient, objective))
            x = x + size * direction
        else:
            x, size = _variant_step(variant, atoms, answer.x, x, slope, gap, iteration, rule, gradient, objective)
        steps.append(size)
    proven = convex and gaps[-1] <= tolerance
    primal = objectives[-1] if objectives else math.nan
    bound = primal - gaps[-1] if convex and objectives else None
    certificate = Certificate(primal, bound, 0.0, None, maximize=False)
    status = Status.OPTIMAL if proven else Status.FEASIBLE
    result = Result(x, status, certificate, len(steps), time.perf_counter() - began)
    return Run(result, np.array(gaps), np.array(steps), np.array(objectives) if objective is not None else None)


def _variant_step(
    variant: Variant,
    atoms: _Atoms,
    towards: FloatArray,
    x: FloatArray,
    slope: FloatArray,
    gap: float,
    iteration: int,
    rule: StepRule,
    gradient: Callable[[FloatArray], FloatArray],
    objective: Callable[[FloatArray], float] | None,
) -> tuple[FloatArray, float]:
    """One step of Algorithm 1 (away) or 2 (pairwise) of Lacoste-Julien and Jaggi; the new point and the step."""
    worst = atoms.worst(slope)
    away = atoms.vertices[worst]
    away_gap = float(slope @ (away - x))
    weight = atoms.weights[worst]
    if variant == "pairwise":
        size = rule(Step(iteration, x, towards - away, gap + away_gap, weight, gradient, objective))
        atoms.shift(worst, towards, size)
    elif gap >= away_gap or len(atoms.vertices) == 1:
        size = rule(Step(iteration, x, towards - x, gap, 1.0, gradient, objective))
        atoms.towards(towards, size)
    else:
        size = rule(Step(iteration, x, x - away, away_gap, weight / (1.0 - weight), gradient, objective))
        atoms.away(worst, size)
    return atoms.point(), size


class _Atoms:
    """The active set while it changes: points with weights, found again by their bytes."""

    __slots__ = ("index", "vertices", "weights")

    def __init__(self, start: FloatArray | ActiveSet) -> None:
        given = start if isinstance(start, ActiveSet) else ActiveSet(np.ones(1), np.array(start, dtype=np.float64)[None])
        if given.weights.shape != given.vertices.shape[:1] or (given.weights < 0).any() or abs(given.weights.sum() - 1.0) > 1e-9:
            raise ValueError("ActiveSet: expected weights >= 0 that sum to 1, one a vertex")
        used = given.weights > 0
        self.vertices = [row.copy() for row in given.vertices[used]]
        self.weights: list[float] = given.weights[used].tolist()
        self.index = {vertex.tobytes(): place for place, vertex in enumerate(self.vertices)}

    def point(self) -> FloatArray:
        """The combination, recomputed so that no error of steps away can grow; weights are renormalized for the same reason."""
        weights = np.array(self.weights)
        weights /= weights.sum()
        self.weights = weights.tolist()
        return weights @ np.array(self.vertices)

    def worst(self, slope: FloatArray) -> int:
        """The atom the gradient likes least."""
        return int(np.argmax(np.array(self.vertices) @ slope))

    def towards(self, vertex: FloatArray, size: float) -> None:
        """Scale all weights by ``1 - size`` and give ``size`` to ``vertex``."""
        self.weights = [weight * (1.0 - size) for weight in self.weights]
        self._add(vertex, size)
        self._drop()

    def away(self, worst: int, size: float) -> None:
        """Scale all weights by ``1 + size`` and take ``size`` from the atom ``worst``."""
        self.weights = [weight * (1.0 + size) for weight in self.weights]
        self.weights[worst] -= size
        self._drop()

    def shift(self, worst: int, vertex: FloatArray, size: float) -> None:
        """Move ``size`` of weight from the atom ``worst`` to ``vertex``."""
        self.weights[worst] -= size
        self._add(vertex, size)
        self._drop()

    def _add(self, vertex: FloatArray, size: float) -> None:
        key = vertex.tobytes()
        if key not in self.index:
            self.index[key] = len(self.vertices)
            self.vertices.append(vertex.copy())
            self.weights.append(0.0)
        self.weights[self.index[key]] += size

    def _drop(self) -> None:
        """Forget atoms of no weight: a drop step leaves a rounding error (some ulps of 1) where 0 is meant."""
        kept = [place for place, weight in enumerate(self.weights) if weight > 1e-15]
        if len(kept) < len(self.weights):
            self.vertices = [self.vertices[place] for place in kept]
            self.weights = [self.weights[place] for place in kept]
            self.index = {vertex.tobytes(): place for place, vertex in enumerate(self.vertices)}
