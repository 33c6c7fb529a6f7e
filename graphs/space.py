"""Search spaces: named decisions, and the architectures that settle them.

A decision shares ``units`` among its options: one unit makes it a choice (a configuration, a depth, an edge that is on or off),
more make it a count (so many filters at each bit width). A space is a product of decisions, so its points are the points of
``solvers.Blocks`` and an architecture is one with integer coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.files import require_printable
from solvers import Blocks


@dataclass(frozen=True, slots=True)
class Decision:
    """``units`` to share among ``options``; one unit picks a single option.

    Example:
        >>> SearchSpace("bits", (Decision("conv1", ("w2a2", "w8a8"), units=16),)).architecture([4, 12]).counts
        {'conv1': (4, 12)}
    """

    name: str
    options: tuple[str, ...]
    units: int = 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """How many units every option of every decision got: ``counts[decision]`` has one number an option."""

    counts: Mapping[str, tuple[int, ...]]

    def choice(self, decision: str) -> int:
        """Index of the option that a one-unit decision picked.

        Raises:
            ValueError: the decision has more than one unit.
        """
        counts = self.counts[decision]
        if sum(counts) != 1:
            raise ValueError(f"decision {decision!r} shares {sum(counts)} units among its options: it has counts, not a choice")
        return counts.index(1)


@dataclass(frozen=True)
class SearchSpace:
    """A product of decisions. ``name`` says which space it is, in files and messages.

    Example:
        >>> space = SearchSpace("toy", (Decision("kernel", ("3", "5")), Decision("depth", ("2", "3", "4"))))
        >>> space.point(space.choose({"kernel": "5", "depth": "2"})).tolist()
        [0.0, 1.0, 1.0, 0.0, 0.0]
    """

    name: str
    decisions: tuple[Decision, ...]

    def __post_init__(self) -> None:
        names = [decision.name for decision in self.decisions]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"space {self.name!r}: decisions must have different names, repeated: {sorted(repeated)}")
        for decision in self.decisions:
            for name in (decision.name, *decision.options):
                require_printable(name, f"space {self.name}: decision or option")
            if len(set(decision.options)) < len(decision.options) or not decision.options or decision.units < 1:
                raise ValueError(f"decision {decision.name!r}: expected distinct options and at least one unit, got {decision}")

    @cached_property
    def blocks(self) -> Blocks:
        """One simplex a decision, in order; its total is the decision's units."""
        sizes = [len(decision.options) for decision in self.decisions]
        return Blocks.of(sizes, [decision.units for decision in self.decisions])

    def slice(self, decision: str) -> slice:
        """Where the decision's options lie in a point."""
        return self.blocks.slice([other.name for other in self.decisions].index(decision))

    def point(self, architecture: Architecture) -> NDArray[np.float64]:
        """The architecture as a point of ``blocks``, shape (dimension,).

        Raises:
            ValueError: the architecture is of another space: other decisions, options or units.
        """
        self._check_names(architecture.counts)
        for decision in self.decisions:
            counts = architecture.counts[decision.name]
            if len(counts) != len(decision.options) or sum(counts) != decision.units or min(counts) < 0:
                raise ValueError(
                    f"decision {decision.name!r}: expected {len(decision.options)} counts, none negative, that sum to "
                    f"{decision.units}, got {counts}"
                )
        return np.concatenate([np.asarray(architecture.counts[decision.name], dtype=np.float64) for decision in self.decisions])

    def architecture(self, point: ArrayLike) -> Architecture:
        """The architecture at an integer point (shape (dimension,)).

        Raises:
            ValueError: a coordinate is not a whole number or a decision's units do not add up.
        """
        x = np.asarray(point, dtype=np.float64)
        if self.blocks.residual(x) > 1e-9 or np.abs(x - np.rint(x)).max() > 1e-9:  # one-hot up to the rounding of a solver
            raise ValueError(f"space {self.name!r}: the point is not an architecture: project it onto whole units first")
        whole = np.rint(x).astype(int)
        parts = (whole[self.blocks.slice(block)] for block in range(self.blocks.count))
        return Architecture({d.name: tuple(part.tolist()) for d, part in zip(self.decisions, parts, strict=True)})

    def choose(self, choices: Mapping[str, str]) -> Architecture:
        """The architecture that picks the named option of every (one-unit) decision.

        Raises:
            ValueError: a decision is missing, unknown, has several units, or has no such option.
        """
        self._check_names(choices)
        counts = {}
        for decision in self.decisions:
            option = choices[decision.name]
            if decision.units != 1:
                raise ValueError(f"decision {decision.name!r} has {decision.units} units: give counts, not a choice")
            if option not in decision.options:
                raise ValueError(f"decision {decision.name!r}: no option {option!r}; there are {', '.join(decision.options)}")
            counts[decision.name] = tuple(int(option == other) for other in decision.options)
        return Architecture(counts)

    def describe(self, architecture: Architecture) -> dict[str, Any]:
        """JSON-ready: the option's name for a choice, ``{option: count}`` for a count."""
        described: dict[str, Any] = {}
        for decision in self.decisions:
            counts = architecture.counts[decision.name]
            if decision.units == 1:
                described[decision.name] = decision.options[architecture.choice(decision.name)]
            else:
                described[decision.name] = dict(zip(decision.options, counts, strict=True))
        return described

    def _check_names(self, given: Mapping[str, Any]) -> None:
        expected = {decision.name for decision in self.decisions}
        if set(given) != expected:
            missing, unknown = sorted(expected - set(given)), sorted(set(given) - expected)
            raise ValueError(f"space {self.name!r}: missing decisions {missing}, unknown decisions {unknown}")
