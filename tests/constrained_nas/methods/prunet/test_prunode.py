"""Algorithm 1 by hand, its freeze points, and the optima it finds and misses on a trade-off with a known optimum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from constrained_nas.methods.prunet import PrunodeSettings, freeze_progress, init_prunodes, pick_widths, step_prunodes
from constrained_nas.methods.prunet.prunode import PrunodeState

MAXIMA = (192, 512, 768, 1280, 2304, 3584)
GRANULARITY = 32
STEPS = 1000


@dataclass(frozen=True)
class Run:
    """Every multiple of the granularity as the optimum, for every maximum: what was found."""

    maximum: NDArray[np.int64]
    optimum: NDArray[np.int64]
    found: NDArray[np.int64]
    state: PrunodeState
    logits: NDArray[np.float64]
    frozen_at: NDArray[np.float64]

    @property
    def share(self) -> NDArray[np.float64]:
        return self.optimum / self.maximum


def adam_search(
    maximum: NDArray[np.int64], optimum: NDArray[np.int64], settings: PrunodeSettings | None, noise: float = 0.0, seed: int = 0
) -> Run:
    """Minimize ``x / o + o / x`` over the share x of the channels, with the logits' gradient and a fresh Adam of rate 0.1."""
    generator = np.random.default_rng(seed)
    state = init_prunodes(maximum, GRANULARITY)
    share = optimum / maximum
    w, first, second = (np.zeros(len(maximum)) for _ in range(3))
    frozen_at = np.full(len(maximum), np.nan)
    for step in range(STEPS):
        small, large = state.small / maximum, state.large / maximum
        difference = (large / share + share / large) - (small / share + share / small)
        difference = difference + noise * generator.standard_normal(len(maximum))
        a = 1 / (1 + np.exp(-w))
        gradient = a * (1 - a) * difference
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        w = w - 0.1 * (first / (1 - 0.9 ** (step + 1))) / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        before = state.frozen
        state, w = step_prunodes(state, w, step / STEPS, settings)
        frozen_at[state.frozen & ~before] = step / STEPS
    return Run(maximum, optimum, pick_widths(state, w), state, w, frozen_at)


