"""Small linear programs in exact fractions: the last word where two floating-point methods disagree about the same data.

The textbook simplex method on a full tableau, by Bland's rule, which cannot cycle: slow, and never wrong.

Reference: Chvatal, Linear Programming, 1983, Ch. 2 and 3; Bland, New finite pivoting rules for the simplex method, 1977.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

_Row = list[Fraction]


def maximize_exactly(
    objective: Sequence[float], rows: Sequence[Sequence[float]], right: Sequence[float], equalities: int
) -> tuple[list[Fraction], Fraction] | None:
    """The point and value of the greatest ``objective @ x`` with ``rows @ x <= right``, the first ``equalities`` equal, and x >= 0.

    None where no point exists. All numbers are taken as the binary fractions they are.

    Raises:
        OverflowError: the objective grows for ever.

    Example:
        >>> maximize_exactly([1.0, 2.0], [[1.0, 1.0], [0.0, 4.0]], [1.0, 3.0], equalities=1)
        ([Fraction(1, 4), Fraction(3, 4)], Fraction(7, 4))
    """
    n, m = len(objective), len(rows)
    slacks = m - equalities
    table: list[_Row] = []
    for i, (row, limit) in enumerate(zip(rows, right, strict=True)):
        line = [Fraction(x) for x in row] + [Fraction(0)] * (slacks + m) + [Fraction(limit)]
        if i >= equalities:
            line[n + i - equalities] = Fraction(1)
        if line[-1] < 0:
            line = [-x for x in line]
        line[n + slacks + i] = Fraction(1)  # an artificial variable a row
        table.append(line)
    basis = [n + slacks + i for i in range(m)]
    first = n + slacks
    _simplex(table, basis, [Fraction(0)] * first + [Fraction(-1)] * m, first + m)
    if any(basis[i] >= first and table[i][-1] > 0 for i in range(m)):
        return None
    for i in range(m):  # artificial variables at 0 leave, where the row says anything
        if basis[i] >= first:
            column = next((j for j in range(first) if table[i][j] != 0), None)
            if column is not None:
                _pivot(table, basis, i, column)
    _simplex(table, basis, [Fraction(x) for x in objective] + [Fraction(0)] * (slacks + m), first)
    x = [Fraction(0)] * n
    for i, column in enumerate(basis):
        if column < n:
            x[column] = table[i][-1]
    return x, sum((Fraction(c) * share for c, share in zip(objective, x, strict=True)), Fraction(0))


def _simplex(table: list[_Row], basis: list[int], objective: _Row, columns: int) -> None:
    """Pivot until no reduced value of the first ``columns`` is positive."""
    reduced = list(objective)
    for i, column in enumerate(basis):
        if objective[column]:
            for j in range(columns):
                reduced[j] -= objective[column] * table[i][j]
    while True:
        entering = next((j for j in range(columns) if reduced[j] > 0), None)
        if entering is None:
            return
        ratios = [(row[-1] / row[entering], basis[i], i) for i, row in enumerate(table) if row[entering] > 0]
        if not ratios:
            raise OverflowError("the linear program has no greatest value")
        _, _, leaving = min(ratios)
        _pivot(table, basis, leaving, entering)
        factor = reduced[entering]
        for j in range(columns):
            reduced[j] -= factor * table[leaving][j]


def _pivot(table: list[_Row], basis: list[int], row: int, column: int) -> None:
    """Make ``column`` basic in ``row``."""
    divisor = table[row][column]
    table[row] = [x / divisor for x in table[row]]
    for i, other in enumerate(table):
        if i != row and other[column]:
            factor = other[column]
            table[i] = [x - factor * y if y else x for x, y in zip(other, table[row], strict=True)]
    basis[row] = column
