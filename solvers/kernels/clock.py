"""The time, read inside compiled code: a time limit costs a call some 25 ns a look instead of a thread.

Importing this module needs numba.
"""

from __future__ import annotations

import time

import numpy as np
from numba import types

from solvers.kernels import compile_kernel, compile_part

_MONOTONIC = getattr(time, "CLOCK_MONOTONIC", None)

if _MONOTONIC is not None:
    _clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
    _CLOCK: int = _MONOTONIC

    @compile_part
    def now():  # type: ignore[no-untyped-def]
        """Seconds from some moment on."""
        seconds_and_nanoseconds = np.empty(2, np.int64)
        _clock_gettime(_CLOCK, seconds_and_nanoseconds.ctypes.data)
        return seconds_and_nanoseconds[0] + 1e-9 * seconds_and_nanoseconds[1]

else:  # Windows, where the C library's clock is the wall's, in milliseconds
    _clock = types.ExternalFunction("clock", types.int32())

    @compile_part
    def now():  # type: ignore[no-untyped-def]
        """Seconds from some moment on."""
        return 1e-3 * _clock()


@compile_kernel
def read_clock():  # type: ignore[no-untyped-def]
    """:func:`now`, for Python."""
    return now()
