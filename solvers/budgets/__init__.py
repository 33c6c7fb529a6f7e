"""One option a group under several budgets: relaxation, the race that solves it, and selections in order of worth."""

from solvers.budgets.program import BudgetBackend, BudgetedKnapsack
from solvers.budgets.ranking import ranked
from solvers.budgets.steering import UNSTEERED, Steering
