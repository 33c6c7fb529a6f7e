"""A PruNet space as searches without Prunodes see it: a few widths a block, each a candidate with weights of its own.

Reference: PruNet, Table 3 (the FBNet column); Wu et al., FBNet.
"""

from __future__ import annotations

from dataclasses import replace

from graphs.spaces import GPUNetSpace


def separate_candidates(space: GPUNetSpace, shares: tuple[float, ...] = (0.5, 1.0)) -> GPUNetSpace:
    """The space as a search without Prunodes sees it: blocks of few widths, every one a candidate with weights of its own.

    Two widths a block take the memory of Prunodes (the paper's Table 3, FBNet); the networks are among those of ``space``.

    Raises:
        ValueError: shares outside (0, 1].
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares: expected numbers in (0, 1], got {shares}")
    name = f"{space.settings.name}-separate{'-'.join(f'{share:g}' for share in shares)}"
    return GPUNetSpace(replace(space.settings, name=name, shares=shares, separate=True))
