"""Published networks of PruNet's Table 2 that timm can build: counted by our counter and timed on this machine.

timm is an optional peer: without it the rows are left out and the table says so. Weights are fresh: latencies do not depend on
them.

Reference: PruNet, Table 2; Wightman, PyTorch Image Models.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from constrained_nas.latency import Timer, measure_runs
from graphs.costs import count
from papers_repro.harness import Column, Reports, Row, Rows, row_of
from papers_repro.prunet.published import COUNTS, FRONT


def check_peers(names: Sequence[str]) -> None:
    """Refuse peers whose published row is not known.

    Raises:
        ValueError: a name that is not among ``prunet_published.COUNTS``.
    """
    unknown = sorted(set(names) - set(COUNTS))
    if unknown:
        raise ValueError(f"peers: {', '.join(unknown)} unknown; expected some of {', '.join(COUNTS)}")


def peer_rows(names: Sequence[str], rounds: int, clock: str, seed: int, progress: Reports) -> Rows:
    """Counts of every known peer, latencies (batch 1, one thread of the CPU) of those in ``names``.

    Raises:
        ValueError: as :func:`check_peers`.
    """
    check_peers(names)
    columns = [
        Column("network", "network", "as the paper names it, built by timm"),
        Column("resolution", "side", "of the images, in pixels"),
        Column("parameters", "params", "counted here"),
        Column("macs", "MACs", "multiply-adds of convolutions and linear layers, counted here"),
        Column("equal", "=", "whether both equal fvcore's counts of the network to the digit"),
        Column("latency", "CPU ms", "measured here: batch 1, one thread of the CPU; - for networks left out by --peers", ".1f"),
        Column("spread", "spread", "interquartile range over the rounds, ms", ".1f"),
        Column("published", "V100 ms", "published (Table 2): a V100 at half precision, not this machine", ".2f"),
    ]
    if importlib.util.find_spec("timm") is None:
        return Rows(
            "Peers from timm", columns, [], remark="timm is not installed: pip install timm to count and time its networks."
        )
    timm: Any = importlib.import_module("timm")
    times = _measured(timm, names, rounds, clock, seed, progress)
    published = {network.name: network.latency_ms for network in FRONT}
    ours: list[Row] = []
    for name, (paper_name, side, parameters, macs) in COUNTS.items():
        with torch.device("meta"):
            counted = count(timm.create_model(name, pretrained=False), (3, side, side))
        middle, spread = times.get(name, (None, None))
        equal = (counted.parameters, counted.macs) == (parameters, macs)
        counts = side, counted.parameters, counted.macs, equal
        ours.append(row_of(columns, paper_name, *counts, middle, spread, published[paper_name]))
    remark = f"timm {timm.__version__}, fresh weights, {rounds} interleaved rounds, {clock} clock, channels last."
    return Rows("Peers from timm, counted and timed here", columns, ours, remark=remark)


def _measured(
    timm: Any, names: Sequence[str], rounds: int, clock: str, seed: int, progress: Reports
) -> dict[str, tuple[float, float]]:
    if not names:
        return {}
    timer, generator = Timer(clock="processor" if clock == "processor" else "wall"), np.random.default_rng(seed)
    runs = {}
    for name in names:
        with torch.random.fork_rng(devices=[]):
            network = timer.place(timm.create_model(name, pretrained=False))
        side = COUNTS[name][1]
        runs[name] = partial(network, torch.zeros(1, 3, side, side).contiguous(memory_format=torch.channels_last))
    found = measure_runs(runs, timer, rounds, generator, progress.callback(), "timing peers")
    return {name: (one.median, one.spread) for name, one in found.items()}
