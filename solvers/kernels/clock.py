"""The time, read inside compiled code: a time limit costs a call some 25 ns a look instead of a thread."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from solvers.kernels import compile_kernel, compile_part, uses_kernels


def _clock() -> Any:
    """Seconds from some moment on, as compiled code can ask for them."""
    if not uses_kernels("native"):
        return time.perf_counter
    from numba import types as numba_types

    types: Any = numba_types

    if not hasattr(time, "CLOCK_MONOTONIC"):  # Windows, where the C library's clock is the wall's, in milliseconds
        clock = types.ExternalFunction("clock", types.int32())
        return compile_part(lambda: 1e-3 * clock())
    clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
    monotonic = time.CLOCK_MONOTONIC

    def read():  # type: ignore[no-untyped-def]
        seconds_and_nanoseconds = np.empty(2, np.int64)
        clock_gettime(monotonic, seconds_and_nanoseconds.ctypes.data)
        return seconds_and_nanoseconds[0] + 1e-9 * seconds_and_nanoseconds[1]

    return compile_part(read)


now = _clock()


@compile_kernel
def read_clock():  # type: ignore[no-untyped-def]
    """:func:`now`, for Python."""
    return now()
