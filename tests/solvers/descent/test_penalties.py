"""Soft penalties: derivatives, the toy problem's violation 1 / (1 + lambda d), divergence, the augmented Lagrangian."""

from collections.abc import Callable

import numpy as np
import pytest

from solvers.descent import Descent, Residual, augmented_lagrangian, gradient_descent, log_power, target_ratio
from solvers.descent.penalties import hinge, squared
from solvers.results import Status

D = 10
SUM_TO_ONE = Residual(lambda x: float(x.sum()) - 1.0, lambda x: np.ones_like(x), equality=True)


def toy(coefficient: float, learning_rate: float, iterations: int) -> Descent:
    start = np.arange(1.0, D + 1) / np.arange(1.0, D + 1).sum()
    return gradient_descent(
        lambda x: float(x @ x),
        lambda x: 2 * x,
        SUM_TO_ONE,
        start,
        coefficient=coefficient,
        learning_rate=learning_rate,
        iterations=iterations,
    )


@pytest.mark.parametrize("coefficient", [0.1, 1.0, 9.0, 100.0])
def test_a_penalty_violates_by_one_over_one_plus_lambda_d(coefficient: float) -> None:
    rate = 0.9 / (1 + coefficient * D)  # below 2 / (2 + 2 lambda d), the bound of stability
    result = toy(coefficient, rate, int(60 * (1 + coefficient * D))).result
    assert result.status is Status.VIOLATED
    assert result.certificate.violation == pytest.approx(1 / (1 + coefficient * D), rel=1e-9)


@pytest.mark.parametrize(("coefficient", "diverges"), [(1.0, False), (9.0, False), (10.0, True), (100.0, True)])
def test_learning_rate_of_a_hundredth_diverges_from_lambda_ten(coefficient: float, diverges: bool) -> None:
    descent = toy(coefficient, 0.01, 20_000)
    assert ("diverged at iteration" in descent.result.message) is diverges
    assert np.isfinite(descent.result.x).all() and np.isfinite(descent.violations).all()
    assert bool(descent.violations[-1] > 1e6) is diverges


@pytest.mark.parametrize(
    "penalty",
    [
        squared,
        hinge,
        lambda r: log_power(r, 0.5),
        lambda r: target_ratio(r, 3.0, -0.07, -0.2),
        lambda r: target_ratio(r, 3.0, 0.0, -1.0),
    ],
)
def test_derivatives(penalty: Callable[[float], tuple[float, float]]) -> None:
    for at in (1.5, 2.9, 3.1, 40.0):
        step = 1e-6 * at
        slope = (penalty(at + step)[0] - penalty(at - step)[0]) / (2 * step)
        assert penalty(at)[1] == pytest.approx(
            slope, rel=1e-6, abs=1e-9
        )  # central differences: 1e-12 of curvature, 1e-10 of rounding


def test_values_of_published_penalties() -> None:
    assert hinge(-2.0) == (0.0, 0.0) and hinge(2.0) == (2.0, 1.0)
    assert log_power(np.e**2, 0.4, 0.6)[0] == pytest.approx(0.4 * 2**0.6)
    assert target_ratio(80.0, 80.0) == (1.0, pytest.approx(-0.07 / 80))
    assert target_ratio(160.0, 80.0)[0] == pytest.approx(2**-0.07)
    assert target_ratio(40.0, 80.0, below=0.0, above=-1.0) == (1.0, 0.0)
    with pytest.raises(ValueError, match="microseconds"):
        log_power(0.5, 1.0)
    with pytest.raises(ValueError, match="positive cost and target"):
        target_ratio(1.0, 0.0)


def test_augmented_lagrangian_meets_an_equality() -> None:
    descent = augmented_lagrangian(
        lambda x: float(x @ x),
        lambda x: 2 * x,
        SUM_TO_ONE,
        np.zeros(D),
        coefficient=1.0,
        learning_rate=0.05,
        rounds=30,
        iterations=300,
    )
    assert descent.result.certificate.violation <= 1e-9
    assert descent.result.x == pytest.approx(np.full(D, 0.1), abs=1e-9)
    assert descent.result.certificate.dual[0] == pytest.approx(-0.2, abs=1e-8)  # 2 x + multiplier = 0 at x = 1 / D


@pytest.mark.parametrize(("limit", "active"), [(0.5, True), (3.0, False)])
def test_augmented_lagrangian_under_a_budget(limit: float, active: bool) -> None:
    """The nearest point to (1, 1) with x + y <= limit."""
    budget = Residual(lambda x: float(x.sum()) - limit, lambda x: np.ones_like(x))
    descent = augmented_lagrangian(
        lambda x: float((x - 1) @ (x - 1)),
        lambda x: 2 * (x - 1),
        budget,
        np.zeros(2),
        coefficient=2.0,
        learning_rate=0.1,
        rounds=40,
        iterations=200,
        growth=1.05,
    )
    assert descent.result.x == pytest.approx(np.full(2, limit / 2 if active else 1.0), abs=1e-7)
    assert bool(descent.result.certificate.dual[0] > 0) is active


def test_hinge_under_a_budget_ends_wherever_its_coefficient_says() -> None:
    budget = Residual(lambda x: float(x.sum()) - 0.5, lambda x: np.ones_like(x))

    def end(coefficient: float) -> float:
        descent = gradient_descent(
            lambda x: float((x - 1) @ (x - 1)),
            lambda x: 2 * (x - 1),
            budget,
            np.zeros(2),
            coefficient=coefficient,
            learning_rate=0.01,
            iterations=2000,
        )
        return float(descent.result.x.sum())

    # An exact penalty: free below the multiplier 1.5, at the budget above it, to the step length 0.01 * coefficient a coordinate.
    assert end(0.5) == pytest.approx(1.5, abs=1e-6)
    assert end(3.0) == pytest.approx(0.5, abs=2 * 0.01 * 3.0)


def test_histories_and_callbacks() -> None:
    descent = toy(1.0, 0.01, 50)
    assert len(descent.objectives) == len(descent.violations) == 51
    seen: list[int] = []

    def stop(iteration: int, x: np.ndarray) -> bool:
        seen.append(iteration)
        return iteration == 4

    result = gradient_descent(
        lambda x: float(x @ x),
        lambda x: 2 * x,
        SUM_TO_ONE,
        np.ones(D),
        coefficient=1.0,
        learning_rate=0.01,
        iterations=50,
        callback=stop,
    ).result
    assert seen == [0, 1, 2, 3, 4] and result.iterations == 4


def test_malformed_input() -> None:
    with pytest.raises(ValueError, match="coefficient >= 0"):
        toy(-1.0, 0.01, 5)
    with pytest.raises(ValueError, match="growth >= 1"):
        augmented_lagrangian(
            lambda x: 0.0,
            lambda x: x,
            SUM_TO_ONE,
            np.zeros(2),
            coefficient=1.0,
            learning_rate=0.1,
            rounds=1,
            iterations=1,
            growth=0.5,
        )
