"""What a PruNet search knows: flat arrays and numbers, so that it can be saved whole; and its views as layers and Prunodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from constrained_nas.methods.prunet.block_pruning import LayerState, Skip, init_layer
from constrained_nas.methods.prunet.layout import Layout
from constrained_nas.methods.prunet.prunode import PrunodeState, init_prunodes
from solvers.arrays import BoolArray, FloatArray, IntArray

_SKIPS: tuple[Skip, ...] = get_args(Skip)


@dataclass(frozen=True, slots=True)
class PruNetState:
    """K slots (``constrained_nas.methods.prunet.layout``), P Prunodes, L layers.

    Attributes:
        logits, alive: of the slots, (K,); the slot of a skip is alive while it is an option.
        skips: what has become of every layer's skip, (L,), as numbers of ``block_pruning.Skip``.
        width_logits: w of the Prunodes, (P,).
        small_share, large_share, velocity, frozen, small, large: of the Prunodes, (P,), see ``prunode.PrunodeState``.
        first, second, steps: Adam's moments and step counts, (K + P,).
        total, entropies, told: the sums of this epoch's losses, with and without the penalty, and how many there were.
        loss, cross_entropy: the means of the last epoch's.
        selected, needed_alpha: latency of the last epoch's projection in ms, and the least alpha that would have led there.
    """

    logits: FloatArray
    alive: BoolArray
    skips: IntArray
    width_logits: FloatArray
    small_share: FloatArray
    large_share: FloatArray
    velocity: FloatArray
    frozen: BoolArray
    small: IntArray
    large: IntArray
    first: FloatArray
    second: FloatArray
    steps: IntArray
    total: float = 0.0
    entropies: float = 0.0
    told: int = 0
    loss: float = 0.0
    cross_entropy: float = 0.0
    selected: float = 0.0
    needed_alpha: float = 0.0


def initial_state(layout: Layout, skipping: bool, pruning: bool) -> PruNetState:
    """Equal logits; where layers may be skipped but nothing is pruned, skips compete from the start."""
    layers = [init_layer(len(layer.blocks), skipping and layer.shape.skippable, always=not pruning) for layer in layout.layers]
    nodes = init_prunodes(layout.maximum, layout.granularity)
    parameters = layout.slots + len(layout.maximum)
    return PruNetState(
        logits=np.concatenate([layer.logits for layer in layers]),
        alive=np.concatenate([layer.alive for layer in layers]),
        skips=np.array([_SKIPS.index(layer.skip) for layer in layers]),
        width_logits=np.zeros(len(layout.maximum)),
        **_moving(nodes),
        first=np.zeros(parameters),
        second=np.zeros(parameters),
        steps=np.zeros(parameters, dtype=np.int64),
    )


def layer_of(state: PruNetState, layout: Layout, number: int) -> LayerState:
    """What is left of a layer."""
    slots = layout.layers[number].slots
    return LayerState(state.alive[slots][:-1], _SKIPS[state.skips[number]], state.logits[slots])


def with_layers(state: PruNetState, layout: Layout, layers: Sequence[LayerState]) -> PruNetState:
    """The state after its layers were pruned; where a skip begins to compete, Adam begins anew."""
    fresh = np.zeros(len(state.first), dtype=np.bool_)
    for number, layer in enumerate(layers):
        joins = layer.skip == "competes" and _SKIPS[state.skips[number]] != "competes"
        fresh[layout.layers[number].slots] = joins
    return replace(
        state,
        logits=np.concatenate([layer.logits for layer in layers]),
        alive=np.concatenate([layer.alive for layer in layers]),
        skips=np.array([_SKIPS.index(layer.skip) for layer in layers]),
        first=np.where(fresh, 0.0, state.first),
        second=np.where(fresh, 0.0, state.second),
        steps=np.where(fresh, 0, state.steps),
    )


def prunodes_of(state: PruNetState, layout: Layout) -> PrunodeState:
    """Where the Prunodes stand."""
    return PrunodeState(layout.maximum, layout.granularity, **_moving(state))


def _moving(state: PrunodeState | PruNetState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in ("small_share", "large_share", "velocity", "frozen", "small", "large")}


def with_prunodes(state: PruNetState, nodes: PrunodeState, width_logits: FloatArray) -> PruNetState:
    """The state after Algorithm 1."""
    return replace(state, width_logits=width_logits, **_moving(nodes))


def adam_step(state: PruNetState, layout: Layout, gradient: FloatArray, rate: float) -> PruNetState:
    """One step of Adam (0.9, 0.999, 1e-8) on everything that is left; what was removed keeps its last value.

    ``gradient`` is by logits and width logits, (K + P,).
    """
    moving = np.concatenate([state.alive, np.zeros(len(state.width_logits), dtype=np.bool_)])
    for layer in layout.layers:
        numbers = layer.prunodes[state.alive[layer.slots]]
        moving[len(state.logits) + numbers[numbers >= 0]] = True
    steps = state.steps + moving
    first = np.where(moving, 0.9 * state.first + 0.1 * gradient, state.first)
    second = np.where(moving, 0.999 * state.second + 0.001 * gradient**2, state.second)
    count = np.maximum(steps, 1)
    step = rate * (first / (1 - 0.9**count)) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
    moved = np.concatenate([state.logits, state.width_logits]) - np.where(moving, step, 0.0)
    logits, width_logits = np.split(moved, [len(state.logits)])
    return replace(state, logits=logits, width_logits=width_logits, first=first, second=second, steps=steps)
