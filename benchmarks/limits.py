"""How large it may be: time and peak memory by groups, options, budgets, tensors, edges of a DAG, images, cells and processes.

Every size runs in a process of its own, so that its memory is its own; the time leaves imports out and a first small call, which
compiles. Writes ``limits.json``, the picture ``limits.png`` and, with ``--docs``, a page. The exponent is the slope of the last two
sizes on logarithmic axes: 1 is a straight line.

    python -m benchmarks.limits --out benchmarks/results --docs docs/limits.md
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, versions
from graphs.files import read_json, save_json, save_text, written_whole

SIZES: dict[str, tuple[tuple[int, ...], str]] = {
    "groups": ((1_000, 10_000, 100_000), "of 10 options under one budget, solved exactly"),
    "options": ((10, 100, 1_000, 10_000), "in each of 100 groups under one budget, solved exactly"),
    "budgets": ((1, 2, 4), "on 100 groups of 10 options, solved exactly within 60 s"),
    "tensors": ((500, 5_000, 50_000), "of 5 types in a file for `allocate`: read, chosen exactly, greedily and uniformly"),
    "edges": ((2, 4, 8), "columns of a convolutional neural fabric: its cheapest connected sub-graph"),
    "images": ((800, 1_600, 3_200), "digits drawn at 32 pixels and kept in memory"),
    "cells": ((10, 40, 160), "of a sweep of hardcore-small, one search projected onto each, not tested"),
    "processes": ((1, 2), "for the same steps of a super-network, batches of 64 in two parts, on this machine"),
}


def main() -> None:
    """Measure every size, or (``--one``) one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/limits"))
    parser.add_argument("--docs", type=Path, help="write the table there too")
    parser.add_argument("--only", nargs="*", help="measure these, and take the others from the record in --out")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "SIZE"))
    given = parser.parse_args()
    if given.one:
        seconds, size = _MEASURED[given.one[0]](int(given.one[1]))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"size": size, "seconds": seconds, "mib": memory}))
        return
    kept = read_json(given.out / "limits.json", "record of limits")["rows"] if given.only else []
    rows = []
    for what, (sizes, _) in SIZES.items():
        again = not given.only or what in given.only
        rows += [{"what": what, **row} for row in _measured(what, sizes)] if again else [r for r in kept if r["what"] == what]
    save_json({"kind": "limits", "machine": machine(), "versions": versions(), "rows": rows}, given.out / "limits.json")
    _draw(rows, (given.docs.parent / "images" if given.docs else given.out) / "limits.png")
    if given.docs:
        save_text(_page(rows), given.docs)


def _measured(what: str, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    rows = []
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.limits", "--one", what, str(size)]
        count = size if what == "processes" else 1
        shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29_511}
        shared |= {"TORCHELASTIC_RUN_ID": "limits", "GROUP_RANK": 0} if count > 1 else {}
        started = []
        for rank in range(count):
            own = {name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()} if count > 1 else {}
            started.append(subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, text=True))
        told = [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]
        rows.append({"size": told[0]["size"], "seconds": max(t["seconds"] for t in told), "mib": sum(t["mib"] for t in told)})
        print(what, rows[-1], flush=True)
    return rows


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _selection(groups: int, options: int, budgets: int) -> float:
    import numpy as np

    import solvers

    def instance(count: int, each: int) -> tuple[Any, dict[str, Any], dict[str, float]]:
        generator = np.random.default_rng(0)
        costs = {f"cost {number}": generator.uniform(1, 100, (count, each)) for number in range(budgets)}
        return generator.random((count, each)), costs, {name: 0.8 * float(c.mean(1).sum()) for name, c in costs.items()}

    small, large = instance(5, options), instance(groups, options)
    solvers.project_to_budget(small[0], small[1], small[2])
    return _timed(lambda: solvers.project_to_budget(large[0], large[1], large[2], time_limit_seconds=60))


def _tensors(count: int) -> float:
    import contextlib
    import io
    import random

    from constrained_nas.commands.bits import Allocate, allocate

    generator, lines = random.Random(0), ["tensor,type,weights,loss"]
    for number in range(count):
        weights = generator.randrange(1_000, 1_000_000)
        for kind, bits in (("q2_k", 2.6), ("q3_k", 3.4), ("q4_k", 4.5), ("q5_k", 5.5), ("q6_k", 6.6)):
            lines.append(f"blk.{number}.weight,{kind},{weights},{generator.random() * weights * 4**-bits!r}")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        (few := Path(folder) / "few.csv").write_text("\n".join(lines[:26]))
        (all_ := Path(folder) / "all.csv").write_text("\n".join(lines))
        allocate(Allocate(few, (3.5,)))
        return _timed(lambda: allocate(Allocate(all_, (3.5,))))


