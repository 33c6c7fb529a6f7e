"""HiGHS beside the library's own search, in a thread: it is strong where bounds need cuts, and where groups repeat.

Identical groups are merged: it counts how many of them take each option. Its answer is a selection that is checked, and a bound by
its own account, with its tolerance on top. Programs whose costs differ too widely for its tolerances are not given to it.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets.scaled import ScaledProgram
from solvers.knapsack import exact_sum
from solvers.results import SolverError

_LEAST_COST = 1e-7  # beside budgets of 1: smaller ones are within the solver's tolerance
_MOST_OPTIONS = 50_000  # its presolve alone takes seconds for more, and looks at no clock
_SHARE = 0.95  # of the time that is left: its answer is read before that ends
_TOLERANCE = 1e-9  # of its objective, which is scaled to 1


class Rival:
    """One run of HiGHS on a program.

    Attributes:
        choices: (groups,) the best selection it found that fits, None as long as there is none.
        bound: what it proved, in scaled values; infinite as long as it did not end.
        running: it has not ended.
        fresh: it has ended and was not looked at since.
    """

    def __init__(self, scaled: ScaledProgram, start: IntArray | None, seconds: float) -> None:
        self.choices: IntArray | None = None
        self.bound = math.inf
        self._seen = False
        self._scaled, self._start, self._seconds = scaled, start, _SHARE * seconds
        self._model: Any = None
        self._stopped = False
        # Not a daemon: one that comes back from HiGHS while the interpreter ends would abort the process.
        self._thread = threading.Thread(target=self._run)
        positive = scaled.rows[scaled.rows > 0.0]
        tame = len(positive) > 0 and float(positive.min()) >= _LEAST_COST
        if tame and len(scaled.values) <= _MOST_OPTIONS:
            self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def fresh(self) -> bool:
        if self.running or self._seen:
            return False
        self._seen = True
        return True

    def wait(self, seconds: float) -> None:
        """Let it run for so long, or until it ends."""
        if self.running:
            self._thread.join(max(seconds, 0.0))

    def stop(self) -> None:
        """End the run; what it knows stays."""
        self._stopped = True
        if self._model is not None:
            self._model.cancel()
        if self.running:
            self._thread.join(0.05)

    def _run(self) -> None:
        from solvers.backends import MixedIntegerModel, Polyhedron

        scaled = self._scaled
        worst = -math.inf if self._start is None else exact_sum(scaled.values[self._start])
        alive = scaled.values >= worst  # of a selection nothing is worth less than all of it
        merged = _Merged.of(scaled, alive)
        unit = -float(merged.values.min()) or 1.0
        costs = scaled.rows[merged.options].T
        row, column = np.nonzero(costs)
        k = len(merged.options)
        try:
            self._model = MixedIntegerModel.of(
                Polyhedron.from_csr(
                    np.concatenate([merged.starts, k + np.searchsorted(row, np.arange(1, len(costs) + 1))]),
                    np.concatenate([np.arange(k), column]),
                    np.concatenate([np.ones(k), costs[row, column]]),
                    np.concatenate([merged.counts, np.full(len(scaled.limits), -np.inf)]),
                    np.concatenate([merged.counts, scaled.limits]),
                    np.zeros(k),
                    merged.most,
                ),
                np.ones(k, dtype=np.bool_),
                threads=1,
            )
            if self._stopped:
                return
            limit = None if math.isinf(self._seconds) else max(self._seconds, 1e-3)
            start = None if self._start is None else merged.counts_of(self._start)
            answer = self._model.minimize(-merged.values / unit, time_limit_seconds=limit, start=start)
        except SolverError:
            return
        if answer.x is not None:
            choices = merged.spread(answer.x)
            if scaled.fits(choices):
                self.choices = choices
        if answer.certificate is not None and answer.certificate.bound is not None:
            self.bound = -answer.certificate.bound * unit + _TOLERANCE * unit


class _Merged:
    """A program with identical groups merged into counts of their options.

    Attributes:
        options: (k,) an option of the first group of each class; ``values`` (k,) theirs, ``most`` (k,) how many groups may take it.
        starts: (classes + 1,) where each class starts; its counts add up to ``counts`` (classes,).
    """

    def __init__(self, options: IntArray, values: FloatArray, most: FloatArray, starts: IntArray, counts: FloatArray) -> None:
        self.options, self.values, self.most, self.starts, self.counts = options, values, most, starts, counts
        self._members: list[IntArray] = []
        self._offsets: IntArray = np.empty(0, dtype=np.intp)

    @classmethod
    def of(cls, scaled: ScaledProgram, alive: np.ndarray) -> _Merged:
        offsets = scaled.offsets.tolist()
        table = np.column_stack([scaled.values, scaled.rows])
        classes: dict[bytes, list[int]] = {}
        for group in range(len(offsets) - 1):
            classes.setdefault(table[offsets[group] : offsets[group + 1]].tobytes(), []).append(group)
        members = [np.array(groups) for groups in classes.values()]
        parts = [offsets[groups[0]] + np.flatnonzero(alive[offsets[groups[0]] : offsets[groups[0] + 1]]) for groups in members]
        sizes, counts = np.array([len(part) for part in parts]), np.array([len(groups) for groups in members], dtype=float)
        options = np.concatenate(parts)
        merged = cls(options, scaled.values[options], np.repeat(counts, sizes), np.cumsum([0, *sizes]), counts)
        merged._members, merged._offsets = members, scaled.offsets
        return merged

    def counts_of(self, choices: IntArray) -> FloatArray:
        """(k,) how many groups of a class take each option."""
        x = np.zeros(len(self.options))
        for groups, first, last in zip(self._members, self.starts, self.starts[1:], strict=False):
            local = (choices[groups] - self._offsets[groups])[:, None] == self.options[first:last] - self._offsets[groups[0]]
            x[first:last] = local.sum(axis=0)
        return x

    def spread(self, x: FloatArray) -> IntArray:
        """(groups,) a selection with these counts."""
        choices = np.empty(len(self._offsets) - 1, dtype=np.intp)
        for groups, first, last in zip(self._members, self.starts, self.starts[1:], strict=False):
            taken = np.rint(x[first:last]).astype(int)
            local = self.options[first:last] - self._offsets[groups[0]]
            choices[groups] = self._offsets[groups] + np.repeat(local, taken)
        return choices
