"""One evaluation of the Gibbs distribution of a staged cost; ``solvers.staged.maximum_entropy`` has the formulas."""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels.compilation import compile_kernel


@compile_kernel
def gibbs(
    lam: float, times: FloatArray, configurations: IntArray, depths: IntArray, first: IntArray, end: IntArray, point: FloatArray
) -> tuple[float, float, float]:
    """Mean cost, its variance and the log of the partition function at ``lam``; fills ``point`` (alpha, then beta).

    Args:
        lam: the multiplier, >= 0.
        times: (alpha dimension,).
        configurations, depths, first, end: of ``solvers.staged.space.StagedLayout``.
        point: (dimension,), written.
    """
    blocks, width = len(configurations) - 1, len(times)
    # Of the blocks so far: their factor log(Z_b / n_b), their mean and variance, summed.
    factor, mean, variance = np.zeros(blocks + 1), np.zeros(blocks + 1), np.zeros(blocks + 1)
    log_options = 0.0
    for b in range(blocks):
        low, high = configurations[b], configurations[b + 1]
        least = times[low]
        for c in range(low + 1, high):
            least = min(least, times[c])  # exponents relative to the cheapest: no underflow of Z
        partition, weighted = 0.0, 0.0
        for c in range(low, high):
            point[c] = math.exp(-lam * (times[c] - least))
            partition += point[c]
            weighted += point[c] * times[c]
        centre = weighted / partition
        spread = 0.0
        for c in range(low, high):
            point[c] /= partition
            spread += point[c] * (times[c] - centre) ** 2
        factor[b + 1] = factor[b] + (math.log(partition) - lam * least - math.log(high - low))
        mean[b + 1], variance[b + 1] = mean[b] + centre, variance[b] + spread
        log_options += math.log(high - low)
    total_mean, total_variance, log_partition = 0.0, 0.0, log_options
    for s in range(len(depths) - 1):
        low, high = depths[s], depths[s + 1]
        top = -math.inf
        for d in range(low, high):
            top = max(top, factor[end[d]] - factor[first[d]])
        partition, weighted = 0.0, 0.0
        for d in range(low, high):
            weight = math.exp(factor[end[d]] - factor[first[d]] - top)
            point[width + d] = weight
            partition += weight
            weighted += weight * (mean[end[d]] - mean[first[d]])
        centre = weighted / partition
        for d in range(low, high):
            point[width + d] /= partition
            between = mean[end[d]] - mean[first[d]] - centre
            # Law of total variance: within a depth, and between depths.
            total_variance += point[width + d] * (variance[end[d]] - variance[first[d]] + between * between)
        total_mean += centre
        log_partition += top + math.log(partition)
    return total_mean, total_variance, log_partition
