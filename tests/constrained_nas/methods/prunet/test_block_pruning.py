"""The threshold, the order in which blocks fall, and the contest of the last block with the skip."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from constrained_nas.methods.prunet import SkipScales
from constrained_nas.methods.prunet.block_pruning import (
    LayerState,
    PruningSchedule,
    init_layer,
    output_scales,
    prune_layer,
)

PAPER = PruningSchedule()


def logits(*probabilities: float) -> list[float]:
    """Logits of given probabilities, and anything for a skip that does not compete."""
    return [*(math.log(p) for p in probabilities), 123.0]


def alive(state: LayerState) -> list[int]:
    return np.flatnonzero(state.alive).tolist()


def test_threshold() -> None:
    found = {epoch: PAPER.threshold(epoch) for epoch in (71, 100, 135, 170, 200)}
    assert {epoch: round(t, 5) for epoch, t in found.items() if t} == {
        71: 0.15308,
        100: 0.24231,
        135: 0.35,
        170: 0.45769,
        200: 0.55,
    }
    assert PAPER.threshold(1) is PAPER.threshold(70) is None
    woof = PruningSchedule(last=0.133, first=0.133)
    assert {woof.threshold(epoch) for epoch in range(71, 201)} == {0.133}
    assert [PAPER.progress(epoch) for epoch in (0, 70, 135, 200)] == [0.0, 0.0, 0.5, 1.0]
    for epoch in (0, 201):
        with pytest.raises(ValueError, match=f"epoch: expected 1 to 200, got {epoch}"):
            PAPER.threshold(epoch)
    with pytest.raises(ValueError, match="warmup < epochs"):
        PruningSchedule(epochs=70)
    with pytest.raises(ValueError, match="first <= last"):
        PruningSchedule(first=0.6)


def survivor_cap(schedule: PruningSchedule, blocks: int) -> list[int]:
    """The most of ``blocks`` blocks that can be left after each epoch from warmup + 1 on: so many can have t(e) at once."""
    thresholds = [schedule.threshold(epoch) for epoch in range(schedule.warmup + 1, schedule.epochs + 1)]
    return [blocks if not t else max(1, min(blocks, math.floor(1.0 / t + 1e-12))) for t in thresholds]


def test_survivors_under_ever_minimal_pruning() -> None:
    caps = survivor_cap(PAPER, 4)
    assert Counter(caps) == {4: 32, 3: 27, 2: 54, 1: 17}
    assert sorted(caps, reverse=True) == list(caps)
    assert round(sum(caps) / len(caps), 3) == 2.569
    # The same by the rule itself: blocks whose probabilities stay equal fall as late as any can.
    state, left = init_layer(4, skippable=False), []
    for epoch in range(71, 201):
        state = prune_layer(state, np.zeros(5), PAPER.threshold(epoch) or 0.0)
        left.append(int(state.alive.sum()))
    assert left == list(caps)
    assert left[103 - 71] == 3, "four equal blocks must not fall all at once"


def test_blocks_fall_one_by_one_and_the_rest_is_renormalized() -> None:
    state = init_layer(4, skippable=False)
    # 0.04 falls; 0.19 is then 0.198 and stays under 0.2, so it falls; 0.3 of 0.77 is 0.39 and stays.
    assert alive(prune_layer(state, logits(0.3, 0.19, 0.04, 0.47), 0.2)) == [0, 3]
    # 0.195 is under 0.2, but 0.195 / 0.95 is not.
    assert alive(prune_layer(state, logits(0.3, 0.195, 0.05, 0.455), 0.2)) == [0, 1, 3]
    assert alive(prune_layer(state, logits(0.25, 0.25, 0.25, 0.25), 0.25)) == [0, 1, 2, 3], "equal to the threshold is not under it"
    assert alive(prune_layer(state, logits(0.25, 0.25, 0.25, 0.25), 0.2501)) == [0, 1, 2], "of equals the later falls"


def test_the_last_block_never_falls() -> None:
    state = prune_layer(init_layer(4, skippable=False), logits(0.1, 0.2, 0.3, 0.4), 0.99)
    assert alive(state) == [3]
    assert state.settled
    assert alive(prune_layer(state, logits(0.1, 0.2, 0.3, 0.4), 0.99)) == [3]


def test_the_last_block_has_to_beat_the_skip() -> None:
    scales = SkipScales(1.1, 0.4)
    state = init_layer(3, skippable=True)
    assert (state.skip, alive(state), state.settled) == ("later", [0, 1, 2], False)
    assert output_scales(state, scales).tolist() == [1, 1, 1, 1]
    state = prune_layer(state, logits(0.2, 0.7, 0.1), 0.5)
    assert (state.skip, alive(state)) == ("competes", [1, 3])
    assert state.probabilities.tolist() == [0, 0.5, 0, 0.5]
    assert not state.logits.any(), "equal initial logits, not first judged before they have trained"
    assert output_scales(state, scales).tolist() == [0.4, 0.4, 0.4, 1.1]
    even = prune_layer(state, np.array([9.0, 0.3, 9.0, 0.3]), 0.5)
    assert even.skip == "competes"
    stays = prune_layer(state, np.array([9.0, 1.0, 9.0, 0.3]), 0.5)
    assert (stays.skip, alive(stays), stays.settled) == ("impossible", [1], True)
    gone = prune_layer(state, np.array([9.0, 0.3, 9.0, 1.0]), 0.5)
    assert (gone.skip, alive(gone), gone.settled) == ("chosen", [3], True)
    for settled in (stays, gone):
        assert output_scales(settled, scales).tolist() == [1, 1, 1, 1], "once one of the two has gone, scaling ends"
        assert alive(prune_layer(settled, np.zeros(4), 0.99)) == alive(settled)


def test_every_residual_layer_is_settled_in_time() -> None:
    # The threshold ends above one half: by the last epoch two options cannot both reach it, unless the contest begins right then.
    generator = np.random.default_rng(0)
    for _ in range(50):
        state = init_layer(4, skippable=True)
        drift = generator.normal(0, 0.05, 5)
        for epoch in range(71, 201):
            state = prune_layer(state, state.logits + drift, PAPER.threshold(epoch) or 0.0)
        assert state.settled


def test_skip_from_the_start() -> None:
    state = init_layer(4, skippable=True, always=True)
    assert (state.skip, alive(state)) == ("competes", [0, 1, 2, 3, 4])
    assert output_scales(state, SkipScales()).tolist() == [0.55] * 4 + [1.1]
    without = prune_layer(state, np.array([0.0, 0.0, 0.0, 0.0, -3.0]), 0.15)
    assert (without.skip, alive(without)) == ("impossible", [0, 1, 2, 3])
    # The skip falls first (0.03), then a block (0.12 of 0.97).
    both = prune_layer(state, np.log([0.25, 0.3, 0.3, 0.12, 0.03]), 0.15)
    assert (both.skip, alive(both)) == ("impossible", [0, 1, 2])
    alone = prune_layer(state, np.log([0.04, 0.05, 0.05, 0.06, 0.8]), 0.3)
    assert (alone.skip, alive(alone)) == ("chosen", [4])
    assert init_layer(1, skippable=True).skip == "competes"
    assert init_layer(1, skippable=False).settled


def test_malformed_input() -> None:
    with pytest.raises(ValueError, match="at least one block, got 0"):
        init_layer(0, skippable=True)
    for wrong in ((0.0, 0.5), (1.1, -0.4), (math.nan, 1.0), (math.inf, 1.0)):
        with pytest.raises(ValueError, match=r"phi, lambda\): expected positive numbers"):
            SkipScales(*wrong)
    state = init_layer(2, skippable=False)
    with pytest.raises(ValueError, match="logits: expected 3 numbers"):
        prune_layer(state, [0.0, 0.0], 0.2)
    with pytest.raises(ValueError, match="finite for what is alive"):
        prune_layer(state, [0.0, np.nan, 0.0], 0.2)
    assert alive(prune_layer(state, [0.0, 0.0, np.nan], 0.2)) == [0, 1]
