"""Kernels run by Python for a moment, and in machine code: the same answers to the last bit, and no limit overrun."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.fuzzed_programs import KINDS, draw
from support.references import FAMILIES, random_options

from solvers import InfeasibleError, kernels, project_to_budget, solve_exact
from solvers.budgets import tree
from solvers.kernels import compilation
from solvers.knapsack import Knapsack, exact

needs_numba = pytest.mark.skipif(not kernels.uses_kernels("native"), reason="numba is not installed")


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, kernels are run by Python, as in a new process, with all patience."""

    def begin() -> None:
        monkeypatch.setattr(compilation, "_machine", {})
        monkeypatch.setattr(compilation, "_PATIENCE", 1e9)

    return begin


def answered(data: tuple[Any, ...], method: Any) -> tuple[Any, ...]:
    """All of an answer but its seconds."""
    try:
        found = project_to_budget(*data, method=method)
    except InfeasibleError as error:
        return (str(error),)
    facts = found.certificate
    dual = None if facts.dual is None else facts.dual.tolist()
    return found.choices, found.value, found.cost, found.status, facts.bound, facts.violation, dual, facts.stopped


@needs_numba
def test_python_and_machine_code_answer_the_same_to_the_last_bit(by_python: Callable[[], None]) -> None:
    rng = np.random.default_rng(5)
    programs = [draw(kind, seed).arguments() for kind in KINDS for seed in range(12)]
    for family in FAMILIES:
        scores, costs = random_options(rng, rng.integers(1, 6, 8).tolist(), family)
        programs.append((scores, costs, float(0.6 * sum(row.min() for row in costs) + 0.4 * sum(row.max() for row in costs))))
    for tied in (False, True):
        scores, first, second = np.round(rng.random((3, 10, 6)), 1 if tied else 15)
        programs.append((scores, {"a": first, "b": second}, {"a": 3.5, "b": 3.4}))
    asked = [(data, method) for number, data in enumerate(programs) for method in ("exact", "lp")[: 1 + (number % 4 == 0)]]
    expected = [answered(*each) for each in asked]
    by_python()
    assert [answered(*each) for each in asked] == expected
    assert not compilation._machine  # nothing was compiled


@needs_numba
@pytest.mark.parametrize("budgets", [1, 2])
def test_machine_code_goes_on_where_patience_ends(monkeypatch: pytest.MonkeyPatch, budgets: int) -> None:
    """A search that Python begins and does not end has the answer of one that it never saw."""
    rng = np.random.default_rng(6)
    scores, first, second = rng.random((3, 20, 12))
    data = (first, first, 6.0) if budgets == 1 else (scores, {"a": first, "b": second}, {"a": 6.0, "b": 6.0})
    expected = answered(data, "exact")
    room, kernel = (exact, "solve") if budgets == 1 else (tree, "search")
    impatient: list[str] = []

    def moment(function: Any, numbers: int) -> float:
        impatient.append(function.__name__)
        return 2e-3 if len(impatient) == 1 else 0.0

    monkeypatch.setattr(room, "patience", moment)
    found = answered(data, "exact")
    assert impatient[0] == kernel
    assert (found[1], found[3]) == (expected[1], expected[3])


@needs_numba
def test_a_limit_holds_while_python_runs_the_kernel(by_python: Callable[[], None]) -> None:
    rng = np.random.default_rng(7)
    costs = np.round(1e6 * rng.random(240))
    by_python()
    began = time.perf_counter()
    found = solve_exact(Knapsack.of(costs, costs, range(0, 241, 12)), float(0.4 * costs.sum() / 12), time_limit_seconds=0.05)
    assert time.perf_counter() - began < 0.5
    assert found.value <= 0.4 * costs.sum() / 12 <= found.bound + 1e-6 * found.bound


def test_small_programs_need_no_compiler_and_large_ones_have_it() -> None:
    code = (
        "import sys, numpy as np, solvers\n"
        "assert 'numba' not in sys.modules\n"
        "solvers.project_to_budget(np.ones((2, 2)), np.ones((2, 2)), 2.0, backend='numpy')\n"
        "table = np.random.default_rng(0).random((3, 20, 12))\n"
        "solvers.project_to_budget(table[0], table[1], 6.0)\n"
        "solvers.project_to_budget(table[0], {0: table[1], 1: table[2]}, {0: 6.0, 1: 6.0})\n"
        "assert 'numba' not in sys.modules\n"
        "solvers.project_to_budget(np.ones((500, 20)), np.ones((500, 20)), 500.0)\n"
        "print('numba' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(kernels.uses_kernels("native"))


def test_kernels_do_not_touch_numpys_random_state() -> None:
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    tables = np.random.default_rng(4).random((9, 6, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compilation, "_installed", lambda: False)
        patch.setattr(compilation, "_machine", {})
        project_to_budget(tables[0], dict(enumerate(tables[1:])), dict.fromkeys(range(8), 3.2))
    assert np.random.random() == expected
