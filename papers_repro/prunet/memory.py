"""Bytes that a training step keeps for its backward pass: what decides how large a super-network fits a device.

Counted by hooks on what autograd saves, each storage once, weights and images left out; so the number is exact, the same on every
device, and depends on shapes alone.

Reference: PruNet, Table 3 (memory of the optimizations).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from constrained_nas.ask_tell import Moment
from constrained_nas.methods.prunet import PruNet
from constrained_nas.problem import SearchProblem
from graphs import Supernet


def saved_bytes(method: PruNet, supernet: Supernet, rows: int) -> int:
    """Bytes saved for backward by the first step of a search, with every candidate alive.

    Args:
        supernet: put in training mode; weights and statistics stay as they were.
        rows: images in the batch.
    """
    space, generator = method.space, np.random.default_rng(0)
    problem = SearchProblem(space.space, ())
    proposal = method.ask(problem, method.init(problem, generator), rows, Moment("weights", 0, method.warm_up + 2, 0, 1), generator)
    side = space.settings.resolution
    images = torch.zeros(rows, space.settings.image_channels, side, side).contiguous(memory_format=torch.channels_last)
    kept = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    known = {tensor.untyped_storage().data_ptr() for tensor in (*supernet.parameters(), *supernet.buffers(), images)}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # the address of a freed storage may be used again within the pass

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    gates = {name: torch.as_tensor(gate, dtype=torch.float32) for name, gate in proposal.gates.items()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        supernet.train()(images, gates)
    supernet.load_state_dict(kept)
    return sum(sizes.values())
