"""Budgeted Super Networks."""

from constrained_nas.methods.budgeted.method import Budgeted, Charge
from constrained_nas.methods.budgeted.program import ConnectedProgram
from constrained_nas.methods.budgeted.settling import settle_within
from constrained_nas.methods.budgeted.subgraphs import Baseline
