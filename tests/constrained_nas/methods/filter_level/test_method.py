"""Filter-level search: the law, both estimators through the loop, C.1 to C.5, hard budgets, resumption, records."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from constrained_nas.ask_tell import Feedback, Moment
from constrained_nas.methods.filter_level import (
    Configuration,
    FilterLevel,
    FilterSearchOptions,
    FilterWeights,
    c1,
    c2,
    c3,
    c4,
    c5,
    filter_search,
    fresh_network,
    recalibrate_configuration,
    save_filter_search,
    statistics_of,
    train_configurations,
)
from constrained_nas.methods.filter_level.interpolation_loss import InterpolationLoss
from constrained_nas.methods.filter_level.law import FilterLaw
from constrained_nas.methods.filter_level.loop import FilterRun
from constrained_nas.methods.filter_level.method import Estimator
from constrained_nas.methods.filter_level.record import load_filter_search
from constrained_nas.methods.filter_level.training import homogeneous_configurations, mean_loss, split_halves
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.training import Stopped
from graphs import (
    FLOAT,
    Architecture,
    FilterLayer,
    FilterNetwork,
    FilterSpace,
    FilterTopology,
    Operation,
    resnet_filters,
    resnet_topology,
)
from graphs.costs import BitOperations, MemoryTraffic, SlimmableMacs
from solvers import InfeasibleError

OPERATIONS = (Operation(2, 2), Operation(4, 4), Operation(8, 8))
SIZES: dict[str, Any] = {"filters": (4, 6), "blocks": 1, "image_channels": 1, "side": 8}
FABRIC = Fabric(accelerator="cpu", devices=1)
BITS = resnet_topology(**SIZES).quantization_space(OPERATIONS)
WIDTHS = resnet_topology(**SIZES, shortcut="projection").width_space(per="stage")
LAYER_WIDTHS = resnet_topology(**SIZES, shortcut="projection").width_space()
TINY = {"samples": 2, "iterations": 2, "law_batches": 2, "weights": FilterWeights(batch_size=12, learning_rate=0.05)}


def pictures(count: int = 48) -> TensorDataset:
    """Three classes that differ in where the light is."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = 0.3 * torch.randn((count, 1, 8, 8), generator=generator)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 2 * label : 2 * label + 3] += 1.0
    return TensorDataset(images, labels)


def problem_of(space: FilterSpace, share: float = 0.6) -> SearchProblem:
    """A budget at ``share`` of the way from the cheapest to the costliest configuration."""
    cost = BitOperations(space) if space.kind == "quantization" else SlimmableMacs(space)
    least, most = cost.least()[1], cost.cost(space.homogeneous(len(space.operations) - 1))
    return SearchProblem(space.space, (Budget(cost, float(np.floor(least + share * (most - least))), cost.unit),))


def builder(method: FilterLevel, options: FilterSearchOptions) -> Callable[[], FilterNetwork]:
    operations = method.space.operations if method.space.kind == "quantization" else (FLOAT,)
    return lambda: resnet_filters(**SIZES, classes=3, operations=operations, sets=statistics_of(method, options))


def searched(method: FilterLevel, options: FilterSearchOptions, checkpoint: Path | None = None, **more: Any) -> FilterRun:
    problem = problem_of(method.space)
    return filter_search(problem, method, builder(method, options), pictures(), options, FABRIC, checkpoint, **more)


ALGORITHMS = [
    ("C.1", c1(weight_epochs=1, **TINY), BITS, {}),
    ("C.2", c2(weight_epochs=1, sample_epochs=1, **TINY), WIDTHS, {}),
    ("C.2 a layer", c2(weight_epochs=1, sample_epochs=1, **TINY), LAYER_WIDTHS, {"start": 0.75}),
    ("C.3", c3(weight_epochs=1, sample_epochs=1, reset_period=1, **TINY), WIDTHS, {"estimator": "plain"}),
    ("C.4", c4(sample_epochs=1, **TINY), WIDTHS, {"complexity_samples": 0}),
    ("C.5", c5(sample_epochs=1, reference_trainings=1, **TINY), WIDTHS, {"coefficient": 0.0}),
]


