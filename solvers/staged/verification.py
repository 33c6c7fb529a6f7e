"""Rechecking a joint projection from the raw data, sharing no search with what produced it.

The point must be one-hot, its score and costs are summed again by ``math.fsum`` from the program's definition, and its bound is
proven: by weak duality where the stored multipliers reach it (for any multipliers >= 0 the stages separate, and each takes its best
depth with the best priced configurations), else by solving the mixed-integer program again with scipy.

Reference: HardCoRe-NAS, Eq. 3 and 13.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray
from solvers.quadratic import Quadratic
from solvers.results import CertificateError, Result, Status
from solvers.staged.projection import project_jointly
from solvers.staged.space import StagedBlocks, StagedCost

# Relative to the summed sizes of the scores: the accuracy an exact answer promises.
_TOLERANCE = 1e-9
# Of sums that were made by fsum and are made again by fsum: only the caller's copies of the data can differ, by a rounding each.
_SUM_TOLERANCE = 1e-12


def verify_projection(
    result: Result,
    staged: StagedBlocks,
    scores: ArrayLike,
    cost: Quadratic | StagedCost | Sequence[Quadratic | StagedCost],
    budget: float | Sequence[float],
) -> Result:
    """Recheck every claim of ``result`` against the data given to :func:`solvers.project_jointly`, and return it.

    Args:
        result: the answer. INFEASIBLE is confirmed by solving again; an answer without a point claims nothing else.
        staged, scores, cost, budget: as they were given.

    Raises:
        CertificateError: a claim is wrong, or its bound could not be confirmed; with the numbers.
        ValueError: the answer holds neither a point nor the claim that there is none, or the data are malformed.

    Example:
        >>> from solvers import Stage
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost = StagedCost.of(space, 1.0, [1.0, 2.0, 1.0, 3.0])
        >>> arguments = space, [0.0, 1.0, 0.0, 1.0, 0.0, 2.0], cost, 5.0
        >>> verify_projection(project_jointly(*arguments), *arguments).certificate.gap
        0.0
    """
    parts = [cost] if isinstance(cost, (Quadratic, StagedCost)) else cost
    costs = [StagedCost.read(staged, part) for part in parts]  # one a budget
    limits = np.atleast_1d(np.asarray(budget, dtype=np.float64))
    credit = np.asarray(scores, dtype=np.float64)
    if result.x is None or result.certificate is None:
        if result.status is not Status.INFEASIBLE:
            raise ValueError(f"the result holds no point and does not say that there is none: {result.status}")
        again = project_jointly(staged, credit, cost, budget, backend="scipy")
        if again.x is not None:
            raise CertificateError(f"the result says that nothing fits; this fits: {np.flatnonzero(again.x).tolist()}")
        return result
    certificate = result.certificate
    x = np.asarray(result.x, dtype=np.float64)
    if x.shape != (staged.blocks.dimension,) or not np.isin(x, (0.0, 1.0)).all() or staged.blocks.residual(x) != 0.0:
        raise CertificateError("the point is not one-hot in every block and depth")
    ones = credit[x == 1.0]
    value, size = math.fsum(ones.tolist()), math.fsum(np.abs(ones).tolist())
    if not abs(value - certificate.primal) <= _SUM_TOLERANCE * size:
        raise CertificateError(f"the point is worth {value!r}, the certificate says {certificate.primal!r}")
    totals = [_cost_of(staged, part, x) for part in costs]
    violation = max(0.0, *(total - limit for total, limit in zip(totals, limits.tolist(), strict=True)))
    if (violation > 0.0) != (certificate.violation > 0.0) or not math.isclose(violation, certificate.violation, rel_tol=1e-6):
        raise CertificateError(f"a budget is exceeded by {violation!r}, the certificate says {certificate.violation!r}")
    if certificate.bound is None:
        return result
    bound = certificate.bound
    tolerance = _TOLERANCE * max(1.0, math.fsum(np.abs(credit).tolist()))
    if violation == 0.0 and value > bound + tolerance:
        raise CertificateError(f"the point is worth {value!r}, more than the bound {bound!r}")
    if certificate.dual is not None:
        duals = np.asarray(certificate.dual, dtype=np.float64)
        if duals.shape != limits.shape or not (np.isfinite(duals) & (duals >= 0.0)).all():
            raise CertificateError(f"multipliers must be one finite number >= 0 a budget, got {duals.tolist()}")
        if _dual_bound(staged, credit, costs, limits, duals) <= bound + tolerance:
            return result
    again = project_jointly(staged, credit, costs, limits.tolist(), backend="scipy")
    if again.certificate is not None and again.certificate.primal > bound + tolerance:
        raise CertificateError(f"the bound {bound!r} is none: a point that fits is worth {again.certificate.primal!r}")
    if again.status not in (Status.OPTIMAL, Status.INFEASIBLE):
        raise CertificateError(f"the bound {bound!r} could not be confirmed: solving again ended '{again.status}'")
    return result


def _cost_of(staged: StagedBlocks, cost: StagedCost, x: FloatArray) -> float:
    """The fixed part and every configuration of a block that runs, from the definition."""
    terms = [cost.fixed]
    for index, stage in enumerate(staged.stages):
        depth = stage.depths[int(x[staged.blocks.slice(staged.beta_block(index))].argmax())]
        for block in itertools.islice(staged.alpha_blocks(index), depth):
            part = staged.blocks.slice(block)
            terms.append(float(cost.per_configuration[part][int(x[part].argmax())]))
    return math.fsum(terms)


def _dual_bound(staged: StagedBlocks, scores: FloatArray, costs: list[StagedCost], limits: FloatArray, duals: FloatArray) -> float:
    """``duals @ (limits - fixed) + sum over stages of the best depth's worth``: no point that fits is worth more."""
    terms = []
    for price, limit, cost in zip(duals.tolist(), limits.tolist(), costs, strict=True):
        if price > 0.0:
            terms.append(price * (limit - cost.fixed))
    for index, stage in enumerate(staged.stages):
        plain, priced = [], []
        for block in staged.alpha_blocks(index):
            part = staged.blocks.slice(block)
            charge = sum(price * cost.per_configuration[part] for price, cost in zip(duals.tolist(), costs, strict=True))
            plain.append(float(scores[part].max()))
            priced.append(float((scores[part] - charge).max()))
        depth_scores = scores[staged.blocks.slice(staged.beta_block(index))].tolist()
        worth = (
            math.fsum([score, *priced[:depth], *plain[depth:]]) for score, depth in zip(depth_scores, stage.depths, strict=True)
        )
        terms.append(max(worth))
    return math.fsum(terms)
