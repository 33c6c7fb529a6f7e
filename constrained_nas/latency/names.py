"""What a measurement can be asked for, by name, and who is told of its progress; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

RuntimeName = Literal["torch", "cuda-graphs", "torch-compile", "onnxruntime"]
BlockTiming = Literal["in-context", "isolated"]
Clock = Literal["wall", "processor"]
Progress = Callable[[int, int, str], None]  # steps done, steps in all, what is going on
