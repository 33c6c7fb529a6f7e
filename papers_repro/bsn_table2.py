"""Table 2 of Budgeted Super Networks: CIFAR-100, multiply-adds.

As table 1, for 100 classes and ResNets only. At laptop scale the data are the same digits as for table 1, of ten classes: there is
no embedded data set of a hundred.

Reference: Véniat & Denoyer, Budgeted Super Networks, Table 2.
"""

from __future__ import annotations

from functools import partial

from papers_repro.bsn import print_tables, table_preset
from papers_repro.harness import started

SCRIPT = "bsn_table2"
preset = partial(table_preset, data="CIFAR-100")


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        print_tables(script, [2])


if __name__ == "__main__":
    main()
