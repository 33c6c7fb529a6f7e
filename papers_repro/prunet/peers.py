"""Published networks of PruNet's Table 2 that can be built: counted by our counter and timed on this machine.

GPUNets are built here, the others by timm. That is an optional peer: without it its rows are left out and the table says so.
Weights are fresh: latencies do not depend on them.

Reference: PruNet, Table 2; Wightman, PyTorch Image Models; Wang et al., GPUNet.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from constrained_nas.latency import Timer, measure_runs
from graphs.costs import count
from graphs.spaces import GPUNET_COUNTS, GPUNETS, gpunet
from papers_repro.harness import Column, Reports, Row, Rows, row_of
from papers_repro.prunet.published import COUNTS, DISTILLED, FRONT


def check_peers(names: Sequence[str]) -> None:
    """Refuse peers whose published row is not known.

    Raises:
        ValueError: a name that is not among ``papers_repro.prunet.published.COUNTS`` or ``graphs.spaces.gpunet_releases.GPUNETS``.
    """
    known = (*COUNTS, *GPUNETS)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"peers: {', '.join(unknown)} unknown; expected some of {', '.join(known)}")


def peer_rows(names: Sequence[str], rounds: int, clock: str, seed: int, progress: Reports) -> Rows:
    """Counts of every known peer, latencies (batch 1, one thread of the CPU) of those in ``names``.

    Raises:
        ValueError: as :func:`check_peers`.
    """
    check_peers(names)
    columns = [
        Column("network", "network", "as the paper names it; GPUNets are built here, the others by timm"),
        Column("resolution", "side", "of the images, in pixels"),
        Column("parameters", "params", "counted here"),
        Column("macs", "MACs", "multiply-adds of convolutions and linear layers, counted here"),
        Column("equal", "=", "whether both are fvcore's counts of the network to the digit; GPUNets as released, without padding"),
        Column("latency", "CPU ms", "measured here: batch 1, one thread of the CPU; - for networks left out by --peers", ".1f"),
        Column("spread", "spread", "interquartile range over the rounds, ms", ".1f"),
        Column("published", "V100 ms", "published (Table 2): a V100 at half precision, not this machine", ".2f"),
    ]
    timm: Any = importlib.import_module("timm") if importlib.util.find_spec("timm") is not None else None
    known = {name: (name, *counts) for name, counts in GPUNET_COUNTS.items()} | (COUNTS if timm else {})
    times = _measured(timm, [name for name in names if name in known], rounds, clock, seed, progress)
    published = {network.name: network.latency_ms for network in (*DISTILLED, *FRONT)}
    ours: list[Row] = []
    for name, (paper_name, side, parameters, macs) in known.items():
        with torch.device("meta"):
            counted = count(_network(timm, name, True), (3, side, side))
        middle, spread = times.get(name, (None, None))
        equal = (counted.parameters, counted.macs) == (parameters, macs)
        counts = side, counted.parameters, counted.macs, equal
        ours.append(row_of(columns, paper_name, *counts, middle, spread, published[paper_name]))
    version = f"timm {timm.__version__}" if timm else "timm is not installed (pip install timm), so its networks are left out"
    remark = f"{version}; fresh weights, {rounds} interleaved rounds, {clock} clock, channels last."
    return Rows("Peers, counted and timed here", columns, ours, remark=remark)


def _network(timm: Any, name: str, released: bool = False) -> nn.Module:
    if name in GPUNETS:
        return gpunet(name, released=released)
    network: nn.Module = timm.create_model(name, pretrained=False)
    return network


def _measured(
    timm: Any, names: Sequence[str], rounds: int, clock: str, seed: int, progress: Reports
) -> dict[str, tuple[float, float]]:
    if not names:
        return {}
    timer, generator = Timer(clock="processor" if clock == "processor" else "wall"), np.random.default_rng(seed)
    runs = {}
    for name in names:
        with torch.random.fork_rng(devices=[]):
            network = timer.place(_network(timm, name))
        side = GPUNETS[name][0] if name in GPUNETS else COUNTS[name][1]
        runs[name] = partial(network, torch.zeros(1, 3, side, side).contiguous(memory_format=torch.channels_last))
    found = measure_runs(runs, timer, rounds, generator, progress.callback(), "timing peers")
    return {name: (one.median, one.spread) for name, one in found.items()}
