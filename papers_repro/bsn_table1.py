"""Table 1 of Budgeted Super Networks: CIFAR-10, multiply-adds.

Our multiply-adds of ResNet-20 to 110, the convolutional neural fabrics (CNF) W=1 to 8 and the ResNet fabrics stand beside the
published ones with a tick where they are equal; then the published learned networks; then networks learned at the chosen scale
under budgets of what plain ResNets and smaller CNFs cost.

Reference: Véniat & Denoyer, Budgeted Super Networks, Table 1.
"""

from __future__ import annotations

from functools import partial

from papers_repro.bsn import print_tables, table_preset
from papers_repro.harness import started

SCRIPT = "bsn_table1"
preset = partial(table_preset, data="CIFAR-10")


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        print_tables(script, [1])


if __name__ == "__main__":
    main()
