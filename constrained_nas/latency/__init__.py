"""Measuring: timers, runtimes, tables of blocks and widths, their validation, and a budget held on the device."""

from constrained_nas.latency.block_table import TableFit, calibrate, measure_table
from constrained_nas.latency.device_budget import (
    DeviceAttempt,
    DeviceRecord,
    DeviceSearch,
    device_record,
    fit_on_device,
    measure_alone,
    with_limit,
)
from constrained_nas.latency.imported import ImportConditions, import_csv_table, import_ofa_table
from constrained_nas.latency.measured_cost import measured_latency
from constrained_nas.latency.profiling import BlockTiming, Profiled, ProfileSettings, profile_space
from constrained_nas.latency.robust_times import least_samples
from constrained_nas.latency.rounds import log_beside, measure_networks, measure_runs
from constrained_nas.latency.runtimes import RuntimeName, require_runtime, runtime_called
from constrained_nas.latency.spread_networks import spread_networks
from constrained_nas.latency.subjects import uniform_architecture
from constrained_nas.latency.timer import Clock, Measurement, Progress, Timer, automatic_clock, device_name
from constrained_nas.latency.validation import Validation, timer_of, validate_table
from constrained_nas.latency.widths import calibrate_width_table, measure_width_table, time_networks
