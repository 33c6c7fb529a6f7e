"""Options that a search has dropped leave the super-network, weights and all, so that steps get cheaper as the search narrows.

Reference: PruNet, Sec. 3 (block pruning).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from graphs.blocks import StochasticLayer
from graphs.supernet.dag import edge_of
from graphs.supernet.supernet import Supernet


class RemovedModule(nn.Module):
    """What stands in a super-network where a module was; it refuses to run."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, images: Tensor, *gates: Tensor) -> Tensor:
        raise ValueError(f"{self.name} was removed from the super-network but has a gate above zero")


def remove_options(supernet: Supernet, alive: Mapping[str, Collection[int]]) -> list[nn.Parameter]:
    """Remove the modules that only options outside ``alive`` need, in place; removing them again changes nothing.

    Args:
        supernet: its decisions and gates keep their shapes, but gates of removed options must be zero from now on.
        alive: the options that are left, by decision; decisions that are not named keep all.

    Returns:
        the parameters that went, for the weights' optimizer to forget. Elastic modules other than stochastic layers share weights
        among their options, and keep them.

    Raises:
        ValueError: an unknown decision, or one with no option left.
    """
    names = {decision.name: len(decision.options) for decision in supernet.space.decisions}
    for decision, options in alive.items():
        if decision not in names or not options or not set(options) <= set(range(names[decision])):
            raise ValueError(f"options left: decision {decision!r} has {names.get(decision, 'no')} options, got {list(options)}")
    removed: list[nn.Parameter] = []
    for index, key in enumerate(supernet.edge_keys):
        edge, module = edge_of(supernet.dag, key), supernet.edge_modules[index]
        if edge.decision is None or edge.decision not in alive:
            continue
        if edge.option is not None and edge.option not in alive[edge.decision]:
            removed += module.parameters()
            supernet.edge_modules[index] = RemovedModule(f"option {edge.option} of decision {edge.decision!r}")
        elif edge.option is None and isinstance(module, StochasticLayer):
            removed += module.keep_options(alive[edge.decision])
    return removed
