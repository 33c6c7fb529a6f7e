"""HardCoRe-NAS, Figure 5: a hard constraint by Frank-Wolfe against soft penalties, on the toy problem (15)-(17).

The problem: minimize ``|x|^2`` subject to ``sum x = 1``, optimum ``x = 1/d``, value ``1/d``. How it is read here:

- Over ``{sum x = 1}`` alone the linear oracle is unbounded, and (17) as printed minimizes the objective itself. So Frank-Wolfe
  runs over the simplex ``{x >= 0, sum x = 1}``, which holds the optimum.
- d = 10. The open-loop rules start with a full step to a vertex, so they do not depend on the start: 2 / (t + 2) comes within 1e-3
  (relative) of the optimum after 181 steps, 4 / (t + 4) after 362. No other d gives these two.
- The start is interior, uniform random numbers divided by their sum. Line search and pairwise steps do depend on it (hence the
  medians over many starts); pairwise steps know the start as a combination of the simplex's corners.
- The soft problem (16): gradient descent on ``|x|^2 + lambda (sum x - 1)^2``. Its optimum violates the constraint by exactly
  ``1 / (1 + lambda d)``. The greatest eigenvalue of its Hessian is 2 + 2 lambda d, so a learning rate of .01 diverges once lambda
  d > 99: from lambda = 10 on. A rate of ``1 / (2 + 2 lambda d)`` is stable, and the slower the greater lambda.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, new_figure, row_of, save_figure, started
from solvers.arrays import FloatArray
from solvers.descent import (
    ActiveSet,
    Descent,
    Iterate,
    Residual,
    Run,
    SimplexOracle,
    StepRule,
    Variant,
    exact_line_search,
    frank_wolfe,
    gradient_descent,
    open_loop,
)
from solvers.sets import Blocks

SCRIPT = "hardcore_figure5"
WITHIN = 1e-3  # of the optimum, relative: what "iterations to" counts


@dataclass(frozen=True, slots=True)
class Options(ScriptOptions):
    """Frank-Wolfe (always on the constraint) against gradient descent on a soft penalty (never on it), on a quadratic.

    Prints how many iterations each method needs to come within 0.1 % of the optimum and how far it ends from the constraint;
    writes hardcore_figure5.json and hardcore_figure5.png. Runs in seconds at every scale.
    """

    scale: Scale = "laptop"
    """smoke: few iterations, for continuous integration. laptop: the default. paper: more iterations and starts."""
    seed: int = 0
    """Of the random starts."""
    dimension: int = 10
    """d of the toy problem. 10 is what the step counts of the docstring belong to."""
    coefficients: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    """lambda of the soft penalty, one curve each."""
    learning_rate: float = 0.01
    """Of gradient descent; the stable rate 1 / (2 + 2 lambda d) is always shown beside it."""
    iterations: int | None = None
    """Steps of every method. By scale: 600, 2000, 20000."""
    starts: int | None = None
    """Random starts over which line search and pairwise steps are summed up. By scale: 20, 200, 1000."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One method's run: a point an iteration."""

    name: str
    soft: bool
    errors: FloatArray  # |f - f*| / f*
    violations: FloatArray  # |sum x - 1|
    predicted: float | None
    message: str

    @property
    def reached(self) -> int | None:
        """First iteration within the accuracy, of the objective and of the constraint."""
        good = (self.errors <= WITHIN) & (self.violations <= WITHIN)
        return int(good.argmax()) if good.any() else None


def preset(scale: Scale) -> Options:
    return Options(scale)


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        iterations = options.iterations or {"smoke": 600, "laptop": 2000, "paper": 20_000}[options.scale]
        starts = options.starts or {"smoke": 20, "laptop": 200, "paper": 1000}[options.scale]
        generator = np.random.default_rng(options.seed)
        points = [_interior(options.dimension, generator) for _ in range(starts)]
        curves = [_hard(name, points[0], iterations, rule, variant) for name, rule, variant in _frank_wolfe_methods()]
        for coefficient in options.coefficients:
            stable = 1.0 / (2.0 + 2.0 * coefficient * options.dimension)
            curves += [_soft(points[0], iterations, coefficient, rate) for rate in (options.learning_rate, stable)]
        script.show(_methods_table(curves, options, iterations), _starts_table(points, iterations))
        _plot(curves, options, script.picture)


def _interior(dimension: int, generator: np.random.Generator) -> FloatArray:
    point = generator.random(dimension)
    return point / point.sum()


def _frank_wolfe_methods() -> Sequence[tuple[str, StepRule, Variant]]:
    return (
        ("FW, 2 / (t + 2)", open_loop(2), "vanilla"),
        ("FW, 4 / (t + 4)", open_loop(4), "vanilla"),
        ("FW, line search", exact_line_search(), "vanilla"),
        ("FW, pairwise", exact_line_search(), "pairwise"),
    )


def _run(start: FloatArray, iterations: int, rule: StepRule, variant: Variant, sums: list[float]) -> Run:
    dimension = len(start)

    def watch(seen: Iterate) -> None:
        sums.append(float(seen.x.sum()))

    return frank_wolfe(
        lambda x: 2 * x,
        SimplexOracle(Blocks.of([dimension])),
        ActiveSet(start, np.eye(dimension)) if variant == "pairwise" else start,
        iterations=iterations,
        step_rule=rule,
        variant=variant,
        objective=lambda x: float(x @ x),
        convex=True,
        tolerance=1e-14,  # the optimum to rounding: the curve ends there
        callback=watch,
    )