@pytest.mark.parametrize(("name", "options", "space", "settings"), ALGORITHMS, ids=[entry[0] for entry in ALGORITHMS])
def test_every_algorithm_runs_and_leaves_a_record(
    tmp_path: Path, name: str, options: FilterSearchOptions, space: FilterSpace, settings: dict[str, Any]
) -> None:
    method = FilterLevel(space, learning_rate=0.05, hard=True, **settings)
    problem = problem_of(space)
    run = searched(method, options)
    assert len(run.history) == 2 and run.state.steps == len(run.losses) == 4
    assert not np.array_equal(run.state.parameters, method.law.start(method.start))
    # Met to the last operation, by the cost's own sum; no rounding is forgiven.
    cost, limit = problem.budgets[0].cost, problem.budgets[0].limit
    assert run.result.feasible and cost.cost(run.result.architecture) == run.result.costs[cost.name] <= limit
    assert run.result.certificate is not None and run.result.certificate.violation == 0.0
    saved = save_filter_search(problem, method, options, run, name, tmp_path / "run.json")
    loaded = load_filter_search(tmp_path / "run.json")
    assert loaded == saved.model_validate_json(saved.model_dump_json())
    assert loaded.result.budgets[0].fits and loaded.algorithm == name
    assert loaded.result.decisions == problem.space.describe(run.result.architecture)
    assert loaded.history[-1]["parameters"] == run.state.parameters.tolist()
    assert (loaded.references is not None) == (name == "C.5")
    (tmp_path / "half.json").write_text((tmp_path / "run.json").read_text()[:-40])
    with pytest.raises(ValueError, match=r"half\.json: not complete JSON .* was the file cut off"):
        load_filter_search(tmp_path / "half.json")


@pytest.mark.parametrize(("name", "options", "space", "settings"), [ALGORITHMS[0], ALGORITHMS[3], ALGORITHMS[5]])
def test_a_resumed_search_ends_as_an_unbroken_one(
    tmp_path: Path, name: str, options: FilterSearchOptions, space: FilterSpace, settings: dict[str, Any]
) -> None:
    method = FilterLevel(space, learning_rate=0.05, momentum=0.5, **settings)
    whole = searched(method, options)
    calls: list[tuple[int, int, str]] = []

    def killed(done: int, total: int, what: str) -> None:
        calls.append((done, total, what))
        if what == "search" and done == 1:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "search.safetensors"
    with pytest.raises(KeyboardInterrupt):
        searched(method, options, checkpoint, progress=killed)
    assert calls and all(0 < done <= total for done, total, _ in calls)
    resumed = searched(method, options, checkpoint)
    assert np.array_equal(resumed.state.parameters, whole.state.parameters)
    assert np.array_equal(resumed.state.velocity, whole.state.velocity)
    assert resumed.losses == whole.losses and resumed.history == whole.history
    assert resumed.result.architecture == whole.result.architecture
    other = FilterLevel(space, learning_rate=0.04, momentum=0.5, **settings)
    with pytest.raises(ValueError, match="saved by another search"):
        searched(other, options, checkpoint)


@pytest.mark.parametrize("number", [0, 2, 3, 5])
def test_stopped_at_every_step_it_ends_as_an_unbroken_one(tmp_path: Path, number: int) -> None:
    """Nothing is done twice: there is one stop for every step that was told, and one more step after each."""
    _, options, space, settings = ALGORITHMS[number]
    options = replace(options, weight_epochs=2 * bool(options.weight_epochs))
    method = FilterLevel(space, learning_rate=0.05, momentum=0.5, **settings)
    told, stops = list[tuple[int, int, str]](), list[tuple[int, int, str]]()
    whole = searched(method, options, progress=lambda *step: told.append(step))

    def stop(*step: Any) -> None:
        stops.append(step)
        raise Stopped

    checkpoint, run = tmp_path / "search.safetensors", None
    while run is None and len(stops) <= len(told):
        try:
            run = searched(method, options, checkpoint, progress=stop)
        except Stopped:
            continue
    assert run is not None and stops == told
    assert np.array_equal(run.state.parameters, whole.state.parameters) and np.array_equal(run.state.velocity, whole.state.velocity)
    assert run.losses == whole.losses and run.history == whole.history and run.references == whole.references


