"""What a solver answers: a status, a point, and a certificate that says how good the point is.

A certificate's ``bound`` is a true bound on the optimum of the program that was solved, or None where none is known: a
Frank-Wolfe gap of a non-convex loss measures stationarity and is never put there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from solvers.arrays import FloatArray


class Status(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"  # proven, to the tolerance the solver states
    FEASIBLE = "feasible"  # fits, not proven best
    INFEASIBLE = "infeasible"  # nothing fits, proven
    VIOLATED = "violated"  # an unsafe baseline answered with a point that does not fit
    TIME_LIMIT = "time limit"  # stopped early; the point, if any, fits


class SolverError(RuntimeError):
    """A solver could not answer: a failed numerical method or a back end that reports an error."""


class CertificateError(RuntimeError):
    """A certificate does not hold against the raw data. The message says which of its claims is wrong, with the numbers."""


class InfeasibleError(ValueError):
    """Nothing fits the budget. The message names the budget and the least cost there is."""


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """Evidence for an answer, in the units of the objective as the caller stated it.

    Attributes:
        primal: objective of the answer.
        bound: nothing feasible is better than this (an upper bound when maximizing, a lower one when minimizing); None if unknown.
        violation: greatest excess over a budget, in its own unit; 0.0 if the answer fits.
        dual: one multiplier a budget (objective per unit of the budget), or None.
        maximize: the sense of the objective.
    """

    primal: float
    bound: float | None
    violation: float
    dual: FloatArray | None
    maximize: bool

    @property
    def gap(self) -> float | None:
        """``|bound - primal|`` clipped at 0 against rounding; None where no bound is known."""
        if self.bound is None:
            return None
        return max(0.0, self.bound - self.primal if self.maximize else self.primal - self.bound)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A point and its evidence. ``x`` is None only where no point exists or none was found."""

    x: FloatArray | None
    status: Status
    certificate: Certificate | None
    iterations: int
    seconds: float
    message: str = ""

    def require_feasible(self) -> Result:
        """Return self if it holds a point that fits.

        Raises:
            InfeasibleError: nothing fits, or the point violates a budget; with the numbers.
        """
        if self.x is None or self.certificate is None or self.status in (Status.INFEASIBLE, Status.VIOLATED):
            raise InfeasibleError(self.message or f"no feasible point: {self.status}")
        return self


class _OpenCertificate:
    """The slots of a Certificate, not yet frozen."""

    __slots__ = ("bound", "dual", "maximize", "primal", "violation")


class _OpenResult:
    """The slots of a Result, not yet frozen."""

    __slots__ = ("certificate", "iterations", "message", "seconds", "status", "x")


_OPTIMAL = Status.OPTIMAL


def minimized(x: FloatArray, primal: float, bound: float, violation: float, dual: FloatArray, began: float) -> Result:
    """The Result of a minimization solved to optimality at once, and ``began`` (``time.perf_counter``) at that time.

    For oracles that answer in microseconds: the constructor of a frozen dataclass takes 0.1 us a field, so the fields are set on an
    object with the same slots, which then becomes the frozen one.
    """
    evidence: Any = _OpenCertificate()
    evidence.primal, evidence.bound, evidence.violation, evidence.dual = primal, bound, violation, dual
    evidence.maximize = False
    evidence.__class__ = Certificate
    answer: Any = _OpenResult()
    answer.x, answer.status, answer.certificate, answer.iterations, answer.message = x, _OPTIMAL, evidence, 1, ""
    answer.seconds = time.perf_counter() - began
    answer.__class__ = Result
    result: Result = answer
    return result
