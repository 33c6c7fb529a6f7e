"""Random programs of every kind that has gone wrong somewhere, by every method and back end, against exact enumeration.

``pytest -m slow`` runs a hundred thousand programs; a tenth of them runs always.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from support.fuzzed_programs import KINDS, Findings, check, draw

NATIVE = [("exact", "native"), ("lp", "native"), ("greedy", "native"), ("argmax", "native")]
OTHERS = [("exact", "numpy"), ("lp", "numpy"), ("greedy", "numpy"), ("exact", "highs"), ("lp", "highs"), ("exact", "scipy")]
_TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", KINDS)
def test_no_promise_is_broken(kind: str) -> None:
    findings = Findings()
    for seed in range(1000):
        check(draw(kind, seed), findings, [NATIVE[0], *NATIVE[1 + seed % 3 :][: seed % 4 == 0]])
    assert sum(findings.solved.values()) == 1250 and not findings.faults


@pytest.mark.parametrize("kind", KINDS)
def test_no_promise_is_broken_by_the_other_back_ends(kind: str) -> None:
    findings = Findings()
    for seed in range(1000, 1060 if kind != "ulps" else 1010):
        check(draw(kind, seed), findings, OTHERS)
    assert not findings.faults


def test_what_a_multiplier_blurs_is_proven_by_each_groups_best() -> None:
    """Costs of 1e194 beside 1e-330 have a multiplier whose bound is 1e210 of the value away; all groups at their best fit."""
    findings = Findings()
    check(draw("extreme", 700_019), findings, [("exact", "numpy"), ("exact", "native")])
    assert findings.solved.total() == 2 and not findings.faults


@pytest.mark.parametrize("seed", [9_500_035, 9_500_039])
def test_a_bound_that_overflows_is_infinite_without_a_warning(seed: int) -> None:
    findings = Findings()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(draw("extreme", seed), findings, [("exact", "numpy")])
    assert findings.solved.total() == 1 and not findings.faults


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_promise_is_broken_in_a_hundred_thousand(kind: str) -> None:
    findings = Findings()
    for seed in range(10_000, 20_000):
        check(draw(kind, seed), findings, NATIVE[:1] + NATIVE[1 + seed % 3 : 2 + seed % 3])
    assert not findings.faults


@pytest.mark.parametrize("environment", ["without numba", pytest.param("with bounds checked", marks=pytest.mark.slow)])
def test_no_promise_is_broken_in_other_environments(environment: str, tmp_path: Path) -> None:
    """The kernels interpreted, and compiled with every index checked (a minute of compiling), in a process of their own."""
    bounds = environment == "with bounds checked"
    script = f"""
import sys
sys.path.insert(0, {str(_TESTS)!r})
if {not bounds}:
    sys.modules["numba"] = None
from support.fuzzed_programs import KINDS, Findings, check, draw
findings = Findings()
for kind in KINDS:
    for seed in range(2000, {2100 if bounds else 2012}):
        check(draw(kind, seed), findings, {NATIVE!r})
print(*findings.faults, sep="\\n")
"""
    variables = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)} if bounds else dict(os.environ)
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
