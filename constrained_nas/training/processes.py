"""Several processes for one training: started by torchrun, each with a device of its own, tied together by Fabric.

Every process does the same on the same data, draws the same paths from generators of the same seeds, and computes its share of a
batch's parts (see :mod:`constrained_nas.training.parts`). Gradients are added once a step in one message, so that parameters which
the drawn paths do not use need no search for them; torch's ``DistributedDataParallel`` is not needed and not used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from constrained_nas.training.stopping import Stopped

Progress = Callable[[int, int, str], None]


class TogetherStrategy(DDPStrategy):
    """Fabric's processes and messages, with modules left as they are: gradients are added by whoever trains."""

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override] # nothing is wrapped
        """The module itself."""
        return module


def process_count() -> int:
    """How many processes torchrun started; 1 without it."""
    return TorchElasticEnvironment().world_size() if TorchElasticEnvironment.detect() else 1


def first_process() -> bool:
    """Whether this is the one that writes and prints."""
    return process_count() == 1 or TorchElasticEnvironment().global_rank() == 0


def make_fabric(device: str = "cpu", precision: Any = "32-true") -> Fabric:
    """A Fabric for this process: one device, or one a process under torchrun, joined with the others (gloo on CPUs, NCCL on GPUs).

    Raises:
        ValueError: more processes than GPUs.
    """
    count = process_count()
    if count == 1:
        return Fabric(accelerator=device, devices=1, precision=precision)
    here = int(os.environ["LOCAL_WORLD_SIZE"])  # how torchrun says it; nothing else does
    gpus = torch.cuda.device_count()
    if device == "cuda" and here > gpus:
        raise ValueError(f"{here} processes for {gpus} GPUs: give torchrun --nproc_per_node {gpus}")
    # A process may wait while another measures latencies; of one that dies the others hear at once, by torchrun.
    strategy = TogetherStrategy(timeout=timedelta(hours=24))
    fabric = Fabric(accelerator=device, devices=here, num_nodes=count // here, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def stopping_together(progress: Progress | None, fabric: Fabric) -> Progress | None:
    """A callback of progress by which all processes stop after the same step, if one is to stop; all must call it alike."""
    if fabric.world_size == 1:
        return progress

    def told(done: int, total: int, what: str) -> None:
        asked = 0
        try:
            if progress:
                progress(done, total, what)
        except Stopped:
            asked = 1
        anybody = cast(torch.Tensor, fabric.all_reduce(torch.tensor(asked, device=fabric.device), reduce_op="sum"))
        if int(anybody):
            raise Stopped

    return told
