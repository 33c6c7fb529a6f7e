"""Imported by hardcore_*.py only."""

from papers_repro.hardcore.contest import METHODS, Contest, ContestOptions, Outcome, run_contest
from papers_repro.hardcore.contest_rows import Ranking, Tested, tested_rows
from papers_repro.hardcore.latencies import BlockLatencies, measure_latencies
from papers_repro.hardcore.learned_points import LEARNED, SOFT, STEPS, learned_points
from papers_repro.hardcore.on_device import Found, ReferenceRounds, hold_all, reference_rounds
from papers_repro.hardcore.options import SetupOptions, learned_digits, setup_preset
from papers_repro.hardcore.picture import draw_contest
from papers_repro.hardcore.points import Instance, frank_wolfe_point, random_point, synthetic_space, undecided_point
from papers_repro.hardcore.programs import Backend, Problem, draw_problem, search_programs
from papers_repro.hardcore.published import FRONT, table1_rows
from papers_repro.hardcore.rounding import SCHEMES, Checks, Projected, check_joint, project_point
from papers_repro.hardcore.setup import load_data, make_space, prepare, training_options
from papers_repro.hardcore.testing import Tests
from papers_repro.hardcore.uniform import UniformNetwork, uniform_networks
