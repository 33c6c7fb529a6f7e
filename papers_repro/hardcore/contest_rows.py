"""What the contest under hard budgets came to, as tables: the methods by budget, all budgets together, and every network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy.stats import kendalltau

from papers_repro.hardcore.contest import METHODS, OURS
from papers_repro.hardcore.on_device import Found
from papers_repro.harness import Column, Row, Rows, compared, half_width, mean, row_of, verdict

EVERY = "Every network"


@dataclass(frozen=True, slots=True)
class Tested:
    """A found network with its test accuracy (%) after fine-tuning; latencies in ms, ``gap`` of the projection's certificate."""

    seed: int
    budget: int
    limit_ms: float
    method: str
    estimated_ms: float
    measured_ms: float
    bound_ms: float | None
    attempts: int
    fits: bool
    accuracy: float
    search_seconds: float

    @classmethod
    def of(cls, found: Found, accuracy: float) -> Tested:
        """Of a network measured in the end."""
        outcome = found.outcome
        (estimated,) = found.result.costs.values()
        return cls(
            outcome.seed,
            outcome.budget,
            outcome.limit_ms,
            outcome.method,
            estimated,
            found.measured_ms,
            found.bound_ms,
            found.attempts,
            found.fits,
            accuracy,
            outcome.search_seconds,
        )

    @property
    def used(self) -> float:
        """Measured latency, in % of the budget."""
        return 100 * self.measured_ms / self.limit_ms


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well super-networks are trained: test accuracies (%) of their heaviest networks, fine-tuned, one a seed; and pairs of the
    super-network's accuracy on the search's split and test accuracy after fine-tuning, of random networks of one seed.
    """

    heaviest: tuple[float, ...]
    pairs: Sequence[tuple[float, float]]

    def tau(self) -> float:
        """Kendall's tau over the pairs."""
        first, second = zip(*self.pairs, strict=True)
        return float(kendalltau(first, second).statistic)

    def lines(self) -> Iterator[str]:
        """Sentences."""
        yield f"heaviest network, whatever it takes: {mean(self.heaviest):.2f} ± {half_width(self.heaviest):.2f} % of test images"
        if len(self.pairs) > 1:
            yield (
                f"rank correlation of the super-network's accuracy with that after fine-tuning: Kendall tau {self.tau():.2f} on "
                f"{len(self.pairs)} random networks"
            )


def tested_rows(tested: Sequence[Tested], conditions: str, confidence: float, use: float) -> tuple[Rows, Rows, Rows]:
    """The main table, all budgets together, and (for the record and the picture) every network."""
    return _main(tested, conditions, confidence, use), _together(tested), _every(tested, conditions)


def _main(tested: Sequence[Tested], conditions: str, confidence: float, use: float) -> Rows:
    columns = [
        Column("method", "method", "how the network was chosen, all on the same super-networks"),
        Column("budget", "T ms", "the latency budget"),
        Column("estimated", "est. ms", "latency by the table, mean over seeds", ".3f"),
        Column("measured", "meas. ms", "on this device beside a reference network: median over rounds, mean over seeds", ".3f"),
        Column("used", "of T %", "measured latency as a share of the budget, mean over seeds", ".1f"),
        Column("fits", "fits", "seeds whose network is within T as measured"),
        Column("accuracy", "acc. %", "test accuracy after fine-tuning, mean over seeds", ".2f"),
        Column("interval", "95 %", "half the 95 % interval of that mean over seeds", ".2f"),
        Column("versus", "ours minus it", "mean over seeds, half its 95 % interval, and whether it can be told from 0"),
    ]
    rows: list[Row] = []
    for method, budget in sorted({(t.method, t.budget) for t in tested}, key=lambda each: (each[1], METHODS.index(each[0]))):
        group = _of(tested, method, budget)
        accuracies = [t.accuracy for t in group]
        ours = [t.accuracy for t in _of(tested, OURS, budget)]
        cells = (
            method,
            f"{group[0].limit_ms:.3f}",
            mean(t.estimated_ms for t in group),
            mean(t.measured_ms for t in group),
            mean(t.used for t in group),
            f"{sum(t.fits for t in group)}/{len(group)}",
            mean(accuracies),
            half_width(accuracies),
            None if method == OURS else compared(ours, accuracies, "ours"),
        )
        rows.append(row_of(columns, *cells))
    remark = (
        f"{conditions}. All but the soft penalty's argmax and the cheapest are tightened and re-solved until an upper bound of the "
        f"measured median is within T at {confidence:.0%} confidence a network, and loosened below {use:.0%} of T."
    )
    return Rows("Networks found under hard latency budgets", columns, rows, remark=remark)


def _together(tested: Sequence[Tested]) -> Rows:
    columns = [
        Column("method", "method", "compared with ours"),
        Column("difference", "ours minus it, %", "accuracy, averaged over the budgets of a seed, then over seeds", "+.2f"),
        Column("interval", "95 %", "half the 95 % interval over seeds", ".2f"),
        Column("verdict", "verdict", "whether the interval leaves out 0"),
        Column("violations", "violations", "networks over their budget as measured, of all budgets and seeds"),
        Column("search", "search s", "seconds of a search, mean", ".1f"),
    ]
    rows: list[Row] = []
    for method in METHODS:
        own = [t for t in tested if t.method == method]
        differences = []
        for seed in sorted({t.seed for t in tested}):
            pairs = zip(_seed(tested, OURS, seed), _seed(tested, method, seed), strict=True)
            differences.append(mean([a.accuracy - b.accuracy for a, b in pairs]))
        told = (None,) * 3 if method == OURS else (mean(differences), half_width(differences), verdict(differences, "ours"))
        violations = f"{sum(not t.fits for t in own)}/{len(own)}"
        rows.append(row_of(columns, method, *told, violations, mean(t.search_seconds for t in own)))
    return Rows("All budgets together", columns, rows)


def _every(tested: Sequence[Tested], conditions: str) -> Rows:
    columns = [
        Column("method", "method", "as above"),
        Column("seed", "seed", "of data, super-network and search"),
        Column("budget", "T ms", "the latency budget"),
        Column("estimated", "est. ms", "latency by the table", ".3f"),
        Column("measured", "meas. ms", "median over all its rounds", ".3f"),
        Column("bound", "bound ms", "the upper bound of the median at which the network was taken to fit", ".3f"),
        Column("attempts", "attempts", "networks measured until then"),
        Column("accuracy", "acc. %", "test accuracy after fine-tuning", ".2f"),
    ]
    rows = [
        row_of(columns, t.method, t.seed, t.limit_ms, t.estimated_ms, t.measured_ms, t.bound_ms, t.attempts, t.accuracy)
        for t in tested
    ]
    return Rows(EVERY, columns, rows, remark=conditions)


def _of(tested: Sequence[Tested], method: str, budget: int) -> list[Tested]:
    return sorted((t for t in tested if t.method == method and t.budget == budget), key=lambda t: t.seed)


def _seed(tested: Sequence[Tested], method: str, seed: int) -> list[Tested]:
    return sorted((t for t in tested if t.method == method and t.seed == seed), key=lambda t: t.budget)
