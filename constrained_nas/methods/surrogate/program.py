"""The least of a pairwise function under several budgets: successive exact linearization, then exact swaps, and a true bound.

``min f(x) = c + b'x + x'Wx / 2`` over one-hot x within all budgets. Linearized at an architecture, the program is solved exactly
(the joint projection of solvers), at the answer again, until it stands still: every iterate fits. Then the best of all changes of
one or two decisions that fits is taken until none helps. The bound gives each option its share of the least couplings it could have
with every other decision, which leaves one linear program, solved exactly (Gilmore 1962, Lawler 1963, for quadratic assignment).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import cast

import numpy as np

from constrained_nas.problem import SearchProblem
from constrained_nas.selections import project_linear
from solvers import Quadratic, StagedBlocks, project_jointly, project_to_budget
from solvers.arrays import FloatArray

_LINEARIZATIONS, _SWAPS = 10, 200  # they stand still after a few; far more than that would be a cycle
_EXPANDED = 1000  # architectures whose neighbours are looked through for one that is not taken
_OURS = 1e-9  # of the spread of f: a change must help by more than rounding


@dataclass(slots=True, eq=False)
class PairwiseProgram:
    """The feasible architectures of a problem, and their least of a pairwise function.

    Build it with :meth:`of`. ``staged``: None where decisions do not depend on each other. ``whole``: every block always runs, so
    that costs are linear; ``prices`` are those of several budgets. ``all_taken``: when so many architectures were taken, none was
    left.
    """

    problem: SearchProblem
    staged: StagedBlocks | None
    costs: list[Quadratic]
    couplings: list[FloatArray]
    inside: FloatArray
    whole: bool
    prices: list[FloatArray] | None = None
    all_taken: float = np.inf

    @classmethod
    def of(cls, problem: SearchProblem, staged: StagedBlocks | None) -> PairwiseProgram:
        """Raises ValueError for a cost without a relaxed form."""
        costs, blocks = problem.quadratics("the pairwise surrogate"), problem.space.blocks
        number = np.repeat(np.arange(blocks.count), blocks.sizes)
        whole = staged is None or all(stage.depths == (len(stage.configurations),) for stage in staged.stages)
        program = cls(problem, staged, costs, [c.theta + c.theta.T for c in costs], number[:, None] == number, whole)
        if staged is not None and len(costs) > 1 and whole:
            program.prices = [staged.per_configuration(cost) for cost in costs]
        return program

    def projected(self, scores: FloatArray) -> tuple[FloatArray, float]:
        """The architecture of greatest score that fits, with a bound on the score, both exact.

        Raises:
            InfeasibleError: nothing fits.
        """
        if self.staged is None:
            return self._freely(scores)
        if self.prices is not None:  # several budgets without depths: the knapsack's own search is far faster than a general solver
            return self._selected(scores)
        found = project_jointly(self.staged, scores, self.costs, self.problem.limits).require_feasible()
        assert found.certificate is not None and found.certificate.bound is not None
        return self.canonical(cast(FloatArray, found.x)), found.certificate.bound

    def canonical(self, point: FloatArray) -> FloatArray:
        """The same network with the first option in blocks that do not run."""
        if self.staged is None or self.whole:
            return point
        runs = self.staged.runs().T @ point[self.staged.beta] > 0.5
        whole = point.copy()
        for block in np.flatnonzero(~runs):
            where = self.staged.blocks.slice(int(block))
            whole[where] = 0.0
            whole[where.start] = 1.0
        return whole

    def fits(self, point: FloatArray) -> bool:
        """By the costs themselves, as every result is checked."""
        return self.problem.fits(self.problem.space.architecture(point))

    def least(self, function: Quadratic, starts: Sequence[FloatArray], taken: Collection[bytes] = ()) -> FloatArray:
        """The best architecture found that fits, (dimension,), from each of ``starts`` (which fit).

        Args:
            function: in which no two options of a decision are coupled.
            starts: architectures that fit.
            taken: bytes of architectures that are not wanted; one is handed back only if all that lie around it are taken.
        """
        best, least = None, np.inf
        for start in starts:
            point = self._swapped(function, self._linearized(function, start))
            if (value := function.value(point)) < least:
                best, least = point, value
        assert best is not None, "expected at least one start"
        point = self.canonical(best)
        return point if point.tobytes() not in taken else self._new(function, point, taken)

    def bound(self, function: Quadratic) -> float:
        """A lower bound on the function over everything that fits."""
        share = function.theta + function.theta.T
        offsets = np.asarray(self.problem.space.blocks.offsets[:-1])
        least = np.minimum.reduceat(share, offsets, axis=1)  # (dimension, blocks)
        return function.offset - self.projected(-(function.linear + 0.5 * least.sum(1)))[1]

    def _freely(self, scores: FloatArray) -> tuple[FloatArray, float]:
        space = self.problem.space
        named = {d.name: dict(zip(d.options, scores[space.slice(d.name)].tolist(), strict=True)) for d in space.decisions}
        found = project_linear(self.problem, named)
        assert found.certificate is not None and found.certificate.bound is not None
        return space.point(found.architecture), found.certificate.bound

    def _selected(self, scores: FloatArray) -> tuple[FloatArray, float]:
        assert self.staged is not None
        blocks, width = self.staged.blocks, self.staged.alpha.stop
        parts = [scores[blocks.slice(b)] for b in range(blocks.count - len(self.staged.stages))]
        depths = float(scores[width:].sum())
        assert self.prices is not None
        tables = {}
        for row, (cost, price) in enumerate(zip(self.costs, self.prices, strict=True)):
            tables[row] = [*(price[blocks.slice(b)] for b in range(len(parts))), np.array([cost.offset])]
        limits = dict(enumerate(self.problem.limits))
        found = project_to_budget([*parts, np.array([depths])], tables, limits)
        point = blocks.vertex([*found.choices[:-1], *([0] * len(self.staged.stages))])
        return point, found.value if found.certificate.bound is None else float(found.certificate.bound)

    def _linearized(self, function: Quadratic, start: FloatArray) -> FloatArray:
        best, least, point = start, function.value(start), start
        for _ in range(_LINEARIZATIONS):
            point = self.projected(-function.gradient(point))[0]
            value = function.value(point)
            if value >= least:
                break
            best, least = point, value
        return best

    def _swapped(self, function: Quadratic, start: FloatArray) -> FloatArray:
        point = start
        for _ in range(_SWAPS):
            gains = self._gains(function, point)
            place = np.unravel_index(int(gains.argmin()), gains.shape)
            if gains[place] >= -_OURS * float(np.ptp(function.linear)):
                break
            changed = self._changed(point, *map(int, place))
            if not self.fits(changed):  # by the last digit of a sum
                break
            point = changed
        return point

    def _gains(self, function: Quadratic, point: FloatArray) -> FloatArray:
        """(dimension, dimension) what f gains by changing to options i and j; infinite where that does not fit. i = j: only one."""
        gains = self._differences(function, function.theta + function.theta.T, point)
        for cost, coupling, limit in zip(self.costs, self.couplings, self.problem.limits, strict=True):
            gains[self._differences(cost, coupling, point) > limit - cost.value(point)] = np.inf
        return gains

    def _differences(self, function: Quadratic, coupling: FloatArray, point: FloatArray) -> FloatArray:
        here = np.flatnonzero(point)
        here = np.repeat(here, self.problem.space.blocks.sizes)  # the option that each would replace
        slope = function.linear + coupling @ point
        one = slope - slope[here]
        across = coupling[:, here]
        two = one[:, None] + one + coupling - across - across.T + across[here]
        two[self.inside] = np.inf  # two options of one decision
        np.fill_diagonal(two, one)
        return two

    def _changed(self, point: FloatArray, first: int, second: int) -> FloatArray:
        changed = point.copy()
        for option in (first, second):
            changed[self.inside[option]] = 0.0
            changed[option] = 1.0
        return changed

    def _new(self, function: Quadratic, point: FloatArray, taken: Collection[bytes]) -> FloatArray:
        """The best neighbour that is not taken; where there is none, that of the best neighbour, and so on."""
        met, waiting = {point.tobytes()}, [(0.0, 0, point)]
        for _ in range(_EXPANDED if len(taken) < self.all_taken else 0):
            if not waiting:
                self.all_taken = len(taken)
                break
            here = heappop(waiting)[-1]
            gains = self._gains(function, here)
            for place in np.argsort(gains, axis=None)[: np.isfinite(gains).sum()]:
                changed = self.canonical(self._changed(here, *divmod(int(place), len(here))))
                key = changed.tobytes()
                if key in met:
                    continue
                met.add(key)
                if key not in taken and self.fits(changed):
                    return changed
                heappush(waiting, (function.value(changed), len(met), changed))
        return point
