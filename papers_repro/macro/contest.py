"""The contest on NAS-Bench-Macro: who takes part, with which constants, and what one run comes to.

The constants of every method were chosen on the even budgets and seeds (``--tune``), at 100 networks. Gradient methods get the
gradients of the gates from a regression on the networks they have looked up, or from differences, whichever did better there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from constrained_nas.ask_tell import SearchMethod
from constrained_nas.methods import HardCoRe, PairwiseSurrogate, SoftPenalty, small_steps
from constrained_nas.search import Gradients, OutOfEvaluationsError, TabularTruth, search_table
from graphs import Architecture, MacroSpace
from papers_repro.macro.benchmark import CostName, MacroTable
from papers_repro.macro.block_pruning import BlockPruning
from papers_repro.macro.passes import Relinearized, Swaps
from papers_repro.macro.pruned import GumbelPruning
from papers_repro.macro.sampled import TPE, Evolution, LocalSearch, PolicyGradient, RandomSearch
from solvers.arrays import FloatArray

OURS = "ours: pairwise surrogate"


@dataclass(frozen=True, slots=True)
class Entry:
    """A method of the contest: how it is made for a space, and how it is asked; 0 rows: a hundredth of the evaluations.

    Attributes:
        settles: it answers with the best network told that fits, so nothing after the optimum changes its answer or the best seen;
            a run is ended by the next network it would look up. What that saves is its own time, not a network.
    """

    make: Callable[[MacroSpace], SearchMethod[Any]]
    rows: int = 1
    gradients: Gradients = "regression"
    settles: bool = False


ENTRIES: Mapping[str, Entry] = {
    OURS: Entry(lambda s: PairwiseSurrogate(s.space, s.staged, samples=10), 0),
    "Optuna's TPE": Entry(lambda s: TPE(s.staged), settles=True),  # a trial takes time by the number of trials before it
    "regularized evolution": Entry(lambda s: Evolution(s.staged)),
    "local search": Entry(lambda s: LocalSearch(s.staged)),
    "re-linearized": Entry(lambda s: Relinearized(s.staged)),
    "one and two swaps": Entry(lambda s: Swaps(s.staged)),
    "random that fits": Entry(lambda s: RandomSearch(s.staged)),
    "REINFORCE": Entry(lambda s: PolicyGradient(s.staged, "running", 0.1, 0.1), 5),
    "RLOO": Entry(lambda s: PolicyGradient(s.staged, "leave_one_out", 0.3, 0.3), 10),
    "Gumbel with pruning": Entry(lambda s: GumbelPruning(s.staged, 0.03, 0.3), 2),
    "block pruning, soft alpha": Entry(lambda s: BlockPruning(s.staged, False, 0.3), 2),
    "block pruning, hard": Entry(lambda s: BlockPruning(s.staged, True, 0.03), 2),
    "soft penalty + projection": Entry(lambda s: SoftPenalty(s.space, s.staged, 0.03, 0.3, "joint"), 2),
    "soft penalty + argmax": Entry(lambda s: SoftPenalty(s.space, s.staged, 0.03, 0.3), 2),
    "HardCoRe-NAS as printed": Entry(lambda s: HardCoRe(s.space, s.staged), 5),
    "HardCoRe-NAS, steps of .002": Entry(lambda s: HardCoRe(s.space, s.staged, numerator=2e3, offset=1e6, momentum=0.9), 2),
    "HardCoRe-NAS, small steps": Entry(lambda s: small_steps(s.space, s.staged), 2),
}


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One run.

    Attributes:
        regret: accuracy of the best network within the budgets less the answer's, in %; NaN where the answer does not fit.
        seen: the same of the best network looked up that fits, after each evaluation (evaluations,); the cheapest stands in for it
            before one was.
        seconds: of the processor.
    """

    method: str
    cost: CostName
    budget: int
    seed: int
    evaluations: int
    regret: float
    fits: bool
    seen: FloatArray
    seconds: float


def available(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the methods that can run here; all for none given.

    Raises:
        ValueError: an unknown name.
    """
    unknown = [name for name in names if name not in ENTRIES]
    if unknown:
        raise ValueError(f"no method {unknown[0]!r}; there are {', '.join(ENTRIES)}")
    return tuple(name for name in names or tuple(ENTRIES) if name != "Optuna's TPE" or find_spec("optuna") is not None)


def run_once(table: MacroTable, method: str, cost: CostName, budget: int, share: float, seed: int, evaluations: int) -> Outcome:
    """A search under budgets at ``share`` of the range, from one of the seeds."""
    space, entry = MacroSpace(), ENTRIES[method]
    limits = table.limits(cost, share)
    problem, best = table.problem(space, cost, limits), table.best(cost, limits)
    settled = False

    def loss(network: Architecture) -> float:
        nonlocal settled
        if settled:
            raise OutOfEvaluationsError("the best network that fits has been looked up")
        accuracy = table.accuracy(space, network)
        settled = entry.settles and accuracy >= best and problem.fits(network)
        return 1.0 - accuracy / 100.0

    truth = TabularTruth(space.space, loss, evaluations)
    began = time.process_time()
    rows = entry.rows or max(1, evaluations // 100)
    run = search_table(problem, entry.make(space), truth, rows=rows, gradients=entry.gradients, seed=seed)
    seconds = time.process_time() - began
    fits = run.result.feasible
    regret = best - table.accuracy(space, run.result.architecture) if fits else np.nan
    return Outcome(method, cost, budget, seed, evaluations, regret, fits, _seen(table, cost, limits, truth, best), seconds)


def _seen(table: MacroTable, cost: CostName, limits: FloatArray, truth: TabularTruth, best: float) -> FloatArray:
    costs, space = table.costs(cost), MacroSpace()
    regrets = [best - float(table.accuracies[costs[0].argmin()])]
    for point in truth.points():
        place = table.place[space.code(space.space.architecture(point))]
        regrets.append(best - float(table.accuracies[place]) if (costs[:, place] <= limits).all() else np.inf)
    seen = np.minimum.accumulate(regrets)[1:]
    return np.concatenate([seen, np.full(truth.most - len(seen), seen[-1] if len(seen) else regrets[0])])
