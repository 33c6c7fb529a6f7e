"""Kernels run by Python for a moment, and in machine code: the same answers to the last bit, and no limit overrun."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fuzzed_programs import KINDS, Findings, check, draw
from support.references import FAMILIES, random_options

from solvers import (
    Blocks,
    BudgetedBlocks,
    BudgetOracle,
    InfeasibleError,
    SolverError,
    Status,
    kernels,
    project_to_budget,
    solve_exact,
)
from solvers.budgets import search, tree
from solvers.kernels import compilation, compiled, is_made, oracle, patience
from solvers.kernels import exact as kernels_exact
from solvers.kernels.gibbs import gibbs
from solvers.knapsack import Knapsack, exact

needs_numba = pytest.mark.skipif(not kernels.uses_kernels("native"), reason="numba is not installed")


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, kernels are run by Python, as in a new process, with all patience; before it they wait for the compiler."""
    monkeypatch.setattr(search, "_PYTHON", 1e9)  # nobody joins
    monkeypatch.setattr(compilation, "_PATIENCE", 0.0)
    monkeypatch.setattr(compilation, "_LONG_PATIENCE", 0.0)

    def begin() -> None:
        compilation._wait()
        monkeypatch.setattr(compilation, "_machine", {})
        monkeypatch.setattr(compilation, "_making", {})
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
def test_python_and_machine_code_minimize_the_same_to_the_last_bit(by_python: Callable[[], None]) -> None:
    rng = np.random.default_rng(12)
    asked = []
    for sizes in ([3, 1, 4], [12] * 20, [6] * 40):
        blocks = Blocks.of(sizes)
        weights = np.round(rng.random(blocks.dimension), 1)
        feasible = BudgetedBlocks.of(blocks, weights[None], [0.4 * len(sizes)])
        asked += [(feasible, rng.choice([-1.0, 0.5, 2.0], blocks.dimension) * rng.random(blocks.dimension)) for _ in range(3)]

    def minimized(feasible: BudgetedBlocks, gradient: np.ndarray) -> list[object]:
        lmo = BudgetOracle.of(feasible)
        one, many = lmo.minimize(gradient), lmo.minimize_many(np.stack([gradient, -gradient]))
        assert one.x is not None and one.certificate is not None and many.x is not None
        return [
            one.x.tolist(),
            one.certificate.bound,
            one.certificate.primal,
            many.x.tolist(),
            many.bound.tolist(),
            many.dual.tolist(),
        ]

    expected = [minimized(*each) for each in asked]
    by_python()
    assert [minimized(*each) for each in asked] == expected
    assert not compilation._machine


@needs_numba
def test_python_has_more_patience_where_no_machine_code_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new machine has to make machine code, which takes half a minute; another process finds it and reads it in a second."""
    from numba import config

    compilation._wait()
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compilation, "_machine", {})
    monkeypatch.setattr(compilation, "_making", {})
    compilation._is_kept.cache_clear()
    monkeypatch.setattr(compilation, "_spent", 1.0)
    assert 5.0 < patience(gibbs, 100) < 10.0
    assert patience(gibbs, 10**6) == 0.0
    monkeypatch.setattr(compilation, "_spent", 20.0)
    assert patience(gibbs, 100) == 0.0
    monkeypatch.setattr(compilation, "_spent", 1.0)
    starts = np.array([0, 1])
    compiled(gibbs)(0.0, np.ones(1), starts, starts, starts[:1], starts[1:], np.empty(2))
    assert is_made(gibbs)
    monkeypatch.setattr(compilation, "_machine", {})  # another process
    compilation._is_kept.cache_clear()
    assert not is_made(gibbs) and patience(gibbs, 100) == 0.0
    compilation._is_kept.cache_clear()


@needs_numba
def test_a_kernel_that_another_one_may_call_is_not_made_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_machine", {})
    monkeypatch.setattr(compilation, "_making", {})
    monkeypatch.setattr(compilation, "_namespaces", {})
    compiled(oracle.minimize_many)  # nothing calls it yet
    assert oracle.minimize in compilation._machine
    assert not is_made(oracle.minimize) and not is_made(oracle.minimize_many)


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

    def moment(function: Any, numbers: int, least: float = 0.0) -> float:
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


@pytest.fixture
def compiler_at_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is compiled yet, Python's patience is over, and the compiler does not come to an end before the test does."""
    done = threading.Event()
    monkeypatch.setattr(compilation, "_machine", {})
    monkeypatch.setattr(compilation, "_making", {})
    monkeypatch.setattr(compilation, "_PATIENCE", 0.0)
    monkeypatch.setattr(compilation, "_LONG_PATIENCE", 0.0)
    monkeypatch.setattr(compilation, "_make", lambda kernel, arguments: done.wait())
    yield done
    done.set()


