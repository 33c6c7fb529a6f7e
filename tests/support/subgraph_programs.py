"""Made programs over connected sub-graphs, and the enumeration of all their sub-graphs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from solvers import SubgraphProgram


@dataclass(frozen=True)
class Enumeration:
    """Every connected sub-graph: its edges (k, E) and costs (k, m), by reachability over paths, one row at a time."""

    running: np.ndarray
    costs: np.ndarray

    @classmethod
    def of(cls, program: SubgraphProgram) -> Enumeration:
        paths = all_paths(program)
        free = np.flatnonzero(~program.required)
        found = set()
        for on in itertools.product([False, True], repeat=len(free)):
            switched = program.required.copy()
            switched[free] = on
            live = [path for path in paths if all(switched[edge] for edge in path)]
            if live:
                found.add(tuple(sorted({edge for path in live for edge in path})))
        running = np.zeros((len(found), program.edges), dtype=bool)
        for row, edges in enumerate(sorted(found)):
            running[row, list(edges)] = True
        fan_in = np.zeros((len(found), program.nodes))
        for edge, target in enumerate(program.targets):
            fan_in[:, target] += running[:, edge]
        costs = program.fixed + running @ program.costs.T + np.maximum(fan_in - 1, 0) @ program.additions.T
        return cls(running, costs)

    def best(self, scores: np.ndarray, limits: np.ndarray) -> float | None:
        fits = (self.costs <= limits).all(1)
        return float((self.running[fits] @ scores).max()) if fits.any() else None


def all_paths(program: SubgraphProgram) -> list[list[int]]:
    """The edges of every path from source to sink."""
    done, growing = [], [([], 0)]  # type: ignore[var-annotated]
    while growing:
        path, node = growing.pop()
        if node == program.nodes - 1:
            done.append(path)
        growing += [([*path, edge], int(program.targets[edge])) for edge in np.flatnonzero(program.sources == node).tolist()]
    return done


def random_program(rng: np.random.Generator, *, budgets: int = 1, required: bool = True) -> SubgraphProgram:
    """Up to 12 edges, parallel ones and detours among them; whole costs, so that enumerated ones are exact and limits get met."""
    nodes = int(rng.integers(2, 7))
    pairs = [(node, node + 1) for node in range(nodes - 1)]  # a chain: no node is off the paths
    pairs += [tuple(sorted(rng.choice(nodes, 2, replace=False).tolist())) for _ in range(int(rng.integers(0, 13 - len(pairs))))]
    order = rng.permutation(len(pairs)) if rng.random() < 0.3 else sorted(range(len(pairs)), key=lambda edge: pairs[edge])
    sources, targets = np.array(pairs)[order].T
    edges = len(pairs)
    costs = rng.integers(0, 20, (budgets, edges)).astype(float)
    additions = rng.integers(0, 8, (budgets, nodes)).astype(float)
    fixed = rng.integers(0, 5, budgets).astype(float)
    whole = costs.sum(1) + fixed + additions @ np.maximum(np.bincount(targets, minlength=nodes) - 1, 0)
    limits = np.round(whole * rng.uniform(0.0, 1.1, budgets))
    always = rng.random(edges) < (0.25 if required else 0.0)
    return SubgraphProgram(sources, targets, nodes, costs, additions, fixed, limits, always)
