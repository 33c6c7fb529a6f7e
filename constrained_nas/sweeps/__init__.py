"""Many runs on one super-network."""

from constrained_nas.sweeps.grid import SearchMode, parse_grid
from constrained_nas.sweeps.parallel import Backend
from constrained_nas.sweeps.record import SweepFront, SweepRecord
from constrained_nas.sweeps.sweep import SweepOptions, run_sweep