@cache
def sweep(clamp: float | None = None) -> Run:
    maximum = np.concatenate([np.full(most // GRANULARITY, most) for most in MAXIMA])
    optimum = np.concatenate([np.arange(GRANULARITY, most + 1, GRANULARITY) for most in MAXIMA])
    return adam_search(maximum, optimum, PrunodeSettings(clamp=clamp))


def test_noise_free_every_optimum_from_a_fifth_on_is_found() -> None:
    run = sweep()
    wanted = 5 * run.optimum >= run.maximum
    assert wanted.sum() == 219
    assert (run.found == run.optimum)[wanted].sum() == 219


def test_freeze_points() -> None:
    expected = (0.473, 0.677, 0.736, 0.796, 0.848, 0.878)
    assert freeze_progress(MAXIMA, GRANULARITY).round(3).tolist() == list(expected)
    run = sweep()
    for most, point in zip(MAXIMA, freeze_progress(MAXIMA, GRANULARITY), strict=True):
        # A step sees the distance that the step before it set: masks freeze with the second step after the point at the latest.
        late = run.frozen_at[run.maximum == most] - point
        assert ((late >= 0) & (late <= 2 / STEPS)).all()
    assert freeze_progress(64, 64).tolist() == [0.0]


def stuck(run: Run) -> NDArray[np.bool_]:
    return (run.state.small_share == 0) & (run.found != run.optimum)


def test_small_optima_get_stuck_at_zero_and_the_clamp_repairs_it() -> None:
    plain, clamped = sweep(), sweep(0.3)
    lost = stuck(plain)
    assert lost.sum() >= 5
    assert (plain.share[lost] <= 0.1).all()
    assert (plain.maximum[lost] >= 512).all()
    assert (np.abs(plain.logits[lost]) > 4).all(), "w runs away"
    assert not stuck(clamped).any()
    wanted = 5 * clamped.optimum >= clamped.maximum
    assert (clamped.found == clamped.optimum)[wanted].all(), "the clamp costs nothing where the algorithm works"
    errors = [np.abs(run.found - run.optimum).max() // GRANULARITY for run in (plain, clamped)]
    assert errors[0] > 10 > 4 > errors[1]  # steps of the granularity


def test_noise_pulls_the_widths_to_the_middle_most_from_one() -> None:
    bias = {}
    for share in (0.25, 0.9, 1.0):
        optimum = np.full(400, round(share * 1280 / GRANULARITY) * GRANULARITY)
        run = adam_search(np.full(400, 1280), optimum, None, noise=0.3)
        bias[share] = float((run.found - run.optimum).mean() / 1280)
    # Means over 400 runs with a spread of some 0.2 each: known to 0.01.
    assert bias[0.25] > 0.02
    assert bias[1.0] < bias[0.9] - 0.05 < -0.1
    quiet = adam_search(np.full(1, 1280), np.full(1, 1280), None)
    assert quiet.found == quiet.optimum


def test_a_step_by_hand() -> None:
    state = init_prunodes([192, 512], 32)
    assert (state.small.tolist(), state.large.tolist()) == ([96, 256], [192, 512])
    after, w = step_prunodes(state, [0.1, -0.7], 0.5)  # d = 0.6 / 4 = 0.15
    assert after.velocity.tolist() == [0.1, -0.7]
    np.testing.assert_allclose(after.small_share, [0.6, 0.0])
    np.testing.assert_allclose(after.large_share, [0.75, 0.15])
    assert w.tolist() == [0.0, -0.7]  # kept where the share hit zero
    assert after.small.tolist() == [128, 32]  # 115.2 -> 3.6 steps -> 4; 0 -> at least one step
    assert after.large.tolist() == [160, 64]  # 144 is 4.5 steps, halves up; 76.8 -> 2.4 -> 2
    again, w = step_prunodes(after, [0.2, 0.9], 0.5)
    # 192 channels: 0.15 x 192 = 28.8 <= 32, frozen; 512: u = 0.4 x -0.7 + 0.9
    assert again.frozen.tolist() == [True, False]
    assert w.tolist() == [0.2, 0.0]
    assert (again.small[0], again.large[0]) == (128, 160)
    np.testing.assert_allclose(again.velocity, [0.1, 0.62])
    np.testing.assert_allclose(again.small_share, [0.6, 0.62])
    assert pick_widths(again, [0.2, 0.0]).tolist() == [160, again.small[1]]
    # The ceiling 1 - 0.8 d, and a large share beyond 1 whose width is cut to the maximum.
    high, _ = step_prunodes(init_prunodes(512, 32), [3.0], 0.0)
    np.testing.assert_allclose([high.small_share[0], high.large_share[0]], [0.52, 1.12])
    assert (high.small[0], high.large[0]) == (256, 512)  # 0.52 x 16 = 8.32 steps


def test_states_are_not_changed() -> None:
    state = init_prunodes([192, 512], 32)
    w = np.array([0.1, 0.2])
    step_prunodes(state, w, 0.2)
    assert w.tolist() == [0.1, 0.2]
    assert state.small_share.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(5))
def test_candidates_are_always_permissible(seed: int) -> None:
    generator = np.random.default_rng(seed)
    granularity = generator.choice([8, 16, 32], 20)
    maximum = granularity * generator.integers(2, 60, 20)
    state = init_prunodes(maximum, granularity)
    for step in range(60):
        state, _ = step_prunodes(state, generator.normal(0, 0.3, 20), step / 59)
        assert (state.small >= granularity).all()
        assert (state.small + granularity <= state.large).all()
        assert (state.large <= maximum).all()
        assert not (state.small % granularity).any()
        assert not (state.large % granularity).any()
    assert state.frozen.all()
    assert (state.large - state.small <= granularity).all()


def test_malformed_input() -> None:
    with pytest.raises(ValueError, match=r"maximum widths \[48\] must be multiples of the granularities \[32\]"):
        init_prunodes(48, 32)
    with pytest.raises(ValueError, match="twice these or more"):
        init_prunodes(32, 32)
    state = init_prunodes(64, 32)
    with pytest.raises(ValueError, match="logits: expected 1 finite numbers"):
        step_prunodes(state, [0.1, 0.2], 0.5)
    with pytest.raises(ValueError, match="logits: expected 1 finite numbers"):
        step_prunodes(state, [np.nan], 0.5)
    with pytest.raises(ValueError, match=r"progress: expected a share in \[0, 1\], got 1.5"):
        step_prunodes(state, [0.1], 1.5)
    with pytest.raises(ValueError, match="positive clamp or None, got 0"):
        PrunodeSettings(clamp=0.0)
    with pytest.raises(ValueError, match="expected ceiling"):
        PrunodeSettings(momentum=1.0)
