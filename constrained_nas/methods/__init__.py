"""Search methods: each proposes architectures, learns from their losses, and ends at one that is checked against the budgets."""

from constrained_nas.methods.budgeted.method import Budgeted
from constrained_nas.methods.distributions import gumbel_rows, point_gradient, softmax
from constrained_nas.methods.filter_level.method import FilterLevel
from constrained_nas.methods.hardcore import HardCoRe, HardCoReState, Objective, small_steps
from constrained_nas.methods.prunet.method import PruNet
from constrained_nas.methods.random_search import random_feasible
from constrained_nas.methods.soft_penalty import SoftPenalty
from constrained_nas.methods.staged import Start, project_point, sample_rows, start_point
from constrained_nas.methods.surrogate.method import JUDGED_ROWS, PairwiseSurrogate, recommended

__all__ = [
    "JUDGED_ROWS",
    "Budgeted",
    "FilterLevel",
    "HardCoRe",
    "HardCoReState",
    "Objective",
    "PairwiseSurrogate",
    "PruNet",
    "SoftPenalty",
    "Start",
    "gumbel_rows",
    "point_gradient",
    "project_point",
    "random_feasible",
    "recommended",
    "sample_rows",
    "small_steps",
    "softmax",
    "start_point",
]
