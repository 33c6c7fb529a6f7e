"""Many runs on one super-network."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.sweeps.grid import parse_grid
    from constrained_nas.sweeps.names import SearchMode
    from constrained_nas.sweeps.parallel import Backend
    from constrained_nas.sweeps.record import SweepFront, SweepRecord
    from constrained_nas.sweeps.sweep import SweepOptions, run_sweep

__getattr__ = on_demand(__name__)
