"""A batch in parts: several processes share them, or one process takes them one after the other, with the same result.

The gradients of the parts add up to that of the batch. Rows see each other through batch normalization alone: its statistics are
those of a part, and what they leave is the mean over the parts. So the number of parts decides a training, as the batch size does,
and the number of processes does not: two parts on two processes and on one end in the same weights to the last bit, more parts up
to the order in which gradients are added. A batch that does not fit into memory is computed in parts too.

Parts that are computed at the same time, one a process, can instead be normalized together: the training is then that of the whole
batch on one process, up to rounding, whatever the number of processes. What draws by rows, dropout above all, draws by parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from constrained_nas.training.joined import JoinedNormalization
from constrained_nas.training.processes import TogetherStrategy

Gates = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Parts:
    """So many parts of every batch, of which the processes of ``fabric`` compute as many each.

    Attributes:
        joined: batch normalization is over the whole batch, not over a part; needs a process for every part.

    Raises:
        ValueError: a number of parts that the processes cannot share, or a Fabric that adds gradients by itself.
    """

    count: int
    fabric: Fabric
    joined: bool = False

    def __post_init__(self) -> None:
        processes = self.fabric.world_size
        if self.count < 1 or self.count % processes:
            raise ValueError(f"{self.count} part(s) of a batch cannot be shared by {processes} processes: give a multiple of those")
        if self.joined and self.count != processes:
            raise ValueError(
                f"--sync-batchnorm: {self.count} part(s) of a batch are normalized together by as many processes, not by "
                f"{processes}, which would compute some after others: torchrun --nproc_per_node {self.count}, or leave it out"
            )
        if isinstance(self.fabric.strategy, DDPStrategy) and not isinstance(self.fabric.strategy, TogetherStrategy):
            raise ValueError("several processes: take the Fabric of constrained_nas.training.make_fabric, not one with DDP")

    def check(self, batch_size: int) -> None:
        """Check that every part has the two rows that batch normalization needs.

        Raises:
            ValueError: it has not.
        """
        if self.count > 1 and batch_size < 2 * self.count:
            raise ValueError(f"a batch of {batch_size} in {self.count} parts: a part needs two examples; take fewer parts")

    def compute(self, network: nn.Module, rows: int, run: Callable[[slice], None], seeds: Sequence[int]) -> None:
        """Run every part of a batch of so many rows, then add the gradients of all processes.

        Args:
            network: its normalizations begin every part with the same running statistics, and end with the mean of what the parts
                leave; the gradients are those of its parameters.
            run: computes the rows, gradients included: of what is to be added up over the parts.
            seeds: of the step; what the network draws from torch's global state is seeded by them and the part.
        """
        if self.count == 1:
            run(slice(0, rows))
            return
        statistics = [buffer for module in network.modules() if isinstance(module, _BatchNorm) for buffer in module.buffers()]
        before = [buffer.clone() for buffer in statistics]
        changes = [torch.zeros_like(buffer) for buffer in statistics]
        each = self.count // self.fabric.world_size
        device = self.fabric.device
        for part in range(each * self.fabric.global_rank, each * (self.fabric.global_rank + 1)):
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(mixed_seed(*seeds, part))
                with self.normalizing():
                    run(slice(rows * part // self.count, rows * (part + 1) // self.count))
            with torch.no_grad():
                for buffer, old, change in zip(statistics, before, changes, strict=True):
                    new = buffer - old
                    change.copy_(change + new if buffer.is_floating_point() else torch.maximum(change, new))
                    buffer.copy_(old)
        self._leave(statistics, changes)
        self._add_gradients(network)

    @property
    def together(self) -> bool:
        """Whether other processes normalize their rows together with those of this one."""
        return self.joined and self.count > 1

    def normalizing(self) -> AbstractContextManager[Any]:
        """A block in which batch normalization is over what it is to be over."""
        return JoinedNormalization(self.fabric.global_rank, self.count, self.total) if self.together else nullcontext()

    def whole(self, gates: Gates) -> tuple[Gates, ...]:
        """What a super-network is told besides the gates of a part: those of the batch, where it is normalized as one."""
        return (gates,) if self.together else ()

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.fabric.world_size == 1:
            return tensor
        summed = tensor.to(self.fabric.device, copy=True)
        distributed.all_reduce(summed)  # Fabric's own waits for all processes first, which takes longer than the message
        return summed.to(tensor.device)

    @torch.no_grad()
    def _leave(self, statistics: Sequence[Tensor], changes: Sequence[Tensor]) -> None:
        for buffer, change in zip(statistics, self._totals(changes), strict=True):
            # Batches are counted in whole numbers: one more, or none where no part ran the module.
            buffer.add_(change / self.count if buffer.is_floating_point() else (change > 0).to(change))

    @torch.no_grad()
    def _add_gradients(self, network: nn.Module) -> None:
        """A parameter that no process used keeps no gradient: the optimizer leaves it alone, momentum and decay included."""
        if self.fabric.world_size == 1:
            return
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if not parameters:
            return
        used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32, device=self.fabric.device)
        somewhere = self.total(used).tolist()
        learning = [parameter for parameter, count in zip(parameters, somewhere, strict=True) if count]
        for parameter in learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in learning if parameter.grad is not None]
        for gradient, whole in zip(gradients, self._totals(gradients), strict=True):
            gradient.copy_(whole)

    def _totals(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sums over the processes, in one message for each type of numbers."""
        if self.fabric.world_size == 1:
            return list(tensors)
        sums: dict[int, Tensor] = {}
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
            flat = self.total(torch.cat([tensors[place].reshape(-1) for place in places]))
            parts = flat.split([tensors[place].numel() for place in places])
            sums |= {place: part.reshape(tensors[place].shape) for place, part in zip(places, parts, strict=True)}
        return [sums[place] for place in range(len(tensors))]


def part_of_gate(gate: Tensor, rows: slice) -> Tensor:
    """The gate of some rows: of (rows, options) theirs, and (options,) is for all."""
    return gate[rows] if gate.ndim == 2 else gate


def mixed_seed(*numbers: int) -> int:
    """One seed of several."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % (2**63 - 1)
    return seed
