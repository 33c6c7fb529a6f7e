"""What the script on NAS-Bench-Macro imports: its file, the peers and the contest."""

from papers_repro.macro.benchmark import CostName, MacroTable, benchmark_path, read_benchmark
from papers_repro.macro.contest import OURS, Outcome, available, run_once
from papers_repro.macro.found import (
    DEAREST,
    JUDGED,
    LINEAR,
    LINEAR_TRAINED,
    METHODS,
    PRINTED,
    RANDOM,
    RANKED,
    REGRET,
    USE,
    Found,
    SearchChoices,
    budget_columns,
    searched,
)
from papers_repro.macro.ranking import Judge, Seen, drawn_codes, ranking
from papers_repro.macro.training import TrainingChoices, trained
from papers_repro.macro.variants import WAYS, Way, trained_by
