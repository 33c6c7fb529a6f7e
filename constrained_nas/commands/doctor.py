"""The command ``doctor``: what is installed, what is missing for what, and whether this machine's latencies can be trusted."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.table import Table

from constrained_nas.commands.console import PlainConsole

# What each package is for, and the extra that brings it.
_OPTIONAL = {
    "numba": ("compiled solvers", "numba"),
    "onnx": ("export to ONNX", "onnx"),
    "onnxruntime": ("checking ONNX, and its latencies", "onnx"),
    "onnxscript": ("export to ONNX", "onnx"),
    "timm": ("peers and teachers", "timm"),
    "pyyaml": ("once-for-all tables", "yaml"),
    "ray": ("sweeps on a cluster", "ray"),
    "submitit": ("sweeps by slurm", "slurm"),
    "tensorboard": ("search --tensorboard", "tensorboard"),
}
_NEEDED = ("torch", "torchvision", "numpy", "scipy")
_COMPILERS = ("c++", "g++", "clang++", "cl")
_STEADY, _USABLE = 0.03, 0.10  # of the median: half the spread of times of the same work
_REPEATS = 60


@dataclass(frozen=True)
class Doctor:
    """Say what is installed and what is missing for what, and how steady this machine's clocks are; takes some seconds.

    For example: doctor
    """

    json: bool = False
    """Print JSON instead of a table."""


def doctor(command: Doctor) -> None:
    """Look, time a fixed piece of work, and print."""
    facts = examined()
    console = PlainConsole()
    if command.json:
        console.print_json(json.dumps(facts))
        return
    table = Table(title=f"constrained-nas {facts['version']}, Python {facts['python']}", title_justify="left")
    for column in ("what", "found", "for"):
        table.add_column(column, overflow="fold")
    for name, found in facts["packages"].items():
        purpose, extra = _OPTIONAL.get(name, ("", ""))
        table.add_row(name, found or "-", purpose + ("" if found or not extra else f": pip install 'constrained-nas[{extra}]'"))
    table.add_row("GPU", facts["gpu"] or "-", "" if facts["gpu"] else "training and latencies on cuda")
    table.add_row("C++ compiler", facts["compiler"] or "-", "latencies in torch-compile on a CPU")
    table.add_row("cores", f"{facts['cores']}, torch uses {facts['threads']}", "")
    console.print(table)
    for clock, noise in facts["noise"].items():
        console.print(f"{clock} clock: the same work takes +-{noise:.1%}: {_judged(noise)}")
    console.print(f"beside what this process runs, time passes {facts['busy']:.2f} x as fast: {_busy(facts['busy'])}")


def examined() -> dict[str, Any]:
    """All that is printed, JSON-ready; ``noise`` is half the interquartile range over the median, by clock."""
    packages = {name: _version(name) for name in (*_NEEDED, *_OPTIONAL)}
    gpu, threads = "", 0
    if packages["torch"]:
        import torch

        gpu, threads = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "", torch.get_num_threads()
    wall, processor = _timed(time.perf_counter), _timed(time.thread_time)
    return {
        "version": _version("constrained-nas"),
        "python": platform.python_version(),
        "packages": packages,
        "gpu": gpu,
        "compiler": next((name for name in _COMPILERS if shutil.which(name)), ""),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "threads": threads,
        "noise": {"wall": _spread(wall), "processor": _spread(processor)},
        "busy": statistics.median(wall) / statistics.median(processor),
    }


def _timed(clock: Callable[[], float]) -> list[float]:
    """Seconds of the same matrix product, again and again, by a clock; a few milliseconds each."""
    import numpy as np

    matrix, times = np.random.default_rng(0).standard_normal((256, 256)), []
    for _ in range(_REPEATS):
        began = clock()
        for _ in range(4):
            matrix @ matrix
        times.append(clock() - began)
    return times[_REPEATS // 6 :]  # the first ones warm up


def _spread(times: list[float]) -> float:
    quarters = statistics.quantiles(times, n=4)
    return (quarters[2] - quarters[0]) / 2 / quarters[1]


def _judged(noise: float) -> str:
    if noise <= _STEADY:
        return "latencies can be trusted"
    return "latencies need more --rounds" if noise <= _USABLE else "do not trust latencies now: end other work, fix the clock rate"


def _busy(times: float) -> str:
    return "the machine is idle" if times < 1.1 else "others are at work; measure by the processor clock (CPU, one thread)"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
