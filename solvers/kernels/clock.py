"""The time, read inside kernels: a time limit costs a call some 25 ns a look instead of a thread."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from solvers.kernels.compilation import compile_kernel, compile_part, compiled

_SAME = hasattr(time, "CLOCK_MONOTONIC")  # not so on Windows, where compiled code has the C library's clock, in milliseconds


def _clock() -> Any:
    """Seconds from some moment on, as compiled code can ask for them."""
    from numba import types as numba_types

    types: Any = numba_types
    if not _SAME:
        clock = types.ExternalFunction("clock", types.int32())
        return lambda: 1e-3 * clock()
    clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
    monotonic = time.CLOCK_MONOTONIC

    def read():  # type: ignore[no-untyped-def]
        seconds_and_nanoseconds = np.empty(2, np.int64)
        clock_gettime(monotonic, seconds_and_nanoseconds.ctypes.data)
        return seconds_and_nanoseconds[0] + 1e-9 * seconds_and_nanoseconds[1]

    return read


def now() -> float:
    """The time, for kernels."""
    return time.clock_gettime(time.CLOCK_MONOTONIC) if _SAME else time.perf_counter()


compile_part(now, instead=_clock)


@compile_kernel
def _read_clock():  # type: ignore[no-untyped-def]
    return now()


def read_clock() -> float:
    """:func:`now`, for Python."""
    return now() if _SAME else compiled(_read_clock)()
