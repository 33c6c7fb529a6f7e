"""Measure the latency of whole networks on this machine: clocks, threads, and rounds that visit the networks in random order.

Freed memory stays with the process while latencies are measured on a CPU. By default glibc returns large blocks to the system when
they are freed, and whether it does depends on what else the process has allocated. A network whose activations are returned has to
fault every page in again on every pass: on one machine the same networks took 1.0 or 1.4 times as long, each reproducibly, and a
table measured in one process predicted some networks of another process 34 % too low. Runtimes for deployment keep their memory in
pools; here the allocator is told to do likewise.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from constrained_nas.latency.names import Clock
from graphs import ChoiceSpace, DagSpace, GPUNetSpace, MBConvSpace
from graphs.supernet import layer_of

TimedSpace = MBConvSpace | GPUNetSpace | ChoiceSpace | DagSpace | tuple[int, ...]  # or the shape of an image


def automatic_clock(device: str, threads: int) -> Clock:
    """The processor's clock where there is one to go by, so that a busy machine counts less: on a CPU, with one thread."""
    return "processor" if device == "cpu" and threads == 1 else "wall"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Latency in ms: median, interquartile range, and number of samples."""

    median: float
    spread: float
    samples: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Measurement:
        """Summarize samples."""
        low, middle, high = np.percentile(milliseconds, [25, 50, 75]).tolist()
        return cls(middle, high - low, len(milliseconds))


@dataclass(frozen=True, slots=True)
class Timer:
    """How latencies are measured: evaluation mode, fixed batch, resolution, threads and device; ``half``: in float16.

    The ``processor`` clock counts only the time that the thread ran, so that other work on the machine does not count where it
    interrupts ours. It is the latency on an idle machine where one thread does everything: on a CPU, with one thread.

    Raises:
        ValueError: the processor clock with several threads, or for a device that is not the CPU.
    """

    batch: int = 1
    threads: int = 1
    device: str = "cpu"
    channels_last: bool = True
    clock: Clock = "wall"
    half: bool = False

    def __post_init__(self) -> None:
        if self.clock == "processor" and (self.device != "cpu" or self.threads != 1):
            raise ValueError(
                f"the processor clock sees one thread on the CPU, not {self.threads} on {self.device}: use the wall clock"
            )

    @contextmanager
    def threads_set(self) -> Iterator[None]:
        """Use ``threads`` torch threads inside the block; on a CPU the process keeps freed memory from then on."""
        if self.device == "cpu":
            keep_freed_memory()
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def images(self, space: TimedSpace) -> Tensor:
        """A batch of noise of the space's input shape."""
        if isinstance(space, tuple):
            return self.noise(space)
        if isinstance(space, DagSpace):
            return self.noise(layer_of(space.dag, space.connectivity.nodes[0]).shape)
        if isinstance(space, ChoiceSpace):
            return self.noise(space.example[0].shape[1:])
        return self.noise((space.settings.image_channels, space.settings.resolution, space.settings.resolution))

    def noise(self, shape: Sequence[int]) -> Tensor:
        """A batch of that shape on the device: the same every time, and no zeros, on which kernels may be faster."""
        return self.placed(torch.randn((self.batch, *shape), generator=torch.Generator().manual_seed(0)))

    def placed(self, inputs: Tensor) -> Tensor:
        """Inputs on the device, images in the memory format."""
        moved = inputs.to(self.device, torch.float16 if self.half and inputs.is_floating_point() else None)
        return moved.to(memory_format=self.memory_format) if moved.ndim == 4 else moved

    def place(self, network: nn.Module) -> nn.Module:
        """The network as it is timed: evaluation mode, on the device, in the memory format and the precision."""
        placed = network.eval().to(self.device).to(memory_format=self.memory_format)
        return placed.half() if self.half else placed

    def conditions(self, runtime: str) -> dict[str, Any]:
        """What every table states of how it was measured."""
        return {
            "device": device_name(self.device),
            "runtime": runtime,
            "threads": self.threads,
            "dtype": "float16" if self.half else "float32",
            "batch": self.batch,
            "torch_version": str(torch.__version__),
        }

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def now(self) -> float:
        """Milliseconds on a monotonic clock, once the device is idle."""
        if self.clock == "processor":
            return time.thread_time_ns() / 1e6
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)
        return time.perf_counter_ns() / 1e6


def device_name(device: str) -> str:
    """The device as tables and records state it: the processor's own name (Linux keeps it in a file), or the GPU's."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown cpu"


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
