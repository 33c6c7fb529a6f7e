"""Measured processes keep the memory they free."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from constrained_nas.latency.timer import Timer

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        torch.ones(8_000_000).add_(1)  # 32 MB, beyond what glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
with Timer().threads_set():
    faults()  # the pages come in once
    print(first, faults())
"""


def test_large_blocks_are_not_faulted_in_again() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only glibc has the settings")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=300)
    before, after = map(int, done.stdout.split())
    if before < 50 * 1000:  # 32 MB are 8192 pages of 4 KB
        pytest.skip("this system has large pages, or an allocator that keeps freed memory anyway: there is nothing to see")
    assert after < before / 20
