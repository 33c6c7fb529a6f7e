"""Freed memory stays with the process while latencies are measured on a CPU.

By default glibc returns large blocks to the system when they are freed, and whether it does depends on what else the process has
allocated. A network whose activations are returned has to fault every page in again on every pass: on one machine the same
networks took 1.0 or 1.4 times as long, each reproducibly, and a table measured in one process predicted some networks of another
process 34 % too low. Runtimes for deployment keep their memory in pools; here the allocator is told to do likewise.
"""

from __future__ import annotations

import ctypes
from functools import cache

__all__ = ["keep_freed_memory"]

# Of malloc.h. Values are ints of C; as much as fits one is never trimmed.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_SETTINGS = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26))


@cache
def keep_freed_memory() -> bool:
    """From now on this process keeps the memory it frees; False where the C library has no such settings (other than glibc)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; no handle of the process itself (Windows)
        return False
    return all(mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in _SETTINGS)
