"""How long commands and first calls take to answer: medians of ten processes each, after one that fills Python's cache.

``python benchmarks/start.py`` prints two tables; targets are those of an idle machine. First calls are made by one process that
compiles and by one that reads what was compiled.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

from benchmarks.machine import first_call_seconds

TABLE = "group,option,score,latency_ms,params\na,x,1,1,3\na,y,2,2,5\nb,x,1,1,1\nb,y,3,3.5,9\n"
COMMAND = (sys.executable, "-m", "constrained_nas")
REPEATS = 10


def main() -> None:
    """Time, print."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.csv")
        table.write_text(TABLE)
        cases = {
            "import constrained_nas": (0.2, (sys.executable, "-c", "import constrained_nas")),
            "--help": (0.3, (*COMMAND, "--help")),
            "search --help": (0.8, (*COMMAND, "search", "--help")),
            "search ... --bugdet params=4": (0.8, (*COMMAND, "search", "hardcore-small", "--bugdet", "params=4")),
            "search hardcore-smal ...": (0.8, (*COMMAND, "search", "hardcore-smal", "--budget", "params=4")),
            "project, one budget": (1.0, (*COMMAND, "project", str(table), "--budget", "latency=4ms")),
            "project, two budgets": (1.0, (*COMMAND, "project", str(table), "--budget", "latency=4ms", "--budget", "params=60%")),
        }
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        print(f"{'what':<32} {'wall, s':>8} {'processor, s':>13} {'target, s':>10}")
        for name, (target, command) in cases.items():
            times = [_timed(command, environment) for _ in range(REPEATS + 1)][1:]
            wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"{name:<32} {wall:>8.2f} {processor:>13.2f} {target:>10.1f}")
    print()
    for name, (wall, processor) in first_call_seconds(ROOT).items():
        print(f"{name:<64} {wall:>10.4f} {processor:>10.4f}")


def _timed(command: tuple[str, ...], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that pass, and that the process computes."""
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, env=environment, capture_output=True, check=False)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, spent


if __name__ == "__main__":
    main()
