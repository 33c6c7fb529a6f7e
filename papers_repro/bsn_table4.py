"""Table 4 of Budgeted Super Networks: segmentation, multiply-adds.

A convolutional neural fabric whose last column leads back up to the finest scale, for a class a pixel. The published data are Part
Labels (hair, skin, background; read from disk at paper scale); at laptop scale the task is procedurally generated: background,
digit and clutter of drawn scenes of scikit-learn's digits.

Reference: Véniat & Denoyer, Budgeted Super Networks, Table 4.
"""

from __future__ import annotations

from functools import partial

from papers_repro.bsn import print_tables, table_preset
from papers_repro.harness import started

SCRIPT = "bsn_table4"
preset = partial(table_preset, data="Part Labels")


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        print_tables(script, [4])


if __name__ == "__main__":
    main()