def _hard(name: str, start: FloatArray, iterations: int, rule: StepRule, variant: Variant) -> Curve:
    sums: list[float] = []
    run = _run(start, iterations, rule, variant, sums)
    if run.objectives is None:
        raise RuntimeError("the run was started with an objective and has no history of it")
    errors = np.abs(run.objectives * len(start) - 1.0)
    return Curve(name, False, errors, np.abs(np.array(sums) - 1.0), 0.0, run.result.message)


def _soft(start: FloatArray, iterations: int, coefficient: float, rate: float) -> Curve:
    dimension = len(start)
    to_one = Residual(lambda x: float(x.sum()) - 1.0, lambda x: np.ones_like(x), equality=True)
    descent: Descent = gradient_descent(
        lambda x: float(x @ x), lambda x: 2 * x, to_one, start, coefficient=coefficient, learning_rate=rate, iterations=iterations
    )
    errors = np.abs(descent.objectives * dimension - 1.0)
    predicted = 1.0 / (1.0 + coefficient * dimension)
    name = f"lambda {coefficient:g}, rate {rate:.2g}"
    return Curve(name, True, errors, descent.violations, predicted, descent.result.message)


def _methods_table(curves: Sequence[Curve], options: Options, iterations: int) -> Rows:
    columns = (
        Column(
            "method",
            "method",
            "FW: Frank-Wolfe over the simplex with this step rule; lambda, rate: gradient descent on the soft penalty",
        ),
        Column(
            "reached",
            "steps to 0.1 %",
            "first iteration with the objective within 1e-3 of the optimum (relative) and |sum x - 1| <= 1e-3; '-': never",
        ),
        Column("error", "error", "|f(x) - f*| / f* at the end; f* = 1/d", ".1e"),
        Column("violation", "violation", "|sum x - 1| at the end", ".1e"),
        Column("predicted", "predicted", "1 / (1 + lambda d), the violation of the soft problem's own optimum", ".1e"),
        Column("diverged", "diverged", "the violation grows without bound: the learning rate is above 2 / (2 + 2 lambda d)"),
    )
    rows = []
    for curve in curves:
        soft = (curve.predicted, _diverges(curve)) if curve.soft else (None, None)
        rows.append(row_of(columns, curve.name, curve.reached, float(curve.errors[-1]), float(curve.violations[-1]), *soft))
    title = f"Toy problem, d = {options.dimension}, at most {iterations} iterations from one interior start"
    return Rows(title, columns, rows, remark="The paper publishes curves, no numbers: no published rows.")


def _diverges(curve: Curve) -> bool:
    """It ended in overflow, or is on its way: farther off at the end than ever before, and than at the soft optimum."""
    violations = curve.violations
    late, early = violations[-len(violations) // 10 :].max(), violations[: len(violations) // 2].max()
    return bool(curve.message) or bool(late > 2 * early and late > 2 * (curve.predicted or 0.0))


def _starts_table(points: Sequence[FloatArray], iterations: int) -> Rows:
    most = min(iterations, 500)  # many starts: enough for the d of the paper's counts
    columns = (
        Column("method", "method", "as above"),
        Column(
            "least", "least", f"fewest iterations to 0.1 % over {len(points)} random interior starts; inf: not within {most}", ".4g"
        ),
        Column("median", "median", "the median", ".4g"),
        Column("most", "most", "the most", ".4g"),
        Column("worst", "worst |sum x - 1|", "over all starts and iterations", ".1e"),
    )
    rows: list[Row] = []
    for name, rule, variant in _frank_wolfe_methods():
        reached, worst = [], 0.0
        for point in points:
            curve = _hard(name, point, most, rule, variant)
            reached.append(float("inf") if curve.reached is None else float(curve.reached))
            worst = max(worst, float(curve.violations.max()))
        rows.append(
            {"method": name, "least": min(reached), "median": float(np.median(reached)), "most": max(reached), "worst": worst}
        )
    return Rows(f"Iterations to 0.1 % over {len(points)} starts, of at most {most}", columns, rows)


def _plot(curves: Sequence[Curve], options: Options, path: Path) -> None:
    figure = new_figure(12, 4.8)
    left, right = figure.subplots(1, 2, sharex=True)
    blues = ("#08306b", "#2171b5", "#0e9aa7", "#7b3294")
    warm = colormaps["autumn"](np.linspace(0.0, 0.75, len(options.coefficients)))
    floor = 1e-17  # exact zeros are drawn here
    hard = [curve for curve in curves if not curve.soft]
    soft = [curve for curve in curves if curve.soft]
    for place, curve in enumerate(hard):
        left.plot(np.maximum(curve.violations, floor), color=blues[place], lw=1.6, label=curve.name)
        right.plot(np.maximum(curve.errors, floor), color=blues[place], lw=1.6)
    for place, curve in enumerate(soft):
        style = "-" if place % 2 == 0 else ":"
        color = warm[place // 2]
        left.plot(np.maximum(curve.violations, floor), color=color, ls=style, lw=1.3, label=f"penalty, {curve.name}")
        right.plot(np.maximum(curve.errors, floor), color=color, ls=style, lw=1.3)
    right.axhline(WITHIN, color="0.5", lw=0.8)
    right.text(1.1, WITHIN * 1.3, "0.1 %", color="0.4", fontsize=8)
    left.set(ylabel="constraint violation |sum x - 1|", ylim=(1e-17, 1e3), title="Violation: Frank-Wolfe's is rounding error")
    right.set(ylabel="relative error |f(x) - f*| / f*", ylim=(1e-12, 1e3), title="Objective")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="iteration")
        axes.set_xlim(1, max(len(curve.errors) for curve in curves))
        axes.grid(alpha=0.25, which="major")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(f"min |x|² subject to sum x = 1, d = {options.dimension} (HardCoRe-NAS, Fig. 5)")
    save_figure(figure, path)


if __name__ == "__main__":
    main()
