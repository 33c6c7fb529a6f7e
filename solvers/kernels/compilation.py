"""How kernels run: compiled by numba, or for a moment as the Python they are written in.

A kernel is a plain function. :func:`compiled` makes machine code of it and of the parts it calls: a second where numba kept it,
half a minute where it did not. Small programs are not worth it at first: Python runs the same statements on them, in milliseconds
and with the same answers to the last bit, until it has spent in this process about what machine code costs. Then another thread
makes that, so that a limit holds and others go on meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

NativeBackend = Literal["native", "numpy"]

_PATIENCE = 0.5  # seconds of Python in a process: half of what it takes to read machine code that was kept
_LONG_PATIENCE = 10.0  # where none was kept: half of what it takes to make
_SMALL = 4000  # numbers that a program may have to be left to Python: one pass over them takes a millisecond or so
_marked: dict[Any, tuple[bool, Callable[[], Any] | None]] = {}  # kernels and parts: called from Python?, what is compiled instead
_machine: dict[Any, Any] = {}  # what is compiled, or will be when it is called
_namespaces: dict[str, dict[str, Any]] = {}  # of modules, with what is compiled in place of what is marked
_making: dict[Any, threading.Event] = {}  # kernels whose machine code was asked for in another thread; set where it is there
_lock = threading.RLock()
_spent = 0.0  # seconds that Python ran kernels


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def uses_kernels(path: str) -> bool:
    """Whether ``path`` means the kernels here.

    Raises:
        ValueError: a path other than "native" and "numpy".
    """
    if path == "native":
        return _installed()
    if path == "numpy":
        return False
    raise ValueError(f"backend: expected 'native' or 'numpy', got {path!r}")


def compile_kernel(function: Callable[..., Any]) -> Any:
    """Mark ``function`` as a kernel: Python calls ``compiled(function)``, other kernels call it by its name.

    Arithmetic stays as written: error-free sums depend on it. Numba renews the machine code it keeps when the file of ``function``
    changes, not when a file of its parts does: after editing a part, delete ``solvers/kernels/__pycache__``.
    """
    _marked[function] = True, None
    return function


def compile_part(function: Callable[..., Any], *, instead: Callable[[], Any] | None = None) -> Any:
    """Mark ``function`` as a part of kernels, which only kernels call; ``instead`` returns what is compiled for it."""
    _marked[function] = False, instead
    return function


def compiled(kernel: Any) -> Any:
    """The kernel in machine code; where numba is not installed the kernel itself."""
    found = _machine.get(kernel)
    if found is not None:
        return found
    if not _installed():
        return kernel
    with _lock:
        return _machine_code(kernel)


def made(kernel: Any, arguments: tuple[Any, ...], seconds: float) -> Any:
    """The kernel in machine code for ``arguments``, made by another thread; None where that takes more than ``seconds``.

    The thread goes on then. A process ends when it has ended, and forks when it has.
    """
    ended = _making.get(kernel)
    if ended is None and _installed():
        with _lock:
            if kernel not in _making:
                _making[kernel] = threading.Event()
                threading.Thread(target=_make_once, args=(kernel, arguments, _making[kernel])).start()
            ended = _making[kernel]
    if ended is not None and not ended.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
        return None
    return compiled(kernel)


def _make_once(kernel: Any, arguments: tuple[Any, ...], ended: threading.Event) -> None:
    try:
        _make(kernel, arguments)
    finally:  # an event: a thread that is joined counts as ended, in Python 3.11, where Ctrl-C ends the waiting
        ended.set()


def _make(kernel: Any, arguments: tuple[Any, ...]) -> None:
    code = compiled(kernel)
    with contextlib.suppress(Exception):  # whoever calls it is told
        code.compile(tuple(code.typeof_pyval(argument) for argument in arguments))


def _wait() -> None:
    for ended in list(_making.values()):
        ended.wait()


if hasattr(os, "register_at_fork"):  # a child would wait for ever for the compiler's lock
    os.register_at_fork(before=_wait)


def is_made(kernel: Any) -> bool:
    """Whether a call of the kernel waits for no compiler."""
    if kernel in _making:
        return _making[kernel].is_set()
    return not _installed() or (kernel in _machine and bool(_machine[kernel].overloads))


def _machine_code(function: Any) -> Any:
    if function in _machine:
        return _machine[function]
    from numba import njit

    from_python, instead = _marked[function]
    body = function if instead is None else instead()
    namespace = body.__globals__ if instead is not None else _namespace(function.__module__)
    twin = FunctionType(body.__code__, namespace, body.__name__, body.__defaults__, body.__closure__)
    twin.__qualname__, twin.__module__ = body.__qualname__, body.__module__
    options: Any = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": not from_python, "no_cfunc_wrapper": True}
    try:
        made = njit(cache=from_python, **options)(twin)
    except RuntimeError:  # no directory to keep machine code in: compile once a process
        made = njit(**options)(twin)
    _machine[function] = made
    return made


def _namespace(module: str) -> dict[str, Any]:
    """The names of a module as compiled code sees them."""
    if module not in _namespaces:
        names = _namespaces[module] = dict(vars(sys.modules[module]))
        for name, value in names.items():
            if isinstance(value, FunctionType) and value in _marked:
                names[name] = _machine_code(value)
    return _namespaces[module]


def patience(kernel: Any, numbers: int, least: float = 0.0) -> float:
    """Seconds that Python may run the kernel for, on a program of so many numbers, before :func:`compiled` pays.

    They are ``least`` or more as long as there is no machine code. Where that has a clock of its own, Python's would not do.
    """
    if is_made(kernel) or numbers > _SMALL or not hasattr(time, "CLOCK_MONOTONIC") or not _installed():
        return 0.0
    left = _PATIENCE - _spent
    if left <= 0.0 and not _is_kept(kernel):
        left += _LONG_PATIENCE
    return max(left, least)


@functools.cache
def _is_kept(kernel: Any) -> bool:
    """Whether an earlier process kept machine code of the kernel, be it of parts that were edited since."""
    from numba.core.caching import FunctionCache

    try:
        folder = Path(FunctionCache(kernel).cache_path)
    except RuntimeError:  # no directory to keep machine code in
        return False
    file, line = Path(kernel.__code__.co_filename).stem, kernel.__code__.co_firstlineno
    return any(folder.glob(f"{file}.{kernel.__qualname__}-{line}.*.nbi"))


def run_kernel(kernel: Any, numbers: int, *arguments: Any) -> Any:
    """What the kernel returns, run by Python while patience with a program of so many numbers lasts."""
    if patience(kernel, numbers):
        with interpreted():
            return kernel(*arguments)
    return compiled(kernel)(*arguments)


@contextlib.contextmanager
def interpreted() -> Iterator[None]:
    """Python runs kernels here: with the arithmetic of machine code, and the time is counted."""
    global _spent
    began = time.perf_counter()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _spent += time.perf_counter() - began


def as_kernel_input(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` as kernels take it: contiguous and writable, though they do not write to what they read; a copy where it is not."""
    return array if array.flags.carray else array.copy()
