"""Figure 2 of Budgeted Super Networks: accuracy over multiply-adds.

Ours at the chosen scale (means over seeds with 95 % intervals, a dot a seed), and the published curves of CIFAR-10 and CIFAR-100 in
panels and a style of their own: another task, other machines.

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 2.
"""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from papers_repro.bsn import (
    Family,
    FigureOptions,
    RunsRecord,
    budget_rows,
    contest_preset,
    draw_ours,
    draw_published,
    families_in,
    make_figure,
)
from papers_repro.harness import Scale, new_figure, started

SCRIPT = "bsn_figure2"
FAMILIES: tuple[Family, ...] = ("ResNet", "CNF")


def preset(scale: Scale) -> FigureOptions:
    return FigureOptions(scale, contest=replace(contest_preset(scale), randoms=0, scratch=0))


def main() -> None:
    with started(SCRIPT, preset) as script:
        make_figure(script, FAMILIES, ("macs",), draw, lambda record: [budget_rows(record, "macs", families_in(record))])


def draw(record: RunsRecord) -> Figure:
    """Ours of each super-network, then the published curves."""
    families = families_in(record)
    figure = new_figure(11, 8.4)
    axes = figure.subplots(2, 2)
    for place, family in zip(axes[0], families, strict=False):
        draw_ours(place, record, family, "macs")
    for place in axes[0, len(families) :]:
        place.set_visible(False)
    draw_published(axes[1, 0], "CIFAR-10", "macs")
    draw_published(axes[1, 1], "CIFAR-100", "macs")
    figure.suptitle("Accuracy over multiply-adds: ours above, published below (another task, other machines)", fontsize=12)
    return figure


if __name__ == "__main__":
    main()
