"""What sampled sub-graphs save: milliseconds per training step of a super-network and of its sub-graphs. Writes a table and JSON.

    python benchmarks/routing.py --quick     half a minute, to see that it runs
    python benchmarks/routing.py             some minutes

Then what a search adds to a step on the processor: the costs of a batch's sub-graphs (told together, and one after another as
networks) and the projections of its samples onto a budget (filled by prices, and proven the best), with the share of the best score
that filling reaches.

A step is forward, backward and SGD with momentum on one thread. The sub-graphs are drawn afresh for every step among those that
cost between a fifth and a quarter of the full multiply-adds: one for the whole batch, or one for each example. The variants take
turns within one run, each round in another order, so that what else the machine does falls on all of them alike; medians are
compared.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
if sys.path and Path(sys.path[0]).resolve() == _ROOT / "benchmarks":
    sys.path[0] = str(_ROOT)  # started as a script: its siblings must not hide packages

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.machine import machine, versions
from constrained_nas.methods.budgeted import ConnectedProgram
from constrained_nas.problem import Budget, SearchProblem
from graphs import DagSpace, convolutional_neural_fabric, resnet, resnet_fabric
from graphs.costs import connected_macs
from graphs.supernet import layer_of

_SHARES = (0.20, 0.25)  # of the full multiply-adds: where the sub-graphs are drawn
_MOST_MS = 5.0  # for the costs, and for the projections, of one step
_TARGET = 2.0  # how much faster the step of one sub-graph must be than the full one
_FULL, _ONE, _BARE = "whole super-network", "one sub-graph a batch", "the same, as a bare network"
_ROUTED, _MASKED = "a sub-graph an example, routed", "a sub-graph an example, masked"
_VARIANTS = (_FULL, _ONE, _BARE, _ROUTED, _MASKED)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    fabric: str
    batch: int
    variant: str
    share_of_macs: float  # mean over the rows that ran
    milliseconds: float  # median
    quartiles: tuple[float, float]
    faster_than_whole: float
    steps: int

    @property
    def verdict(self) -> str:
        if self.variant != _ONE:
            return ""
        return "met" if self.faster_than_whole >= _TARGET else "MISSED"


@dataclass(frozen=True, slots=True)
class Added:
    """What a search does in a step beside running the network."""

    fabric: str
    what: str
    milliseconds: float  # median
    before_milliseconds: float  # median of the plain way
    times_as_fast: float
    share_of_best: float | None  # of projections: mean score over the best one's

    @property
    def verdict(self) -> str:
        return "met" if self.milliseconds <= _MOST_MS else "MISSED"


def main(quick: bool = False, out: Path | None = None, seed: int = 0) -> None:
    """Run the benchmark.

    Args:
        quick: the small fabric alone, fewer steps.
        out: the JSON file; benchmarks/results/routing.json (routing_quick.json) if not given.
        seed: of weights, images and sub-graphs.
    """
    torch.set_num_threads(1)
    console = Console(width=150)
    began = time.time()
    out = out or _ROOT / "benchmarks" / "results" / f"routing{'_quick' if quick else ''}.json"
    jobs = [
        ("ResNet fabric 3, 16x16, 8/16/32 filters", resnet_fabric(3, side=16, widths=(8, 16, 32)), 64),
        ("ResNet fabric 3, 32x32, 16/32/64 filters", resnet_fabric(3), 64),
        ("CNF 4x6, 32x32, 16 filters", convolutional_neural_fabric(4, 6, 16, classes=10), 64),
    ]
    rows: list[Row] = []
    for name, fabric, batch in jobs[:1] if quick else jobs:
        rows += _measure(name, fabric, batch, 5 if quick else 21, seed, console)
    added = _added(resnet_fabric(3) if quick else resnet_fabric(18), resnet(1 if quick else 3), 2 if quick else 7, seed)
    record = {
        "machine": machine(),
        "versions": versions(),
        "threads": 1,
        "seed": seed,
        "quick": quick,
        "seconds": time.time() - began,
        "rows": [asdict(row) | {"verdict": row.verdict} for row in rows],
        "added": [asdict(row) | {"verdict": row.verdict} for row in added],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    _print(rows, console)
    _print_added(added, console)
    console.print(f"written to {out.name}")


def _measure(name: str, fabric: DagSpace, batch: int, rounds: int, seed: int, console: Console) -> list[Row]:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    routing, masking = fabric.supernet("route"), fabric.supernet("mask")
    masking.load_state_dict(routing.state_dict())
    # The layout in which the library trains.
    nets = {rows: net.train().to(memory_format=torch.channels_last) for rows, net in (("route", routing), ("mask", masking))}
    optimizers = {rows: _sgd(net) for rows, net in nets.items()}
    shape = layer_of(fabric.dag, fabric.connectivity.nodes[0]).shape
    images = torch.randn(batch, *shape).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))
    draw = _drawer(fabric, rng)
    whole = routing.gates(fabric.whole)
    spent: dict[str, list[float]] = {variant: [] for variant in _VARIANTS}
    shares: dict[str, list[float]] = {variant: [] for variant in _VARIANTS}

    def step(variant: str, network: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, share: float) -> None:
        started = time.perf_counter()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        spent[variant].append(time.perf_counter() - started)
        shares[variant].append(share)

    for index in track(range(rounds + 1), name, console=console):
        switches, one = draw(1)
        each, many = draw(batch)
        alone = {gate: rows[0] for gate, rows in _gates(fabric, switches).items()}
        apart = _gates(fabric, each)
        bare = routing.extract(fabric.switched(switches[0])).to(memory_format=torch.channels_last)
        work = {
            _FULL: (lambda x: routing(x, whole), optimizers["route"], 1.0),
            _ONE: (lambda x, gates=alone: routing(x, gates), optimizers["route"], one),
            _BARE: (bare, _sgd(bare), one),
            _ROUTED: (lambda x, gates=apart: routing(x, gates), optimizers["route"], many),
            _MASKED: (lambda x, gates=apart: masking(x, gates), optimizers["mask"], many),
        }
        for place in rng.permutation(len(_VARIANTS)):
            step(_VARIANTS[place], *work[_VARIANTS[place]])
        if index == 0:  # the first steps allocate memory
            for variant in _VARIANTS:
                spent[variant].clear()
                shares[variant].clear()
    return [_row(name, batch, variant, spent[variant], shares[variant], spent[_FULL]) for variant in _VARIANTS]


def _added(fabric: DagSpace, plain: DagSpace, rounds: int, seed: int) -> list[Added]:
    """The costs of 128 sub-graphs, and 8 projections onto what ``plain`` costs; both ways take turns."""
    rng, cost = np.random.default_rng(seed), connected_macs(fabric)
    problem = SearchProblem(fabric.space, (Budget(cost, connected_macs(plain).cost(plain.whole), cost.unit),))
    program, decisions = ConnectedProgram.of(fabric, problem), len(fabric.space.decisions)
    spent: dict[str, list[float]] = {way: [] for way in ("observe", "one by one", "fill", "prove")}
    shares: list[float] = []

    def timed(way: str, work: Callable[[], NDArray[np.generic]]) -> NDArray[np.generic]:
        started = time.perf_counter()
        found = work()
        spent[way].append(time.perf_counter() - started)
        return found

    program.good(np.ones((1, decisions)))  # compiles
    for _ in range(rounds):
        on = rng.random((256, decisions)) < 0.95
        parts = fabric.connectivity
        joined = parts.connected(parts.switched_on(np.stack([~on, on], axis=2).reshape(256, -1))).any(axis=1)
        on = on[joined][:128]
        points = np.stack([~on, on], axis=2).reshape(128, -1).astype(np.float64)
        together = timed("observe", lambda points=points: problem.observe(points)["macs"])
        architectures = [fabric.space.architecture(point) for point in points]
        apart = timed("one by one", lambda made=architectures: np.array([cost.cost(architecture) for architecture in made]))
        assert np.array_equal(together, apart)
        scores = 3.0 + rng.logistic(size=(8, decisions))
        filled = timed("fill", lambda scores=scores: program.good(scores))
        best = timed("prove", lambda scores=scores: np.array([program.best(row).x for row in scores])) > 0.5
        columns = fabric.connectivity.columns
        worth = np.where(columns >= 0, scores[:, np.maximum(columns, 0) // 2], 0.0)
        shares += ((worth * filled).sum(1) / (worth * best).sum(1)).tolist()
    median = {way: 1000 * float(np.median(seconds)) for way, seconds in spent.items()}
    return [
        Added(fabric.name, what, median[way], median[before], median[before] / median[way], share)
        for what, way, before, share in (
            ("costs of 128 sub-graphs", "observe", "one by one", None),
            ("8 projections", "fill", "prove", float(np.mean(shares))),
        )
    ]


def _row(name: str, batch: int, variant: str, seconds: list[float], shares: list[float], whole: list[float]) -> Row:
    low, median, high = (1000 * float(value) for value in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Row(
        name, batch, variant, float(np.mean(shares)), median, (low, high), 1000 * float(np.median(whole)) / median, len(seconds)
    )


def _sgd(network: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)


def _drawer(fabric: DagSpace, rng: np.random.Generator) -> Callable[[int], tuple[NDArray[np.bool_], float]]:
    """Draws switches (rows, decisions) of connected sub-graphs within ``_SHARES`` of the full cost, and says their mean share."""
    cost = connected_macs(fabric, "exact")
    parts = fabric.connectivity
    full = cost.cost(fabric.whole)

    def draw(rows: int) -> tuple[NDArray[np.bool_], float]:
        kept, shares = np.empty((0, len(fabric.space.decisions)), dtype=np.bool_), np.empty(0)
        while len(kept) < rows:
            chances = rng.uniform(0.2, 0.9, (2000, 1))
            on = rng.random((2000, kept.shape[1])) < chances
            live = parts.connected(parts.switched_on(np.stack([~on, on], axis=2).reshape(2000, -1)))
            share = cost.cost_of_running(live) / full
            fits = live.any(axis=1) & (share >= _SHARES[0]) & (share <= _SHARES[1])
            kept, shares = np.concatenate([kept, on[fits]]), np.concatenate([shares, share[fits]])
        return kept[:rows], float(shares[:rows].mean())

    return draw


def _gates(fabric: DagSpace, on: NDArray[np.bool_]) -> dict[str, Tensor]:
    """Gates (rows, 2) of switches (rows, decisions)."""
    points = torch.from_numpy(np.stack([~on, on], axis=2).astype(np.float32))
    return {decision.name: points[:, place] for place, decision in enumerate(fabric.space.decisions)}


def _print(rows: list[Row], console: Console) -> None:
    title = (
        f"Training steps, batch {rows[0].batch}, one thread; target: one sub-graph a batch {_TARGET:g} times as fast as the whole"
    )
    table = Table(title=title)
    for column, justify in (("super-network", "left"), ("runs", "left"), ("multiply-adds", "right"), ("ms a step", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for column in ("quartiles", "times as fast", "target"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.fabric if row.variant == _FULL else "",
            row.variant,
            f"{100 * row.share_of_macs:.0f} %",
            f"{row.milliseconds:.1f}",
            f"{row.quartiles[0]:.1f} to {row.quartiles[1]:.1f}",
            f"{row.faster_than_whole:.2f}",
            row.verdict,
            end_section=row.variant == _VARIANTS[-1],
        )
    console.print(table)


def _print_added(rows: list[Added], console: Console) -> None:
    table = Table(title=f"What a search adds to a step; target: {_MOST_MS:g} ms each")
    for column in ("super-network", "what", "ms", "plain way, ms", "times as fast", "share of the best", "target"):
        table.add_column(column, justify="left" if column in ("super-network", "what") else "right")
    for row in rows:
        share = "-" if row.share_of_best is None else f"{row.share_of_best:.3f}"
        times = (f"{row.milliseconds:.2f}", f"{row.before_milliseconds:.0f}", f"{row.times_as_fast:.0f}")
        table.add_row(row.fabric, row.what, *times, share, row.verdict)
    console.print(table)


if __name__ == "__main__":
    tyro.cli(main)
