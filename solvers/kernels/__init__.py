"""Compiled kernels, where numba is installed: which of the two paths a call takes, and how the kernels are compiled.

The native solvers with one budget exist twice, in numpy and as numba kernels (in this room). "native" takes the kernels if numba is
there and numpy otherwise, "numpy" always takes numpy. Several budgets have the kernels only, which run interpreted without numba.
Numba is imported at the first native call, never by ``import solvers``; machine code is kept in numba's cache, so only the first
call after an installation compiles.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

from numpy.typing import NDArray

NativeBackend = Literal["native", "numpy"]


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def uses_kernels(path: str) -> bool:
    """Whether ``path`` means the compiled kernels here.

    Raises:
        ValueError: a path other than "native" and "numpy".
    """
    if path == "native":
        return _installed()
    if path == "numpy":
        return False
    raise ValueError(f"backend: expected 'native' or 'numpy', got {path!r}")


def compile_kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function``, called from Python, when it is first called, and keep the machine code.

    Arithmetic stays as written: error-free sums depend on it. Numba renews what it keeps when the file of ``function`` changes, not
    when a file of its parts does: after editing a part, delete ``solvers/kernels/__pycache__``.
    """
    if not _installed():
        return function
    from numba import njit

    options: Any = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no directory to keep machine code in: compile once a process
        return njit(**options)(function)


def compile_part(function: Callable[..., Any]) -> Any:
    """Compile ``function`` as a part of kernels only: not to be called from Python."""
    if not _installed():
        return function
    from numba import njit

    options: Any = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return njit(**options)(function)


def as_kernel_input(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` as kernels take it: contiguous and writable, though they do not write to what they read; a copy where it is not."""
    return array if array.flags.carray else array.copy()
