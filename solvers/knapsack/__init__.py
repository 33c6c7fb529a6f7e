"""One option a group under a budget, as flat arrays: relaxation, exact, decimals, counts."""

from solvers.knapsack.counts import most_probable_counts
from solvers.knapsack.decimals import decimal_places, from_units, whole_units
from solvers.knapsack.exact import ExactSelection, solve_exact
from solvers.knapsack.hulls import Increments, increments
from solvers.knapsack.program import Knapsack, exact_sum, first_best, fitting, priced_budget
from solvers.knapsack.relaxation import Relaxation, greedy, relax, relax_along
