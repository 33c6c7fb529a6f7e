"""Table 3 of Budgeted Super Networks: CIFAR-10, parameters.

As table 1, with parameters as the cost.

Reference: Véniat & Denoyer, Budgeted Super Networks, Table 3.
"""

from __future__ import annotations

from papers_repro.bsn import TABLES, TableOptions, print_tables, table_preset
from papers_repro.harness import Scale, read_options

SCRIPT = "bsn_table3"


def preset(scale: Scale) -> TableOptions:
    """The options of a scale."""
    return table_preset(scale, "CIFAR-10")


def main() -> None:
    """Run at the scale of the command line."""
    print_tables(SCRIPT, [TABLES[3]], read_options(preset))


if __name__ == "__main__":
    main()