@needs_numba
@pytest.mark.parametrize("program", ["one budget", "two budgets", "nothing is small"])
def test_a_limit_holds_while_the_compiler_is_at_work(compiler_at_work: threading.Event, program: str) -> None:
    """Before, a first call on a machine came back after the compiler, 13 s or more, without a selection."""
    groups = 210 if program == "nothing is small" else 20
    first, second = np.round(1e3 * np.random.default_rng(8).random((2, groups, 12)))
    costs, budget = {"a": first, "b": second}, dict.fromkeys("ab", 350.0 * groups)
    data = (first, first, budget["a"]) if program == "one budget" else (first + second, costs, budget)
    began = time.perf_counter()
    try:
        found = project_to_budget(*data, time_limit_seconds=0.5)
    except SolverError as error:
        assert program == "nothing is small" and "no selection found within 0.5 s" in str(error)
        assert time.perf_counter() - began < 5.0
    else:
        assert time.perf_counter() - began < 5.0
        assert found.certificate.violation == 0.0 and found.certificate.gap is not None
        found.verify(*data)  # in Python as well here, and without a limit
    assert compilation._making  # it was asked for


@needs_numba
def test_ctrl_c_while_the_compiler_is_waited_for_leaves_it_at_work(compiler_at_work: threading.Event) -> None:
    """Before, the next call took what was being made for made, and waited for it whatever its limit."""
    tables = np.random.default_rng(9).random((2, 300, 20))
    timers = [
        threading.Timer(0.3, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]),
        threading.Timer(20.0, compiler_at_work.set),  # a signal that does not arrive is a failure, not a test without end
    ]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in processes of their own ignore it
    try:
        for timer in timers:
            timer.start()
        with pytest.raises(KeyboardInterrupt):
            project_to_budget(tables[0], tables[1], 100.0)
    finally:
        signal.signal(signal.SIGINT, before)
        for timer in timers:
            timer.cancel()
    assert not is_made(kernels_exact.solve)
    began = time.perf_counter()
    assert project_to_budget(tables[0], tables[1], 100.0, time_limit_seconds=0.5).certificate.violation == 0.0
    assert time.perf_counter() - began < 5.0


@needs_numba
@pytest.mark.parametrize("kind", KINDS)
def test_small_programs_are_proven_while_the_compiler_is_at_work(compiler_at_work: threading.Event, kind: str) -> None:
    """Before, a program of four groups could come back after its limit without a selection."""
    findings = Findings()
    for seed in range(8):
        check(draw(kind, seed), findings, [("exact", "native")], limited=True)
    assert not findings.faults


@needs_numba
def test_highs_proves_repeated_groups_while_the_compiler_is_at_work(compiler_at_work: threading.Event) -> None:
    bits = np.array([2.0, 3.0, 4.0, 8.0])
    scores, megabytes, ms = (
        np.tile(16.8 * row, (28, 1)) for row in (-(4.0**-bits), bits / 8, 0.02 + 0.01 * bits + 0.05 * (bits == 3))
    )
    costs = {"MB": np.round(megabytes, 3), "ms": np.round(ms, 3)}
    data = scores, costs, {name: round(float(0.63 * table.min() + 0.37 * table.max()) * 28, 3) for name, table in costs.items()}
    found = project_to_budget(*data, time_limit_seconds=20.0)
    assert found.status is Status.OPTIMAL
    found.verify(*data)


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
