"""Constrained programs over products of simplices: exact selection under budgets, oracles, Frank-Wolfe.

``project_to_budget`` is the front door: the best selection of one option a group that fits, with a certificate.
"""

from solvers.mckp import Increments, Knapsack, Relaxation, relax
from solvers.mckp_exact import ExactSelection, solve_exact
from solvers.projection import project_jointly
from solvers.projection_schemes import argmax_projection, project_separately, project_sequentially
from solvers.quadratic import Quadratic
from solvers.results import Certificate, CertificateError, InfeasibleError, Result, SolverError, Status
from solvers.selection import Selection, project_to_budget
from solvers.sets import Blocks, BudgetedBlocks
from solvers.staged import Stage, StagedBlocks
from solvers.staged_cost import StagedCost

__all__ = [
    "project_to_budget",
    "Blocks",
    "BudgetedBlocks",
    "Certificate",
    "CertificateError",
    "ExactSelection",
    "Increments",
    "InfeasibleError",
    "Knapsack",
    "Quadratic",
    "Relaxation",
    "Result",
    "Selection",
    "SolverError",
    "Stage",
    "StagedBlocks",
    "StagedCost",
    "Status",
    "argmax_projection",
    "project_jointly",
    "project_separately",
    "project_sequentially",
    "relax",
    "solve_exact",
]
