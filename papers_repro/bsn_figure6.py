"""Figure 6 of Budgeted Super Networks: the fabric found for segmentation, on its grid.

Those of ``bsn_figure3`` with the fabric for segmentation: Part Labels at paper scale, drawn digit scenes below it.

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 6.
"""

from __future__ import annotations

from dataclasses import replace

from papers_repro.bsn import FigureOptions, contest_preset, make_figure
from papers_repro.bsn_figure3 import draw, found_rows
from papers_repro.harness import Scale, started

SCRIPT = "bsn_figure6"


def preset(scale: Scale) -> FigureOptions:
    """The options of a scale: new runs are soft searches of one seed, and nothing is trained alone."""
    contest = contest_preset(scale, "Part Labels")
    return FigureOptions(scale, contest=replace(contest, seeds=1, plain=False, methods=("soft",), randoms=0, scratch=0))


def main() -> None:
    with started(SCRIPT, preset) as script:
        make_figure(script, ("CNF segmentation",), ("macs",), draw, lambda record: [found_rows(record)])


if __name__ == "__main__":
    main()
