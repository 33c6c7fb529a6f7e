"""The least sum of small tables, each over one or two choices: exact, by eliminating one choice after another.

A cost that is concave in the counts of each decision is least at one option a decision, and a layer's cost then is a table over
its own option and that of the layer it reads. Along a chain with shortcuts, eliminating decisions in the order in which layers run
meets tables of two or three decisions only.

Reference: Dechter, Bucket elimination, 1999 (min-sum).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import FloatArray

Factor = tuple[tuple[int, ...], FloatArray]  # the choices it speaks of, and one axis for each

_ENTRIES = 10_000_000  # of one table, 80 MB: eight choices at once of seven options


def least_choices(factors: Sequence[Factor], options: Sequence[int]) -> NDArray[np.intp]:
    """One option a choice, (choices,), that minimizes the sum of the factors.

    Args:
        factors: ``((i, j), table)`` adds ``table[option of i, option of j]``; ``((i, i), table)`` its diagonal.
        options: number of options of each choice.

    Raises:
        ValueError: the choices depend on each other so closely that a table would exceed ten million entries.
    """
    pending = [_distinct(names, table) for names, table in factors]
    eliminated: list[tuple[int, tuple[int, ...], NDArray[np.intp]]] = []
    for choice in range(len(options)):
        touching = [factor for factor in pending if choice in factor[0]]
        pending = [factor for factor in pending if choice not in factor[0]]
        others = tuple(sorted({name for names, _ in touching for name in names} - {choice}))
        axes = (*others, choice)
        shape = tuple(options[name] for name in axes)
        if np.prod([float(size) for size in shape]) > _ENTRIES:
            raise ValueError(f"{len(axes)} layers depend on each other at once: too many for an exact least cost")
        table = np.zeros(shape)
        for names, part in touching:
            order = np.argsort([axes.index(name) for name in names])
            table += np.transpose(part, order).reshape([options[name] if name in names else 1 for name in axes])
        eliminated.append((choice, others, table.argmin(-1)))
        pending.append((others, table.min(-1)))
    picks = np.zeros(len(options), dtype=np.intp)
    for choice, others, best in reversed(eliminated):
        picks[choice] = best[tuple(picks[list(others)])]
    return picks


def _distinct(names: tuple[int, ...], table: FloatArray) -> Factor:
    return ((names[0],), np.diagonal(table)) if len(names) == 2 and names[0] == names[1] else (names, table)
