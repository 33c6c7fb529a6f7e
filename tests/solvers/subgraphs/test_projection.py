"""Connected sub-graphs under budgets against an enumeration of all on/off vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.subgraph_programs import Enumeration, random_program

from solvers import Result, Status, SubgraphModel, SubgraphProgram, cheapest_subgraph, project_subgraph
from solvers.backends import MilpBackend

BACKENDS: tuple[MilpBackend, ...] = ("highs", "scipy")
# Objectives are sums of at most 12 numbers of order 1, rounded in another order here and there.
CLOSE = 1e-9


def random_scores(rng: np.random.Generator, edges: int) -> np.ndarray:
    scores = rng.normal(size=edges) + rng.choice([-1.0, 0.0, 1.0])
    scores[rng.random(edges) < 0.2] = 0.0
    return scores if rng.random() < 0.9 else -np.abs(scores)


def check(program: SubgraphProgram, scores: np.ndarray, result: Result, every: Enumeration) -> None:
    best = every.best(scores, program.limits)
    if best is None:
        assert result.status is Status.INFEASIBLE
        assert result.x is None
        for row, limit in enumerate(program.limits.tolist()):
            assert f"budget {row} is {limit!r} (least possible cost: {float(every.costs[:, row].min())!r})" in result.message
        alone = (every.costs.min(0) <= program.limits).all()
        assert ("not all at once" in result.message) == alone
        return
    assert result.status is Status.OPTIMAL
    assert result.x is not None
    assert result.certificate is not None
    assert (every.running == (result.x > 0)).all(1).any(), "no connected sub-graph"
    assert set(result.x.tolist()) <= {0.0, 1.0}
    row = int(np.flatnonzero((every.running == (result.x > 0)).all(1))[0])
    assert (every.costs[row] <= program.limits).all()
    assert program.totals(result.x) == every.costs[row].tolist()
    assert result.certificate.violation == 0.0
    assert result.certificate.maximize
    assert result.certificate.primal == pytest.approx(float(scores @ result.x), abs=CLOSE)
    assert result.certificate.primal == pytest.approx(best, abs=CLOSE)
    assert result.certificate.bound is not None
    assert result.certificate.bound >= result.certificate.primal
    assert result.certificate.gap == pytest.approx(0.0, abs=CLOSE * max(1.0, abs(best)))


def sweep(seeds: range, backend: MilpBackend, budgets: tuple[int, ...]) -> None:
    fitted = infeasible = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        program = random_program(rng, budgets=int(rng.choice(budgets)))
        every = Enumeration.of(program)
        model = SubgraphModel.of(program, backend=backend)
        for _ in range(2):  # the model is used again: what it learned of one objective must not spoil the next
            scores = random_scores(rng, program.edges)
            result = model.project(scores)
            check(program, scores, result, every)
            fitted, infeasible = fitted + (result.x is not None), infeasible + (result.x is None)
    assert min(fitted, infeasible) > len(seeds) / 20, "the sweep must see both outcomes"


@pytest.mark.parametrize("backend", BACKENDS)
def test_best_of_all_subgraphs(backend: MilpBackend) -> None:
    sweep(range(60), backend, (0, 1, 1, 2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_best_of_all_subgraphs_many_times(backend: MilpBackend) -> None:
    sweep(range(1000, 3000), backend, (1, 2, 3))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.floats(1e-9, 1e12))
def test_units_do_not_matter(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng, budgets=2)
    scores = random_scores(rng, program.edges)
    # A power of two, so that every sum only changes its exponent.
    power, weight = 2.0 ** np.round(np.log2(unit)), 2.0 ** float(rng.integers(-40, 40))
    scaled = replace(
        program,
        costs=program.costs * power,
        additions=program.additions * power,
        fixed=program.fixed * power,
        limits=program.limits * power,
    )
    one, two = project_subgraph(program, scores), project_subgraph(scaled, scores * weight)
    assert (one.x is None) == (two.x is None)
    if one.certificate is not None and two.certificate is not None:
        assert two.certificate.primal / weight == pytest.approx(one.certificate.primal, abs=CLOSE)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32))
def test_more_budget_is_never_worse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng)
    scores = random_scores(rng, program.edges)
    costs = np.unique(Enumeration.of(program).costs)
    last = -np.inf
    for limit in costs[:: max(1, len(costs) // 6)].tolist():
        result = project_subgraph(replace(program, limits=np.array([limit])), scores).require_feasible()
        assert result.certificate is not None
        assert result.certificate.primal >= last - CLOSE
        last = result.certificate.primal


@pytest.mark.parametrize("backend", BACKENDS)
def test_cheapest_of_all_subgraphs(backend: MilpBackend) -> None:
    beyond_the_path = 0
    for seed in range(80):
        program = random_program(np.random.default_rng(seed), budgets=2)
        every = Enumeration.of(program)
        for row in range(2):
            result = cheapest_subgraph(program, row, backend=backend)
            assert result.status is Status.OPTIMAL
            assert result.x is not None
            assert result.certificate is not None
            here = np.flatnonzero((every.running == (result.x > 0)).all(1))
            assert len(here) == 1
            assert result.certificate.primal == every.costs[here[0], row] == every.costs[:, row].min()
            assert result.certificate.bound == pytest.approx(result.certificate.primal, rel=CLOSE)
            assert result.certificate.violation == max(0.0, (every.costs[here[0]] - program.limits).max())
            beyond_the_path += result.x.sum() != program.nodes - 1 and bool((program.required > result.x).any())
    assert beyond_the_path > 5


def test_a_budget_just_below_a_cost_is_kept() -> None:
    # The next float below a cost: far within every mixed-integer solver's tolerance, so that only the exact sum tells.
    rng = np.random.default_rng(0)
    for _ in range(8):
        program = random_program(rng, required=False)
        program = replace(program, costs=program.costs * 0.1 + 0.1)  # no tenth is a float, so that sums depend on their order
        every = Enumeration.of(program)
        costs = np.array([program.totals(row)[0] for row in every.running])
        scores = np.abs(rng.normal(size=program.edges)) + 0.1
        for cost in np.unique(costs)[-3:].tolist():
            for limit in (cost, float(np.nextafter(cost, 0.0))):
                fits = costs <= limit
                for backend in BACKENDS:
                    result = project_subgraph(replace(program, limits=np.array([limit])), scores, backend=backend)
                    assert (result.x is not None) == fits.any()
                    if result.x is not None and result.certificate is not None:
                        assert program.totals(result.x)[0] <= limit
                        assert result.certificate.primal == pytest.approx(float((every.running[fits] @ scores).max()), abs=CLOSE)


def diamond(**changes: Any) -> SubgraphProgram:
    """0 -> 1 -> 3 and 0 -> 2 -> 3, with a second edge from 0 to 1; edges 0..4."""
    data: dict[str, Any] = {
        "sources": [0, 0, 0, 1, 2],
        "targets": [1, 1, 2, 3, 3],
        "nodes": 4,
        "costs": [[4.0, 1.0, 2.0, 3.0, 3.0]],
        "additions": [[9.0, 2.0, 9.0, 5.0]],
        "fixed": [1.0],
        "limits": [20.0],
        "required": np.zeros(5, dtype=bool),
    }
    return SubgraphProgram(**(data | changes))


def test_fan_in_is_paid_for() -> None:
    scores = np.ones(5)
    # Everything: 13 for the edges, 2 at node 1 and 5 at node 3 for a second input each, 1 fixed.
    assert diamond().totals(np.ones(5)) == [21.0]
    for limit, edges in ((21.0, 5.0), (20.0, 4.0), (14.0, 3.0), (5.0, 2.0)):
        program = diamond(limits=[limit])
        for backend in BACKENDS:
            result = project_subgraph(program, scores, backend=backend)
            assert result.x is not None and result.certificate is not None
            assert program.totals(result.x)[0] <= limit, backend
            assert result.x.tolist() == program.connected(result.x).tolist(), backend
            assert result.x.sum() == result.certificate.primal == result.certificate.bound == edges, (limit, backend)
    nothing = project_subgraph(diamond(limits=[4.5]), scores)
    assert nothing.status is Status.INFEASIBLE
    assert nothing.message == "no connected sub-graph fits: budget 0 is 4.5 (least possible cost: 5.0)"


def test_a_negative_edge_is_taken_where_it_leads_to_better_ones() -> None:
    scores = np.array([-1.0, -2.0, -9.0, 5.0, 0.0])
    result = project_subgraph(diamond(), scores)
    assert result.x is not None
    assert result.x.tolist() == [1, 0, 0, 1, 0]
    assert result.certificate is not None
    assert result.certificate.primal == 4.0


def test_required_edges_run_along() -> None:
    # 0 -> 2 and 2 -> 3 cannot be switched off: both run in every sub-graph, whatever they score.
    required = np.array([False, False, True, False, True])
    program = diamond(required=required, limits=[np.inf])
    assert program.connected([1, 0, 0, 0, 0]).tolist() == [False, False, True, False, True]
    for backend in BACKENDS:
        result = project_subgraph(program, [1.0, -1.0, -5.0, 1.0, -5.0], backend=backend)
        assert result.x is not None
        assert result.x.tolist() == [1, 0, 1, 1, 1]
    # A required edge between two paths runs as soon as its source is reached: 1 -> 2 between the two of a ladder.
    ladder = SubgraphProgram(
        sources=np.array([0, 0, 1, 1, 2]),
        targets=np.array([1, 2, 2, 3, 3]),
        nodes=4,
        costs=np.array([[1.0, 5.0, 100.0, 1.0, 5.0]]),
        additions=np.zeros((1, 4)),
        fixed=np.zeros(1),
        limits=np.array([200.0]),
        required=np.array([False, False, True, False, True]),
    )
    least = cheapest_subgraph(ladder)
    assert least.x is not None
    assert least.x.tolist() == [0, 1, 0, 0, 1]  # the shortest path, over node 1, would drag 105 along


def test_no_budgets_at_all() -> None:
    empty = np.zeros((0, 5)), np.zeros((0, 4))
    program = diamond(costs=empty[0], additions=empty[1], fixed=[], limits=[])
    result = project_subgraph(program, [1.0, 1.0, 1.0, 1.0, -2.0])
    assert result.x is not None
    assert result.x.tolist() == [1, 1, 0, 1, 0]


def test_out_of_time() -> None:
    rng = np.random.default_rng(0)
    # 20 layers, all joined to the next four: too much for a hundredth of a second.
    pairs = np.array([(a, b) for a in range(20) for b in range(a + 1, min(a + 5, 20))])
    costs, additions = rng.random((1, len(pairs))), rng.random((1, 20))
    none = np.zeros(len(pairs), dtype=bool)
    limits = np.array([0.4 * costs.sum()])
    program = SubgraphProgram(pairs[:, 0], pairs[:, 1], 20, costs, additions, np.zeros(1), limits, none)
    result = project_subgraph(program, rng.normal(size=len(pairs)), time_limit_seconds=0.0).require_feasible()
    assert result.x is not None
    assert program.fits(result.x)
    assert (program.connected(result.x) == (result.x > 0)).all()
    assert result.certificate is not None
    assert result.certificate.bound is not None
    assert result.certificate.bound >= result.certificate.primal
    unhurried = project_subgraph(program, rng.normal(size=len(pairs)))
    assert unhurried.status is Status.OPTIMAL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": [0, 0, 0, 1]}, "expected as many targets as sources, at least one; got 4 and 5"),
        ({"sources": [0.0, 0, 0, 1, 2]}, r"sources: expected node numbers \(E,\)"),
        ({"sources": [0, 0, 0, 3, 2]}, "edge 3: expected 0 <= source < target < 4, got 3 and 3: number the nodes topologically"),
        ({"targets": [1, 1, 2, 3, 4]}, "edge 4: expected 0 <= source < target < 4, got 2 and 4"),
        ({"targets": [3, 3, 2, 3, 3]}, "node 1: no edge leads into it"),
        ({"sources": [0, 0, 0, 1, 1]}, "node 2: no edge leads out of it"),
        ({"costs": [[1.0, 1.0]]}, r"costs: expected shape \(1, 5\), got \(1, 2\)"),
        ({"costs": [[1.0, 1.0, -2.0, 1.0, 1.0]]}, r"costs: expected finite numbers >= 0, got -2\.0 at \[0, 2\]"),
        ({"additions": [[1.0, np.inf, 1.0, 1.0]]}, r"additions: expected finite numbers >= 0, got inf at \[0, 1\]"),
        ({"fixed": [np.inf]}, "fixed: expected finite numbers"),
        ({"limits": [np.nan]}, "limits: holds NaN"),
        ({"limits": [1.0, 2.0]}, r"costs: expected shape \(2, 5\)"),
        ({"required": [0, 0, 0, 0, 1]}, "required: expected 5 truth values"),
    ],
)
def test_malformed_programs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diamond(**changes)


def test_malformed_questions() -> None:
    for scores, message in (
        (np.ones(4), r"scores: expected shape \(5,\)"),
        ([1.0, np.nan, 1.0, 1.0, 1.0], "scores: holds NaN"),
        ([1.0, np.inf, 1.0, 1.0, 1.0], "scores: expected finite numbers, got inf"),
    ):
        with pytest.raises(ValueError, match=message):
            project_subgraph(diamond(), scores)
    with pytest.raises(ValueError, match="backend: expected 'highs' or 'scipy', got 'cbc'"):
        project_subgraph(diamond(), np.ones(5), backend="cbc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="row: expected a budget's number below 1, got 1"):
        cheapest_subgraph(diamond(), 1)


def test_arrays_are_copied_and_locked() -> None:
    costs = np.ones((1, 5))
    program = diamond(costs=costs)
    costs[:] = 7.0
    assert program.costs.tolist() == [[1.0] * 5]
    with pytest.raises(ValueError, match="read-only"):
        program.sources[0] = 1
