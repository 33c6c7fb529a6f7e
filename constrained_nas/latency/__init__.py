"""Measuring: timers, runtimes, tables of blocks and widths, their validation, and a budget held on the device."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.latency.block_table import TableFit, calibrate, calibrate_on, measure_table
    from constrained_nas.latency.device_budget import (
        DeviceAttempt,
        DeviceRecord,
        DeviceSearch,
        device_record,
        fit_on_device,
        measure_alone,
        measured_together,
        tightened,
        with_limit,
    )
    from constrained_nas.latency.imported import ImportConditions, import_csv_table, import_ofa_table, import_table
    from constrained_nas.latency.measured_cost import (
        measure_module_table,
        measured_latency,
        summed_latency,
    )
    from constrained_nas.latency.names import BlockTiming, Clock, Progress, RuntimeName
    from constrained_nas.latency.profiling import Profiled, ProfileSettings, profile_space
    from constrained_nas.latency.robust_times import inliers, least_samples
    from constrained_nas.latency.rounds import (
        Subject,
        corrected_times,
        log_beside,
        measure_networks,
        measure_runs,
        run_rounds,
        timed_rounds,
        timed_run,
    )
    from constrained_nas.latency.runtimes import require_runtime, runtime_called, runtime_title
    from constrained_nas.latency.spread import spread_networks
    from constrained_nas.latency.subjects import hooked, reference_architecture, uniform_architecture
    from constrained_nas.latency.timer import Measurement, TimedSpace, Timer, automatic_clock, device_name
    from constrained_nas.latency.validation import ValidatedNetwork, Validation, timer_of, validate_table
    from constrained_nas.latency.widths import calibrate_width_table, measure_width_table, time_networks

__getattr__ = on_demand(__name__)