@pytest.mark.parametrize(("period", "draws"), [(0, [0]), (2, [0, 2]), (3, [0, 3])])
def test_shared_weights_are_drawn_anew_when_the_period_is_over(period: int, draws: list[int]) -> None:
    drawn: list[int] = []
    options = c3(**TINY | {"iterations": 4, "law_batches": 1}, weight_epochs=1, sample_epochs=1, reset_period=period)
    method = FilterLevel(WIDTHS, learning_rate=0.05)
    network = builder(method, options)
    done = 0

    def build() -> FilterNetwork:
        drawn.append(done)
        return network()

    def progress(iterations: int, total: int, what: str) -> None:
        nonlocal done
        done = iterations if what == "search" else done

    filter_search(problem_of(WIDTHS), method, build, pictures(), options, FABRIC, None, progress)
    assert drawn == draws, "samples are copies of the shared network, so nothing else is built"


class Additive(nn.Module):
    """Stands for a network: its cross-entropy on label 0 is exactly the sum of ``prices`` times the counts."""

    operations = OPERATIONS[:2]

    def __init__(self, prices: np.ndarray) -> None:
        super().__init__()
        self.prices, self.loss = prices, 0.0

    def configure(self, counts: np.ndarray, statistics: str = "fresh") -> None:
        self.loss = float((self.prices * counts).sum())

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([[0.0, np.log(np.expm1(self.loss))]], dtype=torch.float64).expand(len(images), 2)


class Watts:
    """A cost that is measured on whole networks, not counted."""

    name, unit = "power", "W"

    def cost(self, architecture: Architecture) -> float:
        return 1.0


TOY = FilterTopology("toy", (FilterLayer("a", 3, 9, 4, None, 1, "s"), FilterLayer("b", 2, 1, 4, "a", 3, "s"))).quantization_space(
    OPERATIONS[:2]
)
PRICES = np.array([[0.5, 0.1], [0.2, 0.6]])


def exact_gradient(law: FilterLaw, parameters: np.ndarray, loss: Callable[[np.ndarray], float]) -> np.ndarray:
    """By enumeration of every configuration of the toy."""
    gradient = np.zeros(law.size)
    for first, second in itertools.product(range(4), range(3)):
        counts = np.array([[first, 3 - first], [second, 2 - second]])
        gradient += np.exp(law.log_probability(parameters, counts)) * loss(counts) * law.scores(parameters, counts[None])[0]
    return gradient


