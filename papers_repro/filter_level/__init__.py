"""Imported by filter_*.py only."""

from papers_repro.filter_level.grid import homogeneous_candidates, pruning_grid, quantization_grid, train_grid
from papers_repro.filter_level.homogeneous_line import (
    Comparison,
    at_chance,
    compare_with_line,
    deviation_ratio,
    holm,
    mean_difference,
    minus_others,
    typical_deviation,
)
from papers_repro.filter_level.laws import draw_laws
from papers_repro.filter_level.pictures import CONFIDENCE, UNITS, bars, draw_accuracies, finish_axes, new_panels, side_by_side
from papers_repro.filter_level.random_configurations import random_configurations
from papers_repro.filter_level.searches import Answers, SearchChanges, plans, run_searches
from papers_repro.filter_level.setup import KINDS, ContrastOptions, Kind, SplitOptions, setup_preset
from papers_repro.filter_level.trainings import Trained, candidate, train_candidates
