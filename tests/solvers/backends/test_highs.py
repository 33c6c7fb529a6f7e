"""The HiGHS adapter: bounds from multipliers, scaling, hot starts that go wrong, mixed-integer and quadratic programs."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp

from solvers.backends import LinearModel, MixedIntegerModel, Polyhedron, linear_program, minimize_quadratic
from solvers.results import SolverError, Status
from solvers.sets import Blocks, BudgetedBlocks


def knapsack(seed: int, groups: int = 8, options: int = 5) -> tuple[Polyhedron, np.ndarray, BudgetedBlocks]:
    generator = np.random.default_rng(seed)
    blocks = Blocks.of([options] * groups)
    weights = generator.random(blocks.dimension)
    feasible = BudgetedBlocks.of(blocks, weights, 0.4 * groups)
    return Polyhedron.of_budgeted_blocks(feasible), generator.normal(size=blocks.dimension), feasible


def test_dual_bound_is_a_bound_for_any_multipliers() -> None:
    polyhedron, costs, _ = knapsack(0)
    optimum = LinearModel.of(polyhedron).minimize(costs)
    generator = np.random.default_rng(1)
    for _ in range(50):
        guess = generator.normal(size=len(polyhedron.row_lower))
        guess[-1] = -abs(guess[-1])  # a row without a lower bound takes no positive multiplier
        assert polyhedron.dual_bound(costs, guess) <= optimum.certificate.primal + 1e-12
    assert polyhedron.dual_bound(costs, np.ones(len(polyhedron.row_lower))) == -np.inf
    assert polyhedron.dual_bound(costs, optimum.certificate.dual) == pytest.approx(optimum.certificate.primal, abs=1e-9)


def test_products_and_residual_match_a_dense_matrix() -> None:
    generator = np.random.default_rng(2)
    dense = generator.normal(size=(4, 6)) * (generator.random((4, 6)) < 0.5)
    polyhedron = Polyhedron.of(dense, np.full(4, -1.0), np.ones(4), np.zeros(6), np.ones(6))
    x, y = generator.normal(size=6), generator.normal(size=4)
    assert polyhedron.product(x) == pytest.approx(dense @ x, abs=1e-14)
    assert polyhedron.transposed_product(y) == pytest.approx(dense.T @ y, abs=1e-14)
    assert polyhedron.residual(x) == pytest.approx(max(0.0, np.abs(dense @ x).max() - 1.0, -x.min(), x.max() - 1.0), abs=1e-14)
    assert polyhedron.residual(np.zeros(6)) == 0.0


def test_scaling_makes_units_immaterial() -> None:
    polyhedron, costs, feasible = knapsack(3)
    value = LinearModel.of(polyhedron).minimize(costs).certificate.primal
    for unit in (1e-9, 1e9):
        scaled = BudgetedBlocks.of(feasible.blocks, feasible.weights * unit, feasible.capacities * unit)
        result = LinearModel.of(Polyhedron.of_budgeted_blocks(scaled)).minimize(costs * unit)
        assert result.certificate.primal == pytest.approx(value * unit, rel=1e-9)
        assert result.certificate.violation <= 1e-9 * unit


class LyingOnce:
    """A solver that reports the point of another objective on its first solve after being armed, as a broken hot start does."""

    def __init__(self, solver: object, wrong: np.ndarray) -> None:
        self.solver, self.wrong, self.armed, self.cleared = solver, wrong, True, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.solver, name)

    def changeColsCost(self, count: int, columns: np.ndarray, costs: np.ndarray) -> object:  # noqa: N802
        self.costs = costs
        return self.solver.changeColsCost(count, columns, self.wrong if self.armed else costs)

    def clearSolver(self) -> object:  # noqa: N802
        self.cleared += 1
        if self.cleared == 1:
            self.armed = False
            self.solver.changeColsCost(len(self.costs), np.arange(len(self.costs), dtype=np.int32), self.costs)
        return self.solver.clearSolver()


def test_a_wrong_hot_start_is_noticed_and_solved_again_cold() -> None:
    polyhedron, costs, _ = knapsack(4)
    honest = LinearModel.of(polyhedron)
    value = honest.minimize(costs).certificate.primal
    lying = LyingOnce(honest._solver, -costs)
    model = LinearModel(polyhedron, honest._scaled, honest._scale, lying)
    assert model.minimize(costs).certificate.primal == pytest.approx(value, abs=1e-9)
    assert lying.cleared == 1


def test_a_solver_that_stays_wrong_is_an_error() -> None:
    polyhedron, costs, _ = knapsack(5)
    honest = LinearModel.of(polyhedron)
    lying = LyingOnce(honest._solver, -costs)
    lying.cleared = 1  # never disarms
    with pytest.raises(SolverError, match="after a cold solve"):
        LinearModel(polyhedron, honest._scaled, honest._scale, lying).minimize(costs)


def test_a_multiplier_of_the_wrong_sign_within_the_tolerance_proves_nothing_and_harms_nothing() -> None:
    polyhedron, costs, feasible = knapsack(6)
    assert polyhedron.provable(np.full(9, 1e-12)).tolist() == [1e-12] * 8 + [0.0]  # the budget has no lower bound
    value = LinearModel.of(polyhedron).minimize(costs).certificate.primal
    for backend in ("highs", "scipy"):
        assert linear_program(feasible, backend)(costs).certificate.bound == pytest.approx(value, abs=1e-8)


def test_infeasible_and_unbounded() -> None:
    contradiction = Polyhedron.of([[1.0, 1.0]], [3.0], [3.0], [0.0, 0.0], [1.0, 1.0])
    assert LinearModel.of(contradiction).minimize(np.ones(2)).status is Status.INFEASIBLE
    assert MixedIntegerModel.of(contradiction, np.ones(2, dtype=bool)).minimize(np.ones(2)).status is Status.INFEASIBLE
    assert minimize_quadratic(contradiction, np.eye(2), np.ones(2)).status is Status.INFEASIBLE
    ray = Polyhedron.of([[1.0, -1.0]], [0.0], [0.0], [0.0, 0.0], [np.inf, np.inf])
    with pytest.raises(SolverError, match=r"[Uu]nbounded"):
        LinearModel.of(ray).minimize(-np.ones(2))


def test_mixed_integer_matches_scipy() -> None:
    for seed in range(15):
        polyhedron, costs, feasible = knapsack(seed)
        ours = MixedIntegerModel.of(polyhedron, np.ones(len(costs), dtype=bool)).minimize(costs)
        sums = np.kron(np.eye(8), np.ones(5))
        rows = [LinearConstraint(sums, 1, 1), LinearConstraint(feasible.weights, -np.inf, feasible.capacities)]
        theirs = milp(costs, constraints=rows, integrality=np.ones(len(costs)), options={"mip_rel_gap": 0.0})
        assert ours.status is Status.OPTIMAL and set(ours.x.tolist()) <= {0.0, 1.0}
        assert ours.certificate.primal == pytest.approx(theirs.fun, abs=1e-9)
        assert ours.certificate.gap <= 1e-9 and ours.certificate.violation <= 1e-9


def test_a_time_limit_is_kept() -> None:
    polyhedron, costs, _ = knapsack(0, groups=60, options=60)
    result = MixedIntegerModel.of(polyhedron, np.ones(len(costs), dtype=bool)).minimize(costs, time_limit_seconds=0.0)
    assert result.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    if result.x is not None and result.certificate.bound is not None:
        assert result.certificate.bound <= result.certificate.primal + 1e-9


def test_quadratic_meets_its_optimality_conditions() -> None:
    """Projection onto a simplex: the answer is max(v - threshold, 0)."""
    generator = np.random.default_rng(7)
    for _ in range(20):
        v = generator.normal(size=6)
        simplex = Polyhedron.of(np.ones((1, 6)), [1.0], [1.0], np.zeros(6), np.ones(6))
        x = minimize_quadratic(simplex, np.eye(6), -v).x
        ranked = np.sort(v)[::-1]
        thresholds = (np.cumsum(ranked) - 1.0) / np.arange(1, 7)
        threshold = thresholds[np.flatnonzero(ranked > thresholds)[-1]]
        assert x == pytest.approx(np.maximum(v - threshold, 0.0), abs=1e-6)  # HiGHS's QP tolerance is 1e-7


def test_malformed_polyhedra() -> None:
    with pytest.raises(ValueError, match="bounds do not fit 1 rows and 2 columns"):
        Polyhedron.of([[1.0, 1.0]], [0.0, 0.0], [1.0], [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="NaN"):
        Polyhedron.of([[1.0, np.nan]], [0.0], [1.0], [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        Polyhedron.from_csr([0, 1], [5], [1.0], [0.0], [1.0], [0.0, 0.0], [1.0, 1.0])
