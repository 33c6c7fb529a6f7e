"""Imported by prunet_*.py only."""

from papers_repro.prunet.detector import DetectionOptions, average_precision, make_detector, train_detector
from papers_repro.prunet.fronts import COLOURS, draw_table2, draw_two, scatter_front
from papers_repro.prunet.grid import GridOptions, grid_preset, run_grid
from papers_repro.prunet.matching import Matched, MatchOptions, match_budgets
from papers_repro.prunet.measuring import Measured, fit_remark, measure_found
from papers_repro.prunet.memory import saved_bytes
from papers_repro.prunet.peers import check_peers, peer_rows
from papers_repro.prunet.published import CONSTANT_THRESHOLD, RISING_THRESHOLDS, SKIP_SETTINGS, TABLE3, TABLE6, front_rows
from papers_repro.prunet.rivals import random_networks, rival_rows, rivals_of
from papers_repro.prunet.searches import Pruned, SearchSpec, run_searches, start_over
from papers_repro.prunet.setup import (
    PruNetOptions,
    WidthLatencies,
    imagewoof_preset,
    load_data,
    make_space,
    measure_latencies,
    measured_space,
    setup_preset,
)
from papers_repro.prunet.spaces import separate_candidates
