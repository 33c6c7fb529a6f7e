"""Searches in passes: everything around a network is looked up, then the next network is chosen, until it stands still.

Two candidates that exact projections make cheap. Re-linearized, the losses of all single changes are a linear function, which the
projection minimizes under the budgets at once; the answer is the next network. By swaps, the next is the best of all networks that
fit and differ in one or two decisions. Where a search stands still, or has been before, it begins again at a random network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchResult
from constrained_nas.methods import project_point
from constrained_nas.problem import SearchProblem
from papers_repro.macro.sampled import Told, Tried, neighbours
from solvers.arrays import IntArray


@dataclass(frozen=True, slots=True)
class Pass:
    """What was told, where the search stands and stood (as bytes), and the networks (n, blocks) still to be looked up."""

    told: Told
    here: IntArray | None
    stood: frozenset[bytes]
    left: IntArray


@dataclass(frozen=True)
class InPasses(Tried):
    """From a random network that fits, pass by pass."""

    @abstractmethod
    def around(self, problem: SearchProblem, here: IntArray) -> IntArray:
        """The networks (n, blocks) that a choice of the next one needs."""

    @abstractmethod
    def following(self, problem: SearchProblem, here: IntArray, losses: Mapping[bytes, float]) -> IntArray:
        """The next network (blocks,), by the losses of all that were told; ``here`` to stand still."""

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> Pass:
        blocks = self.staged.blocks.count
        return Pass(Told.nothing(blocks), None, frozenset(), np.zeros((0, blocks), dtype=np.int64))

    def ask(self, problem: SearchProblem, state: Pass, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        if state.here is None:
            return self.proposed(problem, self.drawn(problem, generator)[None])
        return self.proposed(problem, state.left[:1])

    def tell(self, problem: SearchProblem, state: Pass, proposal: Proposal, feedback: Feedback, moment: Moment) -> Pass:
        choices = proposal.noise["choices"].astype(np.int64)
        state = replace(state, told=state.told.with_more(choices, feedback.losses))
        if state.here is None:
            return self._standing(problem, state, choices[0])
        if len(state.left) > 1:
            return replace(state, left=state.left[1:])
        losses = {row.tobytes(): float(loss) for row, loss in zip(state.told.choices, state.told.losses, strict=True)}
        return self._standing(problem, state, self.following(problem, state.here, losses))

    def _standing(self, problem: SearchProblem, state: Pass, here: IntArray) -> Pass:
        around = self.around(problem, here)
        if here.tobytes() in state.stood or not len(around):
            return replace(state, here=None, left=around[:0])
        return Pass(state.told, here, state.stood | {here.tobytes()}, around)

    def finish(self, problem: SearchProblem, state: Pass) -> SearchResult:
        return self.answered(problem, state.told)


@dataclass(frozen=True)
class Relinearized(InPasses):
    """The exact projection of minus what each single change does to the loss; changes that do not fit are looked up too."""

    def around(self, problem: SearchProblem, here: IntArray) -> IntArray:
        return np.stack([here, *(changed for _, _, changed in self._changes(here))])

    def following(self, problem: SearchProblem, here: IntArray, losses: Mapping[bytes, float]) -> IntArray:
        scores, offsets = np.zeros(self.staged.blocks.dimension), self.staged.blocks.offsets
        for block, option, changed in self._changes(here):
            scores[offsets[block] + option] = losses[here.tobytes()] - losses[changed.tobytes()]
        result = project_point(problem, self.staged, self.staged.blocks.vertex(here.tolist()), scores)
        return self.choices_of(problem.space.point(result.architecture))

    def _changes(self, here: IntArray) -> list[tuple[int, int, IntArray]]:
        found = []
        for block, size in enumerate(self.staged.blocks.sizes):
            for option in set(range(size)) - {int(here[block])}:
                changed = here.copy()
                changed[block] = option
                found.append((block, option, changed))
        return found


@dataclass(frozen=True)
class Swaps(InPasses):
    """The best of all networks that fit and differ in one decision or, through one that fits, in two; if it is better."""

    def around(self, problem: SearchProblem, here: IntArray) -> IntArray:
        near = list(neighbours(self, problem, here))
        further = chain.from_iterable(neighbours(self, problem, changed) for changed in near)
        return np.unique(np.stack([here, *near, *further]), axis=0)

    def following(self, problem: SearchProblem, here: IntArray, losses: Mapping[bytes, float]) -> IntArray:
        return min(self.around(problem, here), key=lambda choices: losses[choices.tobytes()])
