"""Stopping in the middle of an epoch, so that nothing is lost: who is told of progress may raise :class:`Stopped`.

Training and search then keep where they are, random generators included, and hand it on. What is resumed goes through the batches
that were seen, without computing, and continues with the next one, bit for bit as if it had not been stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Raised by a callback of progress: stop after this step."""


@dataclass(frozen=True, slots=True)
class Within:
    """A place inside an epoch: the steps done, and the states of the generators after them (``tensors``; ``values`` JSON-ready)."""

    steps: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]

    @classmethod
    def now(
        cls, steps: int, device: torch.device, own: torch.Generator | None = None, values: dict[str, Any] | None = None
    ) -> Within:
        """The place after so many steps, with torch's global generators and, if one is given, another of torch's."""
        tensors = {"generator.global": torch.get_rng_state()}
        if own is not None:
            tensors["generator.own"] = own.get_state()
        if device.type == "cuda":
            tensors["generator.cuda"] = torch.cuda.get_rng_state(device)
        return cls(steps, tensors, values or {})

    @classmethod
    def read(cls, tensors: dict[str, Tensor], values: dict[str, Any]) -> Within | None:
        """What :meth:`saved` wrote; None at the end of an epoch."""
        within = values.get("within")
        if within is None:
            return None
        states = {name: tensor for name, tensor in tensors.items() if name.startswith("generator.")}
        return cls(int(within["steps"]), states, dict(within["values"]))

    def saved(self) -> dict[str, Any]:
        """JSON-ready, beside the tensors."""
        return {"steps": self.steps, "values": self.values}

    def restore(self, device: torch.device, own: torch.Generator | None = None) -> None:
        """Put torch's generators where they were."""
        torch.set_rng_state(self.tensors["generator.global"])
        if own is not None:
            own.set_state(self.tensors["generator.own"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(self.tensors["generator.cuda"], device)
