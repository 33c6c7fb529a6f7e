"""Figure 5 of Budgeted Super Networks: accuracy over sequential steps on 1, 2 and 4 machines, and the architectures found.

A column a number of machines: ours at the chosen scale, the published curves of CIFAR-10 in a style of their own (another task,
other machines), and the network found under the smallest budget.

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from papers_repro.bsn import (
    CostName,
    FigureOptions,
    RunsRecord,
    budget_rows,
    budgets_in,
    draw_ours,
    draw_published,
    families_in,
    make_figure,
)
from papers_repro.bsn_figure3 import best_found, draw_found
from papers_repro.bsn_tables5to9 import steps_preset
from papers_repro.harness import Rows, Scale, new_figure, started

SCRIPT = "bsn_figure5"
STEPS: tuple[CostName, ...] = ("steps-1", "steps-2", "steps-4")


def preset(scale: Scale) -> FigureOptions:
    """The options of a scale; new runs are of the ResNet fabric."""
    return FigureOptions(scale, contest=replace(steps_preset(scale), methods=("soft",), randoms=0, scratch=0))


def main() -> None:
    with started(SCRIPT, preset) as script:
        make_figure(script, ("ResNet",), STEPS, draw, tables)


def tables(record: RunsRecord) -> Sequence[Rows]:
    """Networks within each budget, a table a number of machines."""
    return [budget_rows(record, cost, families_in(record)) for cost in _searched(record)]


def draw(record: RunsRecord) -> Figure:
    """Ours, published, and an architecture, for each number of machines that was searched."""
    costs, families = _searched(record), families_in(record)
    heights = [3.6] * len(families) + [3.6] + [2.9] * len(families)
    figure = new_figure(4.8 * len(costs), sum(heights))
    axes = figure.subplots(len(heights), len(costs), squeeze=False, height_ratios=heights)
    for column, cost in enumerate(costs):
        for row, family in enumerate(families):
            draw_ours(axes[row, column], record, family, cost)
        draw_published(axes[len(families), column], "CIFAR-10", cost)
        for row, family in enumerate(families, len(families) + 1):
            place = axes[row, column]
            found = [(budget, best_found(record, family, budget, "soft")) for budget in budgets_in(record, family, cost)]
            fitting = [(budget, pair) for budget, pair in found if pair is not None]
            if not fitting:
                place.set_visible(False)
                continue
            budget, (run, entry) = fitting[0]
            draw_found(place, run, entry)
            place.set_title(
                f"{run.network.title}: {entry.costs[cost]:.0f} of {budget.limit:.0f} {_on(cost)}, test {100 * entry.test:.1f} %",
                fontsize=9,
            )
    figure.suptitle("Accuracy over sequential steps, and networks found", fontsize=12)
    return figure


def _searched(record: RunsRecord) -> list[CostName]:
    """The costs in steps that the record has searches for.

    Raises:
        ValueError: none.
    """
    found = [cost for cost in STEPS if any(run.budget and run.budget.cost == cost for run in record.runs)]
    if not found:
        raise ValueError("the record holds no search under a budget on steps: give the one of bsn_tables5to9")
    return found


def _on(cost: CostName) -> str:
    machines = cost.removeprefix("steps-")
    return f"steps on {machines} machine{'s' if machines != '1' else ''}"


if __name__ == "__main__":
    main()
