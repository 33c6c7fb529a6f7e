"""Budgeted Super Networks."""

from constrained_nas.methods.budgeted.method import Budgeted
from constrained_nas.methods.budgeted.program import ConnectedProgram
from constrained_nas.methods.budgeted.subgraphs import Baseline
