"""One good connected sub-graph within budgets, in compiled code; ``solvers.subgraphs.filling`` says how and what for.

Edges that join the same two nodes are a pair. Once both of its nodes are in use a pair runs the edges that are worth their price
and those that are required; its ``bonus`` is what that brings. Where a path has no other way through a pair it takes the edge that
loses least: ``link``. Without numba the same code runs interpreted.
"""

from __future__ import annotations

import numpy as np

from solvers.arrays import BoolArray, FloatArray, IntArray
from solvers.kernels.compilation import compile_kernel, compile_part

_HALVINGS = 24  # of the price
_DOUBLINGS = 100  # of the price, before giving up


@compile_part
def _grow(
    net: FloatArray,
    sources: IntArray,
    targets: IntArray,
    pairs: IntArray,
    firsts: IntArray,
    seconds: IntArray,
    required: BoolArray,
    used: BoolArray,
    running: BoolArray,
) -> None:
    """Fill ``used`` (nodes,) and ``running`` (E,): the best path under ``net`` (E,), then ears as long as one gains.

    Args:
        pairs: (E,) the pair of each edge; ``firsts`` and ``seconds`` (pairs,) are its nodes, sorted by the first.
    """
    count, nodes = len(firsts), len(used)
    link, bonus, taken = np.full(count, -np.inf), np.zeros(count), np.full(count, -1)
    runs = np.zeros(count, dtype=np.bool_)  # of its own accord
    for edge in range(len(net)):
        pair = pairs[edge]
        if required[edge] or net[edge] > 0.0:
            bonus[pair] += net[edge]
            runs[pair] = True
        elif net[edge] > link[pair]:
            link[pair], taken[pair] = net[edge], edge
    for pair in range(count):
        if runs[pair]:
            link[pair], taken[pair] = bonus[pair], -1
    forced = np.zeros(len(net), dtype=np.bool_)
    used[:] = False
    used[0] = used[nodes - 1] = True
    best, last = np.empty(nodes), np.empty(nodes, dtype=np.int64)
    into, out = np.empty(nodes), np.empty(nodes)  # of a node that is not in use: best pair from, and to, nodes in use
    into_pair, out_pair = np.empty(nodes, dtype=np.int64), np.empty(nodes, dtype=np.int64)
    extra = np.empty(nodes)  # bonuses between a node that is not in use and those in use
    fresh = np.zeros(nodes, dtype=np.bool_)
    joined = False
    while True:
        into[:], out[:], extra[:], best[:] = -np.inf, -np.inf, 0.0, -np.inf
        into_pair[:], out_pair[:], last[:] = -1, -1, -1
        # Before the first path nothing but the source is reached and nothing but the sink leads on.
        for pair in range(count):
            first, second = firsts[pair], seconds[pair]
            if used[first] and not used[second] and (joined or first == 0):
                extra[second] += bonus[pair]
                if link[pair] - bonus[pair] > into[second]:
                    into[second], into_pair[second] = link[pair] - bonus[pair], pair
            elif used[second] and not used[first] and (joined or second == nodes - 1):
                extra[first] += bonus[pair]
                if link[pair] - bonus[pair] > out[first]:
                    out[first], out_pair[first] = link[pair] - bonus[pair], pair
        for node in range(1, nodes - 1):
            if not used[node] and into_pair[node] >= 0:
                best[node] = into[node] + extra[node]
        for pair in range(count):  # by first node, so best[first] is settled
            first, second = firsts[pair], seconds[pair]
            if not used[first] and not used[second] and best[first] + link[pair] + extra[second] > best[second]:
                best[second], last[second] = best[first] + link[pair] + extra[second], pair
        grown = False
        fresh[:] = False  # nodes that came into use in this pass: what was reckoned for paths through them no longer holds
        while True:
            top, end, direct = (0.0, -1, -1) if joined else (-np.inf, -1, -1)
            if not joined:
                for pair in range(count):
                    if firsts[pair] == 0 and seconds[pair] == nodes - 1 and link[pair] > top:
                        top, direct = link[pair], pair
            for node in range(1, nodes - 1):
                if not used[node] and out_pair[node] >= 0 and best[node] + out[node] > top:
                    top, end, direct = best[node] + out[node], node, -1
            if end < 0 and direct < 0:
                break
            if direct >= 0:
                if taken[direct] >= 0:
                    forced[taken[direct]] = True
                grown = joined = True
                break
            node, clear = end, True
            while clear and last[node] >= 0:
                node = firsts[last[node]]
                clear = not fresh[node]
            if not clear:
                out_pair[end] = -1  # another time
                continue
            if taken[out_pair[end]] >= 0:
                forced[taken[out_pair[end]]] = True
            node = end
            while True:
                used[node] = fresh[node] = True
                pair = last[node] if last[node] >= 0 else into_pair[node]
                if taken[pair] >= 0:
                    forced[taken[pair]] = True
                if last[node] < 0:
                    break
                node = firsts[pair]
            grown = True
            if not joined:
                joined = True
                break  # what is reached and what leads on has changed
        if not grown:
            break
    for edge in range(len(net)):
        both = used[sources[edge]] and used[targets[edge]]
        running[edge] = both and (forced[edge] or required[edge] or net[edge] > 0.0)


