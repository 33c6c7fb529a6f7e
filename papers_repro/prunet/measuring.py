"""Latency of found networks on this machine, beside what the table says.

Networks are timed interleaved with reference networks that were drawn at random and have nothing to do with the searches. A slow
spell within the session is taken out round by round. Between the table's measuring and now the whole machine may have become
faster or slower; the references tell by how much (``level``), so that the table's own error and the machine's drift can be told
apart. Both errors are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from constrained_nas.latency import Measurement, runtime_called, spread_networks, time_networks
from graphs.spaces import GPUNetSpace
from papers_repro.harness import Reports
from papers_repro.prunet.searches import Pruned
from papers_repro.prunet.setup import WidthLatencies

_REFERENCES = 12


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        latencies: of the networks, in order, in ms as measured now.
        estimates: the table's, ms.
        level: how many times as long as estimated the reference networks take now, in the median.
    """

    latencies: tuple[Measurement, ...]
    estimates: tuple[float, ...]
    level: float

    @property
    def errors(self) -> list[float]:
        """Of the estimates, relative to what was measured, as everything stands."""
        return [abs(e / m.median - 1) for e, m in zip(self.estimates, self.latencies, strict=True)]

    @property
    def levelled(self) -> list[float]:
        """Of the estimates once the machine's drift since the table is taken out."""
        return [abs(e * self.level / m.median - 1) for e, m in zip(self.estimates, self.latencies, strict=True)]

    @property
    def remark(self) -> str:
        """Both in a sentence."""
        now, then = np.median(self.errors), np.median(self.levelled)
        return (
            f"Estimates are off by {now:.1%} in the median, {max(self.errors):.1%} at worst. {_REFERENCES} reference networks take "
            f"{self.level:.3f} times as long as the table says: that much the machine has drifted since. With that taken out "
            f"estimates are off by {then:.1%} and {max(self.levelled):.1%}."
        )


def measure_found(
    found: Sequence[Pruned], latencies: WidthLatencies, space: GPUNetSpace, rounds: int, seed: int, progress: Reports
) -> Measured:
    """Time every found network, and the references; equal networks are timed once.

    Args:
        found: at least one.
        latencies: whose timer and table to use.
        rounds: timed passes of every network.
        seed: of the references and of the order.
    """
    architectures = {_key(entry): space.architecture(dict(entry.record.choices)) for entry in found}
    generator = np.random.default_rng(seed)
    references = {
        f"reference {number}": architecture
        for number, architecture in enumerate(spread_networks(space, latencies.cost, _REFERENCES, generator))
    }
    together = {**architectures, **references}
    report, runtime = progress.callback("timing networks"), runtime_called(latencies.table.runtime)
    times = time_networks(together, space, latencies.timer, rounds, generator, report, "found", runtime)
    level = float(np.median([times[name].median / latencies.cost.cost(a) for name, a in references.items()]))
    estimates = tuple(latencies.cost.cost(architectures[_key(entry)]) for entry in found)
    return Measured(tuple(times[_key(entry)] for entry in found), estimates, level)


def fit_remark(latencies: WidthLatencies) -> str:
    """How well the table predicts whole networks, in a sentence or two."""
    table, fit = latencies.table, latencies.fit
    said = f"Latency table: {table.device}, batch {table.batch}, {table.threads} thread(s), {table.runtime}"
    if table.interpolation is not None:
        curve = table.interpolation
        said += (
            f"; interpolated widths off by {curve.median:.1%} in the median, {curve.worst:.0%} at worst ({curve.checked} checks)"
        )
    if fit is not None:
        said += f"; on networks left out of its calibration R2 {fit.r_squared:.3f}, worst error {fit.worst:.0%}"
    return said + f". Networks of this space take {latencies.cheapest_ms:.3f} to {latencies.slowest_ms:.3f} ms."


def _key(entry: Pruned) -> str:
    return str(sorted(entry.record.choices.items()))
