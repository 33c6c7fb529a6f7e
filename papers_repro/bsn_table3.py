"""Table 3 of Budgeted Super Networks: CIFAR-10, parameters.

As table 1, with parameters as the cost.

Reference: Véniat & Denoyer, Budgeted Super Networks, Table 3.
"""

from __future__ import annotations

from functools import partial

from papers_repro.bsn import print_tables, table_preset
from papers_repro.harness import started

SCRIPT = "bsn_table3"
preset = partial(table_preset, data="CIFAR-10")


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        print_tables(script, [3])


if __name__ == "__main__":
    main()