@compile_part
def _paid(costs: FloatArray, additions: FloatArray, targets: IntArray, running: BoolArray, paid: FloatArray) -> None:
    """Fill ``paid`` (m,) with what the running edges (E,) cost beside the fixed part."""
    paid[:] = 0.0
    met = np.zeros(additions.shape[1], dtype=np.bool_)
    for edge in range(len(running)):
        if running[edge]:
            target = targets[edge]
            for row in range(len(paid)):
                paid[row] += costs[row, edge]
                if met[target]:
                    paid[row] += additions[row, target]
            met[target] = True


@compile_kernel
def fill(
    worth: FloatArray,
    weights: FloatArray,
    sources: IntArray,
    targets: IntArray,
    pairs: IntArray,
    firsts: IntArray,
    seconds: IntArray,
    required: BoolArray,
    costs: FloatArray,
    additions: FloatArray,
    left: FloatArray,
    found: BoolArray,
) -> bool:
    """Fill ``found`` (E,) with a connected sub-graph of great worth within the budgets; False where no price leads to one.

    Args:
        worth: (E,) scores.
        weights: (E,) what an edge costs as shares of the budgets, summed.
        pairs, firsts, seconds: as :func:`_grow` takes them.
        costs, additions: (m, E) and (m, nodes), as ``SubgraphProgram``'s.
        left: (m,) the limits less the fixed parts.
    """
    edges, nodes = len(worth), additions.shape[1]
    used, kept = np.zeros(nodes, dtype=np.bool_), np.zeros(nodes, dtype=np.bool_)
    running, paid, spent = np.zeros(edges, dtype=np.bool_), np.zeros(len(left)), np.zeros(len(left))
    low, high, price, most = 0.0, -1.0, 0.0, -np.inf
    for attempt in range(_HALVINGS + _DOUBLINGS):
        _grow(worth - price * weights, sources, targets, pairs, firsts, seconds, required, used, running)
        _paid(costs, additions, targets, running, paid)
        if (paid <= left).all():
            value = 0.0
            for edge in range(edges):
                if running[edge]:
                    value += worth[edge]
            if value > most:
                most = value
                found[:], kept[:], spent[:] = running, used, paid
            high = price
            if price == 0.0:
                break
        else:
            low = price
        if high < 0.0:  # nothing fits as yet
            if attempt >= _DOUBLINGS:
                return False
            price = max(2.0 * low, 1e-2)
        else:
            if high - low <= 1e-4 * high:
                break
            price = 0.5 * (low + high)
    gains = np.empty(edges)  # what is left of the budgets goes to edges between nodes in use, the worthiest for their cost first
    for edge in range(edges):
        gains[edge] = -worth[edge] / weights[edge]
    for edge in np.argsort(gains):
        if worth[edge] <= 0.0:
            break
        if found[edge] or not (kept[sources[edge]] and kept[targets[edge]]):
            continue
        fits = True
        for row in range(len(left)):
            fits = fits and spent[row] + costs[row, edge] + additions[row, targets[edge]] <= left[row]
        if fits:
            found[edge] = True
            for row in range(len(left)):
                spent[row] += costs[row, edge] + additions[row, targets[edge]]
    return True
