"""Whole numbers of a few bits as bytes: what a weight really takes in a file.

A number of ``bits`` bits is stored without its sign, raised by ``2^(bits - 1)``, its lowest bit first; numbers follow each other
without gaps, and a tensor is filled up to eight numbers, so that it takes ``bits`` bytes for every eight weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def packed_bytes(count: int, bits: int) -> int:
    """What so many numbers take."""
    return -(-count // 8) * bits


def pack(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Codes of any shape, each from ``-2^(bits - 1)`` to ``2^(bits - 1) - 1``, as bytes.

    Raises:
        ValueError: bits other than 1 to 16, or a code out of range.

    Example:
        >>> pack(np.array([-3, 0, 3]), 3), packed_bytes(3, 3)
        (array([225,   1,   0], dtype=uint8), 3)
    """
    if not 1 <= bits <= 16:
        raise ValueError(f"expected 1 to 16 bits, got {bits}")
    half = 1 << (bits - 1)
    line = codes.reshape(-1).astype(np.int32) + half
    if line.size and not 0 <= line.min() <= line.max() < 2 * half:
        raise ValueError(f"codes of {bits} bits lie between {-half} and {half - 1}, got {line.min() - half} to {line.max() - half}")
    line = np.concatenate([line, np.zeros(-len(line) % 8, dtype=np.int32)])
    each = (line[:, None] >> np.arange(bits)) & 1  # (numbers, bits)
    return np.packbits(each.astype(np.uint8).reshape(-1), bitorder="little")


def unpack(content: NDArray[np.uint8], bits: int, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The codes that :func:`pack` stored.

    Raises:
        ValueError: bytes of another length.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if len(content) != packed_bytes(count, bits):
        raise ValueError(f"expected {packed_bytes(count, bits)} bytes for {count} numbers of {bits} bits, got {len(content)}")
    each = np.unpackbits(content, bitorder="little").reshape(-1, bits)
    codes = (each.astype(np.int32) << np.arange(bits)).sum(1, dtype=np.int32) - (1 << (bits - 1))
    return np.asarray(codes[:count].reshape(shape), dtype=np.int32)
