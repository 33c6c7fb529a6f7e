"""Good connected sub-graphs within budgets, a thousand a second; :class:`SubgraphModel` takes longer and proves the best.

Every edge gets a price for the share of the budgets that it takes. At a price a sub-graph grows from the best path by ears: paths
through nodes not yet in use between nodes in use, the one that gains most first, as long as one gains. The price is bisected until
what grows just fits, and what is left of the budgets goes to the edges between nodes in use that are worth most for their cost. The
answer depends on the scores alone and fits; no bound comes with it.

Reference: Everett, Generalized Lagrange multiplier method, 1963 (candidates by prices).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import BoolArray, FloatArray, IntArray
from solvers.kernels import as_kernel_input, compiled
from solvers.subgraphs.program import SubgraphProgram

_TINY = 1e-12  # of a budget: an edge that costs nothing still costs this, so that ratios exist


@dataclass(frozen=True, slots=True, eq=False)
class SubgraphFilling:
    """A program made ready for many fillings. Build it with :meth:`of`."""

    program: SubgraphProgram
    _weights: FloatArray
    _pairs: tuple[IntArray, IntArray, IntArray]

    @classmethod
    def of(cls, program: SubgraphProgram) -> SubgraphFilling:
        """Prepare ``program``: what its edges cost as shares of its budgets, and which join the same nodes."""
        left = program.limits - program.fixed
        priced = np.isfinite(left) & (left > 0)
        share = np.where(priced, 1.0 / np.where(priced, left, 1.0), 0.0)
        weights = share @ (program.costs + program.additions[:, program.targets])
        both, pairs = np.unique(program.sources * program.nodes + program.targets, return_inverse=True)
        ends = (both // program.nodes, both % program.nodes)
        return cls(program, np.maximum(weights, _TINY), (pairs.astype(np.int64), *ends))

    def fill(self, scores: ArrayLike, limits: ArrayLike | None = None) -> tuple[BoolArray, BoolArray]:
        """A sub-graph for each row of ``scores`` (rows, E), within ``limits`` (m,) where others than the program's are given.

        Returns:
            the running edges (rows, E), and for each row whether one that fits was found; where not, none runs.

        Raises:
            ValueError: scores of another shape or not finite.

        Example:
            >>> triangle = [0, 0, 1], [1, 2, 2], 3, [[1.0, 3.0, 1.0]], np.zeros((1, 3)), [0.0], [4.0], np.zeros(3, dtype=bool)
            >>> running, found = SubgraphFilling.of(SubgraphProgram(*triangle)).fill([[1.0, 5.0, 1.0]])
            >>> running.tolist(), found.tolist()
            ([[False, True, False]], [True])
        """
        from solvers.kernels.subgraphs import fill

        program = self.program if limits is None else replace(self.program, limits=np.asarray(limits, dtype=np.float64))
        left = program.limits - program.fixed
        worth = np.array(scores, dtype=np.float64)
        if worth.ndim != 2 or worth.shape[1] != program.edges or not np.isfinite(worth).all():
            raise ValueError(f"scores: expected finite numbers (rows, {program.edges}), got shape {worth.shape}")
        running, found = np.zeros(worth.shape, dtype=np.bool_), np.zeros(len(worth), dtype=np.bool_)
        arrays = (self._weights, program.sources, program.targets, *self._pairs, program.required)
        fixed = [as_kernel_input(array) for array in (*arrays, program.costs, program.additions, left)]
        run = compiled(fill)
        for row in range(len(worth)):
            found[row] = run(worth[row], *fixed, running[row])
            if not running[row][program.required].all():  # it may run through nodes that nothing else uses
                running[row] = program.connected(running[row])
            found[row] &= program.fits(running[row])  # the kernel's sums are rounded
            running[row] &= found[row]
        return running, found
