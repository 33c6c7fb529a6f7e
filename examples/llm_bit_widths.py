"""Choose a type for each of 252 layers of a language model, at 3.0, 3.5 and 4.0 bits a weight, in milliseconds and without torch.

The table is made up, with the shapes of an 8B model (36 blocks of attention and MLP projections), three types (2, 4 and 8 bits),
and losses that fall by four for every bit from a sensitivity of each layer's own: greater in the first and last blocks and in
``down`` and ``v``. Put your measurements in its place: ``constrained_nas.tables.read_bit_table`` reads CSV, JSON and exllamav2's
measurement.json, and ``constrained-nas allocate`` does all of this from the command line.

    python examples/llm_bit_widths.py
"""

from __future__ import annotations

import math
import time

import numpy as np

from constrained_nas.selections import SelectionTable, costs_of, greedy_selection, linked, score_of, select, uniform_selections
from constrained_nas.tables import tensor_types

HIDDEN, MLP, BLOCKS, HEADS = 4096, 12288, 36, 1024  # of the keys and values
SHAPES = {
    "attn_q": HIDDEN * HIDDEN,
    "attn_k": HIDDEN * HEADS,
    "attn_v": HIDDEN * HEADS,
    "attn_output": HIDDEN * HIDDEN,
    "ffn_gate": HIDDEN * MLP,
    "ffn_up": HIDDEN * MLP,
    "ffn_down": MLP * HIDDEN,
}
TYPES = {"q2_k": 2.625, "q4_k": 4.5, "q8_0": 8.5}
WIDER = {"attn_v": 4.0, "ffn_down": 2.5}  # as sensitive as others, times this


def made_table() -> tuple[SelectionTable, float]:
    """Losses and bits of every layer and type, and how many weights there are."""
    random = np.random.default_rng(0)
    scores: dict[str, dict[str, float]] = {}
    bits: dict[str, dict[str, float]] = {}
    for block in range(BLOCKS):
        ends = 1 + 4 * math.exp(-block / 2) + 2 * math.exp(-(BLOCKS - 1 - block) / 2)
        for name, weights in SHAPES.items():
            layer = f"blk.{block}.{name}.weight"
            sensitivity = ends * WIDER.get(name, 1.0) * random.lognormal(0.0, 0.7) * weights / 1e8
            scores[layer] = {kind: float(sensitivity * 4.0**-each * random.uniform(0.8, 1.2)) for kind, each in TYPES.items()}
            bits[layer] = {kind: weights * each for kind, each in TYPES.items()}
    return SelectionTable("made up", scores, {"bits": bits}), float(BLOCKS * sum(SHAPES.values()))


def main() -> None:
    """Choose at three budgets, beside greedy and uniform choices."""
    table, weights = made_table()
    links = linked(table.scores, [r"(blk[.]\d+)[.]ffn_(?:up|gate)[.]weight", r"(blk[.]\d+)[.]attn_[qk][.]weight"])
    uniform = uniform_selections(table)
    print(f"{len(table.scores)} layers, {weights / 1e9:.2f} billion weights, {len(links)} pairs linked")
    for budget in (3.0, 3.5, 4.0):
        began = time.process_time()
        found = select(table, {"bits": budget * weights}, links=links, minimize=True, backend="numpy")
        seconds = time.process_time() - began
        spent = found.totals["bits"] / weights
        print(f"\n{budget} bits a weight: loss {found.score:.4f} at {spent:.4f}, {found.status}, {seconds * 1e3:.1f} ms")
        greedy = greedy_selection(table, {"bits": budget * weights}, links)
        if greedy is not None:
            print(f"  greedy      loss {score_of(table, greedy):.4f} at {costs_of(table, greedy)['bits'] / weights:.4f}")
        fitting = {kind: choices for kind, choices in uniform.items() if costs_of(table, choices)["bits"] <= budget * weights}
        for kind, choices in fitting.items():
            print(f"  all {kind}    loss {score_of(table, choices):.4f} at {costs_of(table, choices)['bits'] / weights:.4f}")
    lines = tensor_types(found.choices).splitlines()
    print(f"\nfor llama-quantize --tensor-type-file, {len(lines)} lines:", *lines[:3], "...", sep="\n")


if __name__ == "__main__":
    main()
