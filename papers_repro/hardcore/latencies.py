"""The latency table of an experiment: measured and calibrated on this machine, or one that was measured alike.

The table holds the median time of every block in every configuration, timed in context, calibrated on networks measured whole; it
does not depend on weights, so one serves all seeds.

Reference: HardCoRe-NAS, Sec. 3.1.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from constrained_nas.latency import Timer, automatic_clock, calibrate, device_name, measure_table
from graphs import MBConvSpace
from graphs.costs import LatencyTable, TableConditions, latency_cost, load_latency_table, require_conditions
from graphs.files import save_json
from papers_repro.experiment import Latencies, fresh_supernet
from papers_repro.hardcore.options import SetupOptions
from papers_repro.harness import Reports

BlockLatencies = Latencies[LatencyTable]


def measure_latencies(
    space: MBConvSpace, options: SetupOptions, seed: int, progress: Reports, folder: Path | None = None
) -> BlockLatencies:
    """Measure, calibrate and (where there is a folder) save the table; or load the one that the options name or resume from.

    Args:
        seed: of the order of the rounds and of the calibration networks.
        folder: of the script's results; the table goes to ``latency_table.json`` in it.

    Raises:
        ValueError: a table of another space, damaged, or measured on another device or with another batch or threads than the
            options ask for.
    """
    began = time.perf_counter()
    device, threads = options.latency_device, options.latency_threads
    clock = automatic_clock(device, threads) if options.clock == "auto" else options.clock
    timer = Timer(options.latency_batch, threads, device, clock=clock)
    saved = folder / "latency_table.json" if folder is not None else None
    source = options.latency_table or (saved if options.resume and saved is not None and saved.exists() else None)
    raw_fit = fit = None
    if source is not None:
        table = load_latency_table(source)
        # Found networks are timed as the timer says: estimates of another batch would stand beside what they do not estimate.
        asked = TableConditions(device_name(timer.device), timer.batch, "ms", timer.threads, clock=timer.clock)
        require_conditions(table, asked, str(source))
    else:
        generator = np.random.default_rng(seed)
        supernet = fresh_supernet(space, seed)
        report = progress.callback("latency table")
        table = measure_table(space, supernet, timer, options.rounds, generator, report)
        table, raw_fit, fit = calibrate(
            table, space, supernet, timer, options.calibration_networks, options.calibration_rounds, generator, report
        )
        if saved is not None:
            save_json(table, saved)
    cost = latency_cost(table, space)
    times = space.staged.per_configuration(cost.quadratic).reshape(len(space.block_names), -1)
    shallow = [space.settings.depths[0] > block % space.settings.blocks_per_stage for block in range(len(times))]
    deep = [space.settings.depths[-1] > block % space.settings.blocks_per_stage for block in range(len(times))]
    cheapest, costliest = times.min(axis=1)[shallow].sum(), times.max(axis=1)[deep].sum()
    fixed, seconds = table.fixed, time.perf_counter() - began
    return Latencies(table, cost, timer, raw_fit, fit, float(fixed + cheapest), float(fixed + costliest), seconds)
