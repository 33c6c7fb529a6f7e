"""The branch and bound of a program with several budgets, a slice at a time; the nodes are ``solvers.kernels.budgets.search``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import FloatArray, IntArray
from solvers.budgets.scaled import ScaledProgram
from solvers.kernels import interpreted, made, patience
from solvers.knapsack import exact_sum, first_best

_ROUNDS = 4  # of the local search for a selection that fits
_LEAST = 0.05  # seconds at a time that Python goes on with a small program while machine code is made
_TRIES = 200  # such searches, one after every slice that found nothing either


class BranchAndBound:
    """One search of a scaled program: what is open, what was found, and what is proven.

    Attributes:
        scaled: the program.
        choices: (groups,) the best selection, None where none is known; ``best`` its worth in scaled values, or the cutoff.
        done: the tree is exhausted.
    """

    def __init__(self, scaled: ScaledProgram, cutoff: float) -> None:
        floor = math.floor(cutoff) if scaled.whole and math.isfinite(cutoff) else cutoff
        self.scaled = scaled
        self.done = False
        self._tree = _Tree.of(scaled.rows, scaled.offsets)
        self._chosen = np.full(len(scaled.offsets) - 1, -1, dtype=np.intp)
        self._state = np.array([_times_power(floor - scaled.lift, scaled.unit), -math.inf, 0.0])
        self._base = _times_power(scaled.lift, scaled.unit)
        self._root = math.inf
        self._tries = 0

    @property
    def best(self) -> float:
        return float(self._state[0])

    @property
    def choices(self) -> IntArray | None:
        return None if self._chosen[0] < 0 else self._chosen

    @property
    def nodes(self) -> int:
        return int(self._state[2])

    @property
    def dual(self) -> FloatArray:
        """(m,) the multipliers of the root."""
        return self._tree.dual[0]

    @property
    def tolerance(self) -> float:
        """What a selection must gain to be looked for: half the promised 1e-9 of the value, and no more of what is lost.

        So scores may be scaled and shifted at will. Whole values leave nothing strictly between two of them.
        """
        lost = self.best if math.isfinite(self.best) else 0.0
        return 1.0 - 2.0**-10 if self.scaled.whole else 5e-10 * min(max(-lost, 0.0), abs(self._base + lost))

    @property
    def bound(self) -> float:
        """An upper bound on every selection, in scaled values."""
        unseen = -math.inf if self.done else self._tree.open_bound()
        return min(0.0, self._root, max(self.best, float(self._state[1]), unseen))  # no scaled value is positive

    @property
    def explored(self) -> float:
        """The share of the tree that is done, if all children of a node were alike."""
        tree, share, done = self._tree, 1.0, 0.0
        for level in range(int(tree.place[0]) + 1):
            _, group_at, option_at, branch, child = tree.ints[level].tolist()
            if branch < 0 or (level == tree.place[0] and tree.place[1] == 1):
                break
            first, last = tree.cuts[group_at + level + branch], tree.cuts[group_at + level + branch + 1]
            promising = int((tree.floats[level, 0] - tree.loss[option_at + first : option_at + last] > self.best).sum())
            share /= max(promising, child, 1)
            done += share * max(child - 1, 0)
        return done

    def offer(self, choices: IntArray) -> bool:
        """Take a selection that fits if it is the best."""
        worth = exact_sum(self.scaled.values[choices])
        if worth <= self.best:
            return False
        self._state[0], self._chosen = worth, np.array(choices, dtype=np.intp)
        return True

    def advance(self, nodes: int, deadline: float) -> None:
        """Open so many nodes more, until the deadline of the kernels' clock; none where machine code is not made by then."""
        from solvers.kernels.budgets.search import DONE, FULL, search
        from solvers.kernels.clock import read_clock

        scaled, tree, limit = self.scaled, self._tree, self.nodes + nodes
        slack = scaled.room - scaled.limits
        while self.nodes < limit:
            arguments = (
                scaled.values, scaled.rows, scaled.limits, slack, self.tolerance, limit - self.nodes if self.nodes else 1,
                tree.place, tree.ints, tree.floats, tree.fixed, tree.dual, tree.groups, tree.cuts, tree.options, tree.loss,
                tree.path, self._chosen, self._state,
            )  # fmt: skip
            code = _run(search, arguments, scaled.rows.size, deadline)
            if code is None:
                return
            if math.isinf(self._root):
                self._root = float(tree.floats[0, 0])
            if code == DONE:
                self.done = True
                return
            if math.isinf(self.best) and self._tries < _TRIES:
                self._tries += 1
                self.start(deadline)
            if code == FULL:
                tree.grow()
            elif read_clock() > deadline:
                return

    def start(self, deadline: float) -> None:
        """A selection that fits, by local search from the options of greatest price."""
        from solvers.kernels.budgets.start import find_start

        scaled = self.scaled
        choices = first_best(scaled.values - scaled.rows @ self.dual, scaled.offsets)
        found = np.empty_like(choices)
        draws = np.random.default_rng(self._tries).random((_ROUNDS, 2 * (len(choices) // 8 + 2)))
        arguments = scaled.values, scaled.rows, scaled.limits, scaled.offsets, choices, found, draws
        worth = _run(find_start, arguments, scaled.rows.size, deadline)
        if worth is not None and math.isfinite(worth):
            self.offer(found)


def _run(kernel: Any, arguments: tuple[Any, ...], numbers: int, deadline: float) -> Any:
    """What the kernel returns by the deadline, which it takes last; None where machine code is not made by then."""
    from solvers.kernels.clock import read_clock

    if moment := patience(kernel, numbers, _LEAST):
        with interpreted():
            found = kernel(*arguments, min(deadline, read_clock() + moment))
        if not patience(kernel, numbers):
            made(kernel, (*arguments, deadline), 0.0)  # nobody waits for it
        return found
    machine = made(kernel, (*arguments, deadline), deadline - read_clock())
    return None if machine is None else machine(*arguments, deadline)


def _times_power(number: float, exponent: int) -> float:
    """``number * 2**exponent``, infinite where that is beyond a float."""
    with np.errstate(over="ignore"):
        return float(np.ldexp(number, exponent))


def _longer(array: NDArray[Any], more: int) -> NDArray[Any]:
    """The array with so many entries more; pages that are never used are never touched."""
    longer = np.empty((len(array) + more, *array.shape[1:]), dtype=array.dtype)
    longer[: len(array)] = array
    return longer


@dataclass(slots=True)
class _Tree:
    """The open path of the search in flat arrays; see :func:`solvers.kernels.budgets.search.search` for what they hold."""

    place: IntArray
    ints: IntArray
    floats: FloatArray
    fixed: FloatArray
    dual: FloatArray
    groups: IntArray
    cuts: IntArray
    options: IntArray
    loss: FloatArray
    path: IntArray

    @classmethod
    def of(cls, rows: FloatArray, offsets: IntArray) -> _Tree:
        """The root, all options open."""
        groups, (n, m) = len(offsets) - 1, rows.shape
        levels, pool = 16, 4 * n + 64
        tree = cls(
            np.array([0, 1], dtype=np.intp), np.zeros((levels, 5), dtype=np.intp), np.zeros((levels, 2)),
            np.zeros((levels, m, 2)), np.zeros((levels, m)), np.zeros(pool, dtype=np.intp),
            np.zeros(pool + levels, dtype=np.intp), np.zeros(pool, dtype=np.intp), np.zeros(pool),
            np.zeros(groups, dtype=np.intp),
        )  # fmt: skip
        tree.ints[0, 0], tree.floats[0, 0] = groups, math.inf
        tree.groups[:groups], tree.cuts[: groups + 1], tree.options[:n] = np.arange(groups), offsets, np.arange(n)
        return tree

    def grow(self) -> None:
        """Room for twice the levels, or for twice the groups and options: whichever has run out."""
        levels = int(self.place[0]) + 2 > len(self.ints)
        for name in ("ints", "floats", "fixed", "dual") if levels else ("groups", "options", "loss"):
            setattr(self, name, _longer(getattr(self, name), len(getattr(self, name))))
        # The cut pool has an entry a group, and one a level more.
        self.cuts = _longer(self.cuts, len(self.groups) + len(self.ints) - len(self.cuts))

    def open_bound(self) -> float:
        """The greatest bound of what the search has not looked at."""
        bound = -math.inf
        for level in range(int(self.place[0]) + 1):
            _, group_at, option_at, branch, child = self.ints[level].tolist()
            if level == self.place[0] and self.place[1] == 1:
                bound = max(bound, float(self.floats[level, 0]))
            elif branch >= 0:
                first, last = self.cuts[group_at + level + branch], self.cuts[group_at + level + branch + 1]
                if first + child < last:
                    bound = max(bound, float(self.floats[level, 0] - self.loss[option_at + first + child]))
        return bound