@pytest.mark.parametrize("estimator", ["plain", "leave_one_out"])
@pytest.mark.parametrize("complexity_samples", [0, 4])
def test_the_loop_is_unbiased_on_an_additive_toy(
    estimator: Estimator, complexity_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rate so small that the law stays where it starts: the way it went is the sum of the gradients.
    rate, steps = 1e-9, 2500
    cost = MemoryTraffic(TOY)
    limit = 60.0
    method = FilterLevel(TOY, estimator, coefficient=0.5, complexity_samples=complexity_samples, learning_rate=rate)
    law = method.law
    exact = exact_gradient(law, law.start(), lambda a: float((PRICES * a).sum()) + 0.5 * (cost.of_counts(a) / limit) ** 2)
    options = c1(weight_epochs=0, samples=3, iterations=1, weights=FilterWeights(batch_size=1), seed=4)
    data = TensorDataset(torch.zeros(2 * steps, 1), torch.zeros(2 * steps, dtype=torch.long))
    seen: list[np.ndarray] = []
    tell = FilterLevel.tell

    def watched(self: FilterLevel, problem: Any, state: Any, *rest: Any) -> Any:
        after = tell(self, problem, state, *rest)
        seen.append(after.velocity)
        return after

    monkeypatch.setattr(FilterLevel, "tell", watched)
    problem = SearchProblem(TOY.space, (Budget(cost, limit, "bits"),))
    run = filter_search(problem, method, lambda: Additive(PRICES), data, options, FABRIC)  # type: ignore[arg-type, return-value]
    gradients = np.stack(seen)
    assert gradients.shape == (steps, law.size) and run.state.steps == steps
    np.testing.assert_allclose(run.state.parameters - law.start(), -rate * gradients.sum(0), rtol=1e-6, atol=1e-15)
    error = gradients.std(0, ddof=1) / np.sqrt(steps)
    assert (np.abs(gradients.mean(0) - exact) < 4.5 * error).all()  # 4.5 sigma: one run in 10^4 would fail by chance; seeded
    assert np.abs(exact).max() > 5 * error.max()  # not vacuous: the gradient stands far out of the noise


def test_leave_one_out_has_less_variance_than_plain() -> None:
    problem = SearchProblem(TOY.space, ())
    spread = {}
    for estimator in get_args(Estimator):
        method = FilterLevel(TOY, estimator, coefficient=0.0, learning_rate=1e-9)
        generator = np.random.default_rng(0)
        state = method.init(problem, generator)
        moment = Moment("architecture", 0, 1, 0, 1)
        found = []
        for _ in range(800):
            proposal = method.ask(problem, state, 3, moment, generator)
            losses = 2.0 + (proposal.noise["counts"] * PRICES).sum((1, 2))
            found.append(method.tell(problem, state, proposal, Feedback(losses, {}), moment).velocity)
        spread[estimator] = np.var(found, axis=0).sum()
    assert spread["leave_one_out"] < spread["plain"] / 4  # measured: some thirty times less


def test_scores_belong_to_the_law_that_was_sampled_from() -> None:
    method = FilterLevel(TOY, coefficient=0.0, learning_rate=0.5)
    problem, generator, moment = SearchProblem(TOY.space, ()), np.random.default_rng(0), Moment("architecture", 0, 1, 0, 2)
    state = method.init(problem, generator)
    proposal = method.ask(problem, state, 4, moment, generator)
    feedback = Feedback(np.array([1.0, 2.0, 0.5, 3.0]), {})
    once = method.tell(problem, state, proposal, feedback, moment)
    twice = method.tell(problem, once, proposal, feedback, moment)
    np.testing.assert_array_equal(twice.velocity, once.velocity)
    assert twice.steps == 2


@pytest.mark.parametrize("space", [BITS, WIDTHS, resnet_topology(**SIZES).width_space()], ids=["bits", "stages", "layers"])
def test_law_scores_are_gradients_and_points_are_means(space: FilterSpace) -> None:
    law = FilterLaw(space)
    generator = np.random.default_rng(1)
    parameters = generator.normal(size=law.size)
    counts = law.sample(parameters, 3, generator)
    step = 1e-6
    for row in counts:
        slopes = [
            (law.log_probability(parameters + step * e, row) - law.log_probability(parameters - step * e, row)) / (2 * step)
            for e in np.eye(law.size)
        ]
        # Central differences err by step^2 and by rounding / step: 1e-9 of numbers near 10.
        np.testing.assert_allclose(law.scores(parameters, row[None])[0], slopes, atol=2e-7)
    assert space.space.blocks.residual(law.point(parameters)) < 1e-12
    np.testing.assert_array_equal(law.from_unit_counts(law.unit_counts(counts)), counts)
    space.architecture(law.expected(parameters))  # checks it
    surprises = [-law.log_probability(parameters, row) / len(space.units) for row in law.sample(parameters, 300, generator)]
    assert law.entropy(parameters) == pytest.approx(np.mean(surprises), abs=5 * np.std(surprises) / math.sqrt(300))


def test_hard_meets_what_the_expected_configuration_misses() -> None:
    problem = problem_of(BITS, 0.05)
    method = FilterLevel(BITS, hard=True)
    state = method.init(problem, np.random.default_rng(0))
    expected, hard = method.expected(problem, state), method.finish(problem, state)
    assert not expected.feasible and hard.feasible
    assert FilterLevel(BITS).finish(problem, state).architecture == expected.architecture
    impossible = SearchProblem(BITS.space, (Budget(problem.budgets[0].cost, 1.0, "BOPs"),))
    with pytest.raises(InfeasibleError, match="the least possible bit operations"):
        method.init(impossible, np.random.default_rng(0))


def test_interpolation_loss() -> None:
    loss = InterpolationLoss.of([30.0, 10.0], [[1.0, 1.0], [1.5, 2.5]])
    np.testing.assert_allclose(loss.expected([5.0, 10.0, 20.0, 30.0, 90.0]), [2.0, 2.0, 1.5, 1.0, 1.0])
    np.testing.assert_allclose(loss.loss([2.0, 1.0], [20.0, 20.0]), [0.5, -0.005])
    np.testing.assert_allclose(loss.loss([3.0, 0.75], [20.0, 20.0], relative=True), [1.0, -0.005])
    with pytest.raises(ValueError, match="different costs"):
        InterpolationLoss.of([1.0, 1.0], [[1.0], [1.0]])


def test_training_learns_and_stops_early() -> None:
    data, weights = pictures(), FilterWeights(batch_size=16, learning_rate=0.05)
    network = fresh_network(lambda: resnet_filters(**SIZES, classes=3, operations=OPERATIONS), 0, data, weights, FABRIC)
    one = [Configuration(homogeneous_configurations(BITS)["w4a4"])]
    losses = train_configurations(network, lambda _: one, data, 25, weights, FABRIC, 0)
    assert losses[-1] < losses[0] / 2
    recalibrate_configuration(network, one[0], data, 16, FABRIC)
    assert mean_loss(network, data, FABRIC) < losses[0]
    stopped = train_configurations(network, lambda _: one, data, 6, weights, FABRIC, 0, after_epoch=lambda epochs: epochs == 2)
    assert len(stopped) == 2
    halves = split_halves(data, 0)
    assert [len(half) for half in halves] == [24, 24]  # type: ignore[arg-type]
    values = torch.cat([half.tensors[0] for half in halves if isinstance(half, TensorDataset)]).flatten(1).sum(1)
    assert torch.equal(values.sort().values, data.tensors[0].flatten(1).sum(1).sort().values)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="sample_epochs >= 1"):
        c4(sample_epochs=0)
    with pytest.raises(ValueError, match="sharing: expected one of"):
        c1(sharing="all")
    with pytest.raises(ValueError, match=r"Eq\. 7 has no lambda"):
        searched(FilterLevel(WIDTHS), c5(sample_epochs=1, **TINY))
    with pytest.raises(ValueError, match="all of 1 to 4 on offer"):
        FilterLevel(resnet_topology(**SIZES).width_space(per="stage", widths={"4x8x8": (2, 4)}))
    with pytest.raises(ValueError, match="estimator: expected one of"):
        FilterLevel(BITS, "mean")  # type: ignore[arg-type]
    measured = SearchProblem(BITS.space, (Budget(Watts(), 2.0, "W"),))
    with pytest.raises(ValueError, match="complexity_samples=0"):
        FilterLevel(BITS).init(measured, np.random.default_rng(0))
    FilterLevel(BITS, complexity_samples=0).init(measured, np.random.default_rng(0))
    with pytest.raises(ValueError, match="exactly one budget"):
        FilterLevel(BITS).init(SearchProblem(BITS.space, ()), np.random.default_rng(0))
