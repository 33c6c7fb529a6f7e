"""Table 2 of Budgeted Super Networks: CIFAR-100, multiply-adds.

As table 1, for 100 classes and ResNets only. At laptop scale the data are the same digits as for table 1, of ten classes: there is
no embedded data set of a hundred.

Reference: Véniat & Denoyer, Budgeted Super Networks, Table 2.
"""

from __future__ import annotations

from papers_repro.bsn import TABLES, TableOptions, print_tables, table_preset
from papers_repro.harness import Scale, read_options

SCRIPT = "bsn_table2"


def preset(scale: Scale) -> TableOptions:
    """The options of a scale."""
    return table_preset(scale, "CIFAR-100")


def main() -> None:
    """Run at the scale of the command line."""
    print_tables(SCRIPT, [TABLES[2]], read_options(preset))


if __name__ == "__main__":
    main()
