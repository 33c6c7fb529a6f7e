"""What users give, checked and as flat arrays: numbers, shares, tables and data frames of scores, costs and budgets."""

from solvers.tables.numbers import is_exact, read_gap, read_limit, read_number, read_rows
from solvers.tables.tables import ROUND_OFF, ScoreTable, allowed_program, read_table
