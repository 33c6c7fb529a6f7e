"""The feasible set that linear, quadratic and mixed-integer programs share: rows and bounds, stored sparsely.

Reference: Neumaier and Shcherbina, Safe bounds in linear and mixed-integer programming, 2004 (bounds from any multipliers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, IntArray
from solvers.sets import BudgetedBlocks


@dataclass(frozen=True, slots=True, eq=False)
class Polyhedron:
    """``{x : row_lower <= A x <= row_upper, lower <= x <= upper}`` with A (m, n) stored by rows (CSR). Build it with :meth:`of`."""

    starts: IntArray
    indices: IntArray
    values: FloatArray
    row_lower: FloatArray
    row_upper: FloatArray
    lower: FloatArray
    upper: FloatArray

    @classmethod
    def of(cls, rows: ArrayLike, row_lower: ArrayLike, row_upper: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> Polyhedron:
        """From a dense (m, n) matrix; bounds are (m,) and (n,), infinite where there is none.

        Raises:
            ValueError: shapes that do not meet, or NaN.
        """
        matrix = np.atleast_2d(np.asarray(rows, dtype=np.float64))
        row_of, indices = np.nonzero(matrix)
        starts = np.searchsorted(row_of, np.arange(len(matrix) + 1))
        return cls.from_csr(starts, indices, matrix[row_of, indices], row_lower, row_upper, lower, upper)

    @classmethod
    def from_csr(
        cls,
        starts: ArrayLike,
        indices: ArrayLike,
        values: ArrayLike,
        row_lower: ArrayLike,
        row_upper: ArrayLike,
        lower: ArrayLike,
        upper: ArrayLike,
    ) -> Polyhedron:
        """From the three arrays of a compressed sparse row matrix: starts (m + 1,), indices and values (non-zeros,).

        Raises:
            ValueError: shapes that do not meet, or NaN.
        """
        head, where = np.asarray(starts, dtype=np.int64), np.asarray(indices, dtype=np.int64)
        entries, low, high = (np.asarray(array, dtype=np.float64) for array in (values, lower, upper))
        row_low, row_high = np.asarray(row_lower, dtype=np.float64), np.asarray(row_upper, dtype=np.float64)
        m, n = len(head) - 1, len(low)
        if row_low.shape != (m,) or row_high.shape != (m,) or high.shape != (n,) or not head[-1] == len(where) == len(entries):
            raise ValueError(f"Polyhedron: bounds do not fit {m} rows and {n} columns")
        if len(where) and not 0 <= where.min() <= where.max() < n:
            raise ValueError(f"Polyhedron: a column index is outside 0..{n - 1}")
        if any(np.isnan(array).any() for array in (entries, row_low, row_high, low, high)):
            raise ValueError("Polyhedron: NaN in the matrix or in a bound")
        return cls(head, where, entries, row_low, row_high, low, high)

    @classmethod
    def of_budgeted_blocks(cls, feasible: BudgetedBlocks) -> Polyhedron:
        """One equality row a block, then one row a budget. Upper bounds are the totals, so that every dual bound is finite."""
        blocks, n = feasible.blocks, feasible.blocks.dimension
        budget_row, budget_column = np.nonzero(feasible.weights)
        starts = np.concatenate([blocks.offsets, n + np.searchsorted(budget_row, np.arange(1, len(feasible.capacities) + 1))])
        indices = np.concatenate([np.arange(n), budget_column])
        values = np.concatenate([np.ones(n), feasible.weights[budget_row, budget_column]])
        row_lower = np.concatenate([blocks.totals, np.full(len(feasible.capacities), -np.inf)])
        row_upper = np.concatenate([blocks.totals, feasible.capacities])
        upper = np.repeat(blocks.totals, blocks.sizes)
        return cls.from_csr(starts, indices, values, row_lower, row_upper, np.zeros(n), upper)

    def product(self, x: FloatArray) -> FloatArray:
        """``A x``, shape (m,)."""
        return np.bincount(self._rows(), weights=self.values * x[self.indices], minlength=len(self.row_lower)).astype(np.float64)

    def transposed_product(self, y: FloatArray) -> FloatArray:
        """``A' y``, shape (n,)."""
        return np.bincount(self.indices, weights=self.values * y[self._rows()], minlength=len(self.lower)).astype(np.float64)

    def residual(self, x: FloatArray) -> float:
        """Greatest violation of a row or a bound by ``x`` (shape (n,)), in the row's own unit; 0 inside."""
        activity = self.product(x)
        parts = (self.row_lower - activity, activity - self.row_upper, self.lower - x, x - self.upper)
        return float(max(0.0, *(part.max(initial=0.0) for part in parts)))

    def dual_bound(self, costs: FloatArray, multipliers: FloatArray) -> float:
        """The lower bound on ``costs @ x`` that any row ``multipliers`` (m,) prove; ``-inf`` where they prove nothing."""
        reduced = costs - self.transposed_product(multipliers)
        row_side = np.where(multipliers > 0, self.row_lower, self.row_upper)
        column_side = np.where(reduced > 0, self.lower, self.upper)
        rows = np.multiply(multipliers, row_side, out=np.zeros_like(multipliers), where=multipliers != 0)
        columns = np.multiply(reduced, column_side, out=np.zeros_like(reduced), where=reduced != 0)
        return float(rows.sum() + columns.sum())

    def provable(self, multipliers: FloatArray) -> FloatArray:
        """``multipliers`` (m,) without those that prove nothing: of the wrong sign on a row with one bound, as tolerances allow."""
        lowest = np.where(np.isfinite(self.row_upper), -np.inf, 0.0)
        return np.clip(multipliers, lowest, np.where(np.isfinite(self.row_lower), np.inf, 0.0))

    def scaled(self) -> tuple[Polyhedron, FloatArray]:
        """The same set with every row divided by its greatest entry, and those divisors (m,)."""
        greatest = np.zeros(len(self.row_lower))
        np.maximum.at(greatest, self._rows(), np.abs(self.values))
        scale = np.where(greatest > 0, greatest, 1.0)
        with np.errstate(over="ignore"):  # a bound far beyond all entries is none
            rows = (self.values / scale[self._rows()], self.row_lower / scale, self.row_upper / scale)
        return Polyhedron(self.starts, self.indices, *rows, self.lower, self.upper), scale

    def _rows(self) -> IntArray:
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
