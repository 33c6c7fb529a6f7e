"""Moving a relaxed point step by step: oracles, step rules, Frank-Wolfe whole and by blocks, the soft baselines."""

from solvers.descent.answers import Batch
from solvers.descent.block_coordinate import BlockStep, block_frank_wolfe, block_oracle, block_step
from solvers.descent.frank_wolfe import ActiveSet, Iterate, Run, Variant, frank_wolfe
from solvers.descent.oracles import BudgetOracle, LinearOracle, SimplexOracle
from solvers.descent.penalties import Descent, Residual, augmented_lagrangian, gradient_descent, log_power, target_ratio
from solvers.descent.step_rules import StepRule, backtracking, exact_line_search, open_loop, short_step
