"""Options that span several consecutive groups: a chain of layers cut into spans, one option for each span.

A replacement may stand for one layer or for a run of them (Puzzle's blocks that replace several). A selection covers every layer of
the chain exactly once; scores and costs add up over the options taken. As a program: ``max scores @ x`` over binary x with one
equality row a layer, the sum of the options that cover it, and the budgets. Its rows of consecutive ones make the program without
budgets a shortest path; with budgets it goes to a mixed-integer solver, held strictly.

Reference: Bercovich et al., Puzzle: Distillation-based NAS for inference-optimized LLMs, 2024 (the mixed-integer program).
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.backends import BinaryAnswer, BinaryProgram, MilpBackend, maximize_binary
from solvers.knapsack import exact_sum
from solvers.results import CertificateError, InfeasibleError, SolverError, Status
from solvers.selection import Selection, SelectionCertificate
from solvers.tables import ScoreTable, read_table

_TOLERANCE = 1e-9  # of HiGHS, on an objective scaled to 1


@dataclass(frozen=True, slots=True, eq=False)
class ChainCertificate(SelectionCertificate):
    """A certificate of :func:`project_chain`: ``spans`` are the runs of layers that the ``choices`` stand for, in order."""

    chain: tuple[Hashable, ...] = ()
    spans: tuple[tuple[Hashable, ...], ...] = ()

    def verify(self, scores: Any, costs: Any, budget: Any) -> ChainCertificate:
        """Recheck every claim against the data, the bound by solving again with scipy's mixed-integer solver; returns self.

        Raises:
            CertificateError: a claim is wrong, or its bound could not be confirmed.
            ValueError: the data are malformed.
        """
        program = _Chain.read(self.chain, scores, costs, budget, not self.maximize)
        if tuple(layer for span in self.spans for layer in span) != self.chain:
            raise CertificateError("the spans do not cover the chain once, in order")
        try:
            flat = np.array([program.position(span, one) for span, one in zip(self.spans, self.choices, strict=True)])
        except ValueError as error:
            raise CertificateError(str(error)) from error
        value = exact_sum(program.table.scores[flat])
        if not math.isclose(value, self.primal, rel_tol=1e-12, abs_tol=1e-12 * exact_sum(np.abs(program.table.scores[flat]))):
            raise CertificateError(f"the choices are worth {value!r}, the certificate says {self.primal!r}")
        if (excess := program.table.excess(flat)) > 0.0 or self.violation != 0.0:
            raise CertificateError(f"a budget is exceeded by {excess!r}, the certificate says {self.violation!r}")
        sign = 1.0 if self.maximize else -1.0
        bound, tolerance = sign * (math.nan if self.bound is None else self.bound), 2.0 * _TOLERANCE * program.size
        answer = program.solve("scipy", None)
        if not sign * value <= bound + tolerance or not max(answer.value, answer.bound) <= bound + tolerance:
            raise CertificateError(
                f"the bound {self.bound!r} is none, or was not confirmed: others may reach {sign * answer.value!r}"
            )
        return self


def project_chain(
    chain: Sequence[Hashable],
    scores: Mapping[Any, Mapping[Hashable, float]],
    costs: Any,
    budget: Any,
    *,
    minimize: bool = False,
    time_limit_seconds: float | None = None,
    backend: MilpBackend = "highs",
) -> Selection:
    """Cover a chain of layers by options for one layer or several consecutive ones, so that the summed score is greatest.

    Args:
        chain: the layers in order.
        scores: ``{span: {option: score}}``, a span being a layer, or a tuple of consecutive layers; -inf forbids (+inf with
            ``minimize``).
        costs: like ``scores``, not negative; with several budgets a mapping of budget names to such. Infinite forbids.
        budget: a number in the unit of the costs, or a mapping of the same names to numbers; infinite is none.
        minimize: the scores are losses.
        time_limit_seconds: stop then with the best selection so far and its true gap.
        backend: "highs" or "scipy"; budgets are held strictly by both.

    Returns:
        A selection whose ``groups`` are the spans that were chosen, as tuples of layers, with an option for each.

    Raises:
        InfeasibleError: nothing fits; it names the budget and the least cost there is.
        ValueError: malformed input, or a span that is no run of the chain.
        SolverError: the back end fails, or finds nothing within the time limit.

    Example:
        >>> loss = {0: {"a": 0.1, "b": 0.4}, 1: {"a": 0.3, "b": 0.5}, 2: {"a": 0.1, "b": 0.4}, (0, 1): {"pair": 0.2}}
        >>> cost = {0: {"a": 2, "b": 1}, 1: {"a": 2, "b": 1}, 2: {"a": 2, "b": 1}, (0, 1): {"pair": 2}}
        >>> project_chain([0, 1, 2], loss, cost, 4.0, minimize=True).by_group
        {(0, 1): 'pair', (2,): 'a'}
    """
    began = time.perf_counter()
    program = _Chain.read(chain, scores, costs, budget, minimize)
    program.require_possible()
    answer = program.solve(backend, time_limit_seconds)
    if answer.support is None:
        if answer.status is Status.INFEASIBLE:
            raise InfeasibleError("nothing fits: each budget can be met alone but not all together")
        raise SolverError(f"{backend}: no selection found within {time_limit_seconds} s; allow more time")
    table = program.table
    flat = answer.support[np.argsort(program.first[answer.support])]
    value, sign = exact_sum(table.scores[flat]), -1.0 if minimize else 1.0
    bound = max(sign * value, answer.bound)
    totals = [table.cost(row, flat) for row in range(len(table.costs))]
    spans = tuple(program.spans[group] for group in (np.searchsorted(table.offsets, flat, side="right") - 1).tolist())
    choices = tuple((table.options or ())[option] for option in flat.tolist())
    close = bound - sign * value <= 1e-9 * max(1.0, abs(value))
    status = Status.OPTIMAL if close else answer.status if answer.status is Status.TIME_LIMIT else Status.FEASIBLE
    cost: float | Mapping[Hashable, float] = totals[0]
    if table.budget_names is not None:
        cost = MappingProxyType(dict(zip(table.budget_names, totals, strict=True)))
    certificate = ChainCertificate(value, sign * bound, 0.0, None, not minimize, choices, chain=program.chain, spans=spans)
    return Selection(choices, value, cost, status, certificate, time.perf_counter() - began, spans)


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """The program in flat arrays; ``first`` and ``last`` (n,) are the positions in the chain that each option covers."""

    chain: tuple[Hashable, ...]
    spans: tuple[tuple[Hashable, ...], ...]
    table: ScoreTable
    first: IntArray
    last: IntArray
    minimize: bool

    @classmethod
    def read(cls, chain: Sequence[Hashable], scores: Any, costs: Any, budget: Any, minimize: bool) -> _Chain:
        layers = tuple(chain)
        where = {layer: position for position, layer in enumerate(layers)}
        if not layers or len(where) < len(layers):
            raise ValueError(f"chain: expected one layer or more, each once, got {layers!r}")
        if not isinstance(scores, Mapping):
            raise ValueError(f"scores: expected a mapping of spans to options, got {type(scores).__name__}")
        limits = list(budget.values()) if isinstance(budget, Mapping) else [budget]
        if any(isinstance(limit, (str, tuple, list)) for limit in limits):
            raise ValueError(f"budget: expected limits from above as numbers, got {budget!r}")
        table = read_table(scores, costs, budget, minimize=minimize)
        spans = []
        for key in scores:
            span = (key,) if key in where else key
            if not isinstance(span, tuple) or not span or any(layer not in where for layer in span):
                raise ValueError(f"scores: {key!r} is neither a layer of the chain nor a tuple of its layers")
            if [where[layer] for layer in span] != list(range(where[span[0]], where[span[0]] + len(span))):
                raise ValueError(f"scores: the layers {key!r} are not consecutive in the chain")
            if span in spans:
                raise ValueError(f"scores: the span {span!r} is given twice")
            spans.append(span)
        sizes = np.diff(table.offsets)
        first = np.repeat([where[span[0]] for span in spans], sizes)
        last = np.repeat([where[span[-1]] for span in spans], sizes)
        return cls(layers, tuple(spans), table, first, last, minimize)

    @property
    def size(self) -> float:
        """The greatest score of an option in size: the scale of the objective."""
        scores = self.table.scores
        return float(np.abs(scores[np.isfinite(scores)]).max(initial=0.0)) or 1.0

    def position(self, span: tuple[Hashable, ...], option: Hashable) -> int:
        """The flat position of an allowed option."""
        if span in self.spans:
            group = self.spans.index(span)
            first, last = int(self.table.offsets[group]), int(self.table.offsets[group + 1])
            names = (self.table.options or ())[first:last]
            if option in names and self.table.allowed()[position := first + names.index(option)]:
                return position
        raise ValueError(f"the span {span!r} has no option {option!r} that is allowed")

    def require_possible(self) -> None:
        """Every budget can be met by itself.

        Raises:
            InfeasibleError: the chain cannot be covered, or a budget is below its least cost.
        """
        allowed = self.table.allowed()
        for row, limit in enumerate(self.table.budgets.tolist()):
            label = self.table.budget_label(row)
            units = self.table.costs[row] * self.table.units()[row]
            units = units if self.table.places[row] is None else np.rint(units)
            least = [0.0] + [math.inf] * len(self.chain)
            for end in range(len(self.chain)):  # the cheapest cover of the first layers
                options = np.flatnonzero(allowed & (self.last == end)).tolist()
                least[end + 1] = min((least[int(self.first[o])] + float(units[o]) for o in options), default=math.inf)
            if least[-1] == math.inf:
                end = next(end for end in range(len(self.chain)) if least[end + 1] == math.inf)
                raise InfeasibleError(f"nothing fits: no allowed options cover the chain up to the layer {self.chain[end]!r}")
            if (cost := self.table.stated(row, least[-1])) > limit * (1.0 + 1e-12):
                raise InfeasibleError(f"nothing fits: {label} is {limit!r}, the least possible cost is {cost!r}")

    def solve(self, backend: MilpBackend, time_limit_seconds: float | None) -> BinaryAnswer:
        """The best cover: support and bound, in the table's positions and (maximized) values."""
        table, kept = self.table, np.flatnonzero(self.table.allowed())
        values = (-table.scores if self.minimize else table.scores)[kept]
        covered = [np.flatnonzero((self.first[kept] <= at) & (at <= self.last[kept])) for at in range(len(self.chain))]
        starts = np.concatenate([[0], np.cumsum([len(options) for options in covered])])
        indices, ones = np.concatenate(covered), np.ones(len(self.chain))
        costs, budgets = table.costs[:, kept] * table.units()[:, None], table.budgets * table.units()
        for row, places in enumerate(table.places):
            if places is not None:
                costs[row], budgets[row] = np.rint(costs[row]), np.rint(budgets[row])
        rows: tuple[IntArray, IntArray, FloatArray, FloatArray] = starts, indices, np.ones(len(indices)), ones
        program = BinaryProgram(values / self.size, *rows, costs, np.zeros(len(budgets)), budgets)
        answer = maximize_binary(program, backend=backend, time_limit_seconds=time_limit_seconds)
        if answer.support is None:
            return answer
        value = exact_sum(values[answer.support])
        bound = value + self.size * max(0.0, answer.bound - answer.value)
        return BinaryAnswer(answer.status, kept[answer.support], value, bound, answer.cuts)
