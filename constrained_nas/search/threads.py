"""Threads of numpy's matrix products in a search: one, whatever the machine has.

The matrices of search methods are small, so that several threads wait for one another (four times the processor's time for a search
by whole networks on two cores, more where the cores are busy), and sums would be rounded as the number of threads has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from threadpoolctl import threadpool_limits

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def single_threaded(function: Callable[Asked, Answer]) -> Callable[Asked, Answer]:
    """The function with one thread for matrix products inside it; torch keeps its own number."""
    return cast(Callable[Asked, Answer], threadpool_limits.wrap(limits=1, user_api="blas")(function))