def _edges(columns: int) -> tuple[float, int]:
    from constrained_nas.runs import family_named

    family = family_named(f"cnf-{columns}").build(f"cnf-{columns}", 10, 3, 32)
    cost = family.counted()["params"]
    return _timed(lambda: family.cheapest(cost)), len(family.space.dag.edges)  # type: ignore[attr-defined]


def _images(count: int) -> tuple[float, int]:
    from constrained_nas.data import load_splits

    draws = count // 800
    return _timed(lambda: load_splits("digits", 32, 0.2, 0, training_digits=800, draws=draws, test_draws=1)), draws * 800 + 997


def _cells(count: int) -> tuple[float, int]:
    from constrained_nas.runs import RunSettings
    from constrained_nas.sweeps import SweepOptions, parse_grid, run_sweep

    settings = RunSettings(
        space="hardcore-small", resolution=16, training_digits=100, draws=1, epochs=1, warm_up=1, train_epochs=1, batch_size=16
    )
    with tempfile.TemporaryDirectory() as folder:
        run_sweep(settings, SweepOptions(tuple(parse_grid(("params=60e3",))), test=False), Path(folder))  # trains
        more = SweepOptions(tuple(parse_grid((f"params=40e3:140e3:{count}",))), test=False, searched=(("params", 60e3),))
        return _timed(lambda: run_sweep(settings, more, Path(folder))), count


def _processes(count: int) -> tuple[float, int]:
    import torch

    from constrained_nas.data import load_splits
    from constrained_nas.training import TrainingOptions, make_fabric, train_supernet
    from graphs import hardcore_small

    torch.set_num_threads(1)
    torch.manual_seed(0)
    space, data = hardcore_small(10, 32, 1), load_splits("digits", 32, 0.2, 0, training_digits=800, draws=1, test_draws=1)
    net, fabric = space.supernet(), make_fabric()
    options = TrainingOptions(1, 64, 0.05, mixup=0.0, parts=2)
    heaviest = net.gates(space.heaviest())

    def train() -> None:
        train_supernet(net, heaviest, data.weights, options, options, fabric)

    train()
    return _timed(train), count


_MEASURED: dict[str, Callable[[int], tuple[float, int]]] = {
    "groups": lambda size: (_selection(size, 10, 1), size),
    "options": lambda size: (_selection(100, size, 1), size),
    "budgets": lambda size: (_selection(100, 10, size), size),
    "tensors": lambda size: (_tensors(size), size),
    "edges": _edges,
    "images": _images,
    "cells": _cells,
    "processes": _processes,
}


def _exponent(rows: list[dict[str, Any]]) -> float:
    before, last = rows[-2:]
    return math.log(last["seconds"] / before["seconds"]) / math.log(last["size"] / before["size"])


def _page(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Sizes tried",
        "",
        f"Measured by `benchmarks/limits.py` on {machine()['processor']}, {machine()['logical_cores']} cores, which others were "
        "using too: the times are what to expect at most, and the growth says more than they do. Each size ran once, in a process "
        "of its own; memory is the peak of the whole process (processes: of all together), of which imports take 100 to 400 MiB. "
        "The exponent is that of the time over the last two sizes: 1 is a straight line.",
        "",
        "| what | size | time, s | peak memory, MiB | exponent |",
        "|---|--:|--:|--:|--:|",
    ]
    for what, (_, said) in SIZES.items():
        mine = [row for row in rows if row["what"] == what]
        for place, row in enumerate(mine):
            name, end = (f"{what} {said}" if place == 0 else ""), (f"{_exponent(mine):.2f}" if row is mine[-1] else "")
            lines.append(f"| {name} | {row['size']:,} | {row['seconds']:.3g} | {row['mib']:,.0f} | {end} |")
    return "\n".join([*lines, "", "![Time by size](images/limits.png)", ""])


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 4, figsize=(14, 6.5), layout="constrained")
    for axis, what in zip(axes.flat, SIZES, strict=False):
        mine = [row for row in rows if row["what"] == what]
        sizes, seconds = [row["size"] for row in mine], [row["seconds"] for row in mine]
        axis.loglog(sizes, seconds, "o-", label="measured")
        axis.loglog(sizes, [seconds[0] * size / sizes[0] for size in sizes], "--", color="grey", label="straight line")
        axis.set(xlabel=what, ylabel="s", title=f"{what}: exponent {_exponent(mine):.2f}")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axis.minorticks_off()
    axes.flat[0].legend()
    for axis in axes.flat[len(SIZES) :]:
        axis.axis("off")
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=90, format="png")
    pyplot.close(figure)


if __name__ == "__main__":
    main()
