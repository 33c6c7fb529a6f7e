"""NAS-Bench-Macro in tests: its own file where there is one, and made ones of the same form with our counts."""

from __future__ import annotations

import json
import os
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from graphs import MacroSpace
from graphs.costs import mac_cost, parameter_cost
from solvers.arrays import FloatArray

SPACE = MacroSpace()


def benchmark_path() -> Path:
    """The benchmark's file, or the test is skipped."""
    path = os.environ.get("NAS_BENCH_MACRO")
    if path is None or not Path(path).is_file():
        pytest.skip("set NAS_BENCH_MACRO to nas-bench-macro_cifar10.json (github.com/xiusu/NAS-Bench-Macro) to test on it")
    return Path(path)


@cache
def points() -> FloatArray:
    """(6561, 25) every network by rising code."""
    codes = np.array(list(product(range(3), repeat=8)))
    one_hot = np.concatenate([np.eye(3)[codes[:, layer]] for layer in range(8)], 1)
    return np.concatenate([one_hot, np.ones((len(codes), 1))], 1)


@cache
def counts() -> FloatArray:
    """(2, 6561) multiply-adds and parameters of every network."""
    costs = [cost.quadratic for cost in (mac_cost(SPACE), parameter_cost(SPACE))]
    x = points()
    return np.stack([cost.offset + ((x @ cost.theta) * x).sum(1) for cost in costs])


@cache
def made_losses(seed: int, interaction: float) -> FloatArray:
    """(6561,) between .05 and .4: costlier options are better on the whole, pairs of options matter by ``interaction``."""
    generator, x = np.random.default_rng(seed), points()
    linear = np.concatenate([np.sort(generator.uniform(size=3))[::-1] for _ in range(8)] + [np.zeros(1)])
    pairs = np.triu(generator.normal(size=(25, 25)), 3) * interaction
    raw = x @ linear + ((x @ pairs) * x).sum(1)
    return 0.05 + 0.35 * (raw - raw.min()) / np.ptp(raw)


def write_made_benchmark(path: Path, seed: int = 0, interaction: float = 0.1) -> Path:
    """A file of the benchmark's form: made accuracies, our counts."""
    macs, params = counts()
    codes = ("".join(map(str, code)) for code in product(range(3), repeat=8))
    accuracies = 100 * (1 - made_losses(seed, interaction))
    rows = zip(codes, accuracies.tolist(), params.astype(int).tolist(), macs.astype(int).tolist(), strict=True)
    content = {code: {"mean_acc": accuracy, "params": p, "flops": m} for code, accuracy, p, m in rows}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
