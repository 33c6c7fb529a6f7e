"""Search methods: each proposes architectures, learns from their losses, and ends at one that is checked against the budgets."""

from constrained_nas.methods.budgeted import Budgeted
from constrained_nas.methods.filter_level import FilterLevel
from constrained_nas.methods.hardcore import HardCoRe
from constrained_nas.methods.prunet import PruNet
from constrained_nas.methods.random_search import random_feasible
from constrained_nas.methods.soft_penalty import SoftPenalty

__all__ = ["Budgeted", "FilterLevel", "HardCoRe", "PruNet", "SoftPenalty", "random_feasible"]
