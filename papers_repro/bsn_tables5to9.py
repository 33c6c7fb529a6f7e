"""Tables 5 to 9 of Budgeted Super Networks: sequential steps on 1, 2 and 4 machines.

Table 5 is CIFAR-10 on 4 machines, 6 CIFAR-10 on 1, 7 CIFAR-100 on 1, 8 CIFAR-10 on 2, 9 CIFAR-100 on 2. The cost is a schedule's
length: it does not add up over modules, so searches are soft. At laptop scale there is one data set (digits), and tables 7 and 9
show the ResNet runs of 6 and 8.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 5.3, Tables 5-9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from papers_repro.bsn import ContestOptions, TableOptions, contest_preset, print_tables
from papers_repro.harness import Scale, started

SCRIPT = "bsn_tables5to9"


@dataclass(frozen=True)
class Options(TableOptions):
    """Networks learned under budgets on sequential steps, with reference and published rows."""

    table: tuple[int, ...] = (5, 6, 7, 8, 9)
    """Which tables."""


def preset(scale: Scale) -> Options:
    """The options of a scale."""
    return Options(scale, contest=steps_preset(scale))


def steps_preset(scale: Scale) -> ContestOptions:
    """Budgets on steps at a scale: on 4 machines the whole laptop fabric takes as many as its largest plain ResNet."""
    contest = contest_preset(scale)
    return replace(contest, resnet_sizes=(1, 2), resnet_shares=(0.6,)) if scale == "laptop" else contest


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        print_tables(script, script.options.table)


if __name__ == "__main__":
    main()
