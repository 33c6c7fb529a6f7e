"""What a benchmark ran on, and what the first compiled call costs. No paths and no host names."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from solvers import project_to_budget

__all__ = ["compile_kernels", "first_call_seconds", "machine", "versions"]

_PACKAGES = ("numpy", "scipy", "numba", "highspy", "ortools", "torch")
_FIRST_CALLS = """
import json, time
import numpy as np
began = time.perf_counter(), time.process_time()
import solvers
figures = [(time.perf_counter() - began[0], time.process_time() - began[1])]
rng = np.random.default_rng(0)
scores, costs, sizes = rng.random((3, 20, 12))
wide = rng.random((3, 400, 12))
one, two = (scores, costs, 6.0), (scores, {"a": costs, "b": sizes}, {"a": 6.0, "b": 6.0})
large_one, large_two = (*wide[:2], 120.0), (wide[0], {"a": wide[1], "b": wide[2]}, {"a": 120.0, "b": 130.0})
for program in (one, one, two, two, large_one, large_two, one, two):
    began = time.perf_counter(), time.process_time()
    solvers.project_to_budget(*program)
    figures.append((time.perf_counter() - began[0], time.process_time() - began[1]))
print(json.dumps(figures))
"""
_NAMES = (
    "import solvers",
    "first call, 20x12",
    "second call, 20x12",
    "first call, 20x12, two budgets",
    "second call, 20x12, two budgets",
    "first large call, 400x12",
    "first large call, 400x12, two budgets",
    "call by compiled code, 20x12",
    "call by compiled code, 20x12, two budgets",
)


def machine() -> dict[str, str | int]:
    """Processor, logical cores, system."""
    processor = platform.processor()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    return {"processor": processor, "logical_cores": os.cpu_count() or 0, "system": platform.system()}


def versions() -> dict[str, str]:
    """Python's and the packages' versions; "missing" where one is not installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def compile_kernels() -> None:
    """Have the kernels of one and of several budgets in machine code: Python runs them at first, and a limit would see that."""
    wide = np.random.default_rng(0).random((3, 400, 12))
    project_to_budget(wide[0], wide[1], 120.0)
    project_to_budget(wide[0], {"a": wide[1], "b": wide[2]}, {"a": 120.0, "b": 130.0})


def first_call_seconds(root: Path) -> dict[str, list[float]]:
    """Seconds that pass, and that the process computes, at first calls of a process: nothing compiled, and compiled before."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder, "PYTHONPATH": str(root)}
        for state in ("nothing compiled", "compiled before"):
            done = subprocess.run([sys.executable, "-c", _FIRST_CALLS], env=environment, capture_output=True, text=True, check=True)
            found |= {f"{state}: {name}": figures for name, figures in zip(_NAMES, json.loads(done.stdout), strict=True)}
    return found
