"""One option a group under budgets, as flat arrays: relaxation, exact, several budgets, counts."""

from solvers.knapsack.budgets import BudgetBackend, BudgetedKnapsack
from solvers.knapsack.counts import most_probable_counts
from solvers.knapsack.decimals import decimal_places, from_units, whole_units
from solvers.knapsack.exact import ExactSelection, solve_exact
from solvers.knapsack.hulls import Increments, increments
from solvers.knapsack.program import Knapsack, exact_sum, first_best, fitting
from solvers.knapsack.ranking import ranked
from solvers.knapsack.relaxation import Relaxation, greedy, relax, relax_along
