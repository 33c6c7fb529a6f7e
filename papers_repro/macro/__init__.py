"""What the script on NAS-Bench-Macro imports: its file, the peers and the contest."""

from papers_repro.macro.benchmark import CostName, MacroTable, read_benchmark
from papers_repro.macro.contest import OURS, Outcome, available, run_once
