"""Imported by bsn_*.py only."""

from papers_repro.bsn.figures import COLOURS, FigureOptions, draw_ours, draw_published, legend_below, make_figure
from papers_repro.bsn.learned import budget_rows, budgets_in, families_in, front_rows, runs_of
from papers_repro.bsn.networks import Family, published_unit
from papers_repro.bsn.published import CostName
from papers_repro.bsn.reference import TABLES
from papers_repro.bsn.runs import ContestBudget, ContestRun, EpochRecord, Method, RunsRecord, pareto_front, switches
from papers_repro.bsn.setup import ContestOptions, contest_preset
from papers_repro.bsn.tables import TableOptions, print_tables, table_of, table_preset
