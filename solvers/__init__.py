"""Constrained programs over products of simplices: exact selection under budgets, oracles, Frank-Wolfe.

``project_to_budget`` is the front door: the best selection of one option a group that fits, with a certificate.
"""

from solvers.block_frank_wolfe import BlockStep, block_frank_wolfe, block_oracle, block_step
from solvers.counts import most_probable_counts
from solvers.even_shares import even_shares, unevenness
from solvers.frank_wolfe import ActiveSet, Iterate, Run, frank_wolfe
from solvers.mckp import Increments, Knapsack, Relaxation, relax
from solvers.mckp_exact import ExactSelection, solve_exact
from solvers.oracles import Batch, BudgetOracle, LinearOracle, SimplexOracle
from solvers.pareto import hypervolume, non_dominated
from solvers.penalties import Residual, augmented_lagrangian, gradient_descent, log_power, target_ratio
from solvers.projection import project_jointly
from solvers.projection_schemes import argmax_projection, project_separately, project_sequentially
from solvers.projection_verification import verify_projection
from solvers.quadratic import Quadratic
from solvers.results import Certificate, CertificateError, InfeasibleError, Result, SolverError, Status
from solvers.selection import Selection, project_to_budget
from solvers.sensitivity import Frontier, ShadowPrice, frontier, shadow_prices
from solvers.sets import Blocks, BudgetedBlocks
from solvers.staged import Stage, StagedBlocks
from solvers.staged_cost import StagedCost
from solvers.starts import balanced_start, cheapest_start, maximum_entropy_start
from solvers.step_rules import StepRule, backtracking, exact_line_search, open_loop, short_step
from solvers.subgraph_projection import SubgraphModel, cheapest_subgraph, project_subgraph
from solvers.subgraphs import SubgraphProgram
from solvers.unneeded import Unneeded, unneeded_options

__all__ = [  # noqa: RUF022 (the front door first)
    "project_to_budget",
    "ActiveSet",
    "Batch",
    "BlockStep",
    "Blocks",
    "BudgetOracle",
    "BudgetedBlocks",
    "Certificate",
    "CertificateError",
    "ExactSelection",
    "Frontier",
    "Increments",
    "InfeasibleError",
    "Iterate",
    "Knapsack",
    "LinearOracle",
    "Quadratic",
    "Relaxation",
    "Residual",
    "Result",
    "Run",
    "Selection",
    "ShadowPrice",
    "SimplexOracle",
    "SolverError",
    "Stage",
    "StagedBlocks",
    "StagedCost",
    "Status",
    "StepRule",
    "SubgraphModel",
    "SubgraphProgram",
    "Unneeded",
    "argmax_projection",
    "augmented_lagrangian",
    "backtracking",
    "balanced_start",
    "block_frank_wolfe",
    "block_oracle",
    "block_step",
    "cheapest_start",
    "cheapest_subgraph",
    "even_shares",
    "exact_line_search",
    "frank_wolfe",
    "frontier",
    "gradient_descent",
    "hypervolume",
    "log_power",
    "maximum_entropy_start",
    "most_probable_counts",
    "non_dominated",
    "open_loop",
    "project_jointly",
    "project_separately",
    "project_sequentially",
    "project_subgraph",
    "relax",
    "shadow_prices",
    "short_step",
    "solve_exact",
    "target_ratio",
    "unevenness",
    "unneeded_options",
    "verify_projection",
]
