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

__all__ = ["first_call_seconds", "machine", "versions"]

_PACKAGES = ("numpy", "scipy", "numba", "highspy", "ortools", "torch")
_FIRST_CALLS = """
import json, time
import numpy as np
began = time.perf_counter()
import solvers
imported = time.perf_counter() - began
scores, costs = np.random.default_rng(0).random((2, 20, 12))
seconds = []
for _ in range(2):
    began = time.perf_counter()
    solvers.project_to_budget(scores, costs, 6.0)
    seconds.append(time.perf_counter() - began)
print(json.dumps([imported, *seconds]))
"""


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


def first_call_seconds(root: Path) -> dict[str, float]:
    """Seconds of the first ``project_to_budget`` of a process: with nothing compiled, and with the compiled code kept."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder, "PYTHONPATH": str(root)}
        figures = []
        for _ in range(2):
            done = subprocess.run([sys.executable, "-c", _FIRST_CALLS], env=environment, capture_output=True, text=True, check=True)
            figures.append(json.loads(done.stdout))
    return {
        "import solvers": figures[1][0],
        "first native call, compiling": figures[0][1],
        "first native call, compiled before": figures[1][1],
        "second native call": figures[1][2],
    }
