"""The networks and super-networks of Budgeted Super Networks by size, and the costs its tables count.

A :class:`NetworkSpec` is small and JSON-ready, so that a record of searches can say what was searched and a picture can draw it
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from graphs import DagSpace, convolutional_neural_fabric, resnet, resnet_fabric
from graphs.costs import CostModel, connected_macs, connected_parameters, makespan_cost
from graphs.files import Record
from papers_repro.bsn.published import COST_UNITS, CostName

Family = Literal["ResNet", "CNF", "CNF segmentation"]
COST_NAMES: tuple[CostName, ...] = tuple(COST_UNITS)


class NetworkSpec(Record):
    """A network by size.

    Attributes:
        family: which kind.
        size: blocks a group of a ResNet, columns of a convolutional neural fabric.
        widths: channels of each group; of a convolutional neural fabric the one number of filters.
        scales: of a convolutional neural fabric.
        crossed: whether a ResNet has the fabric's cross links (a convolutional neural fabric is one already).
        classes, image_channels, side: of the data.
    """

    family: Family
    size: int
    widths: tuple[int, ...]
    scales: int = 1
    crossed: bool = True
    classes: int = 10
    image_channels: int = 3
    side: int = 32

    def space(self) -> DagSpace:
        """The super-network.

        Raises:
            ValueError: sizes that do not go together; several widths of a convolutional neural fabric.
        """
        channels, side = self.image_channels, self.side
        if self.family == "ResNet":
            build = resnet_fabric if self.crossed else resnet
            return build(self.size, classes=self.classes, image_channels=channels, side=side, widths=self.widths)
        if len(self.widths) != 1:
            raise ValueError(f"{self.family}: expected one number of filters, got {self.widths}")
        task: Literal["classification", "segmentation"] = "classification" if self.family == "CNF" else "segmentation"
        return convolutional_neural_fabric(
            self.size, self.scales, self.widths[0], classes=self.classes, task=task, image_channels=channels, side=side
        )

    def plain(self, size: int) -> NetworkSpec:
        """The reference network of that size on the same data: a plain ResNet, or the whole of a fabric of fewer columns."""
        return self.model_copy(update={"size": size, "crossed": self.family != "ResNet"})

    @property
    def title(self) -> str:
        """For a reader: ``ResNet-20``, ``ResNet fabric n=3``, ``CNF W=4``."""
        if self.family != "ResNet":
            return f"{self.family} W={self.size}"
        return f"ResNet fabric n={self.size}" if self.crossed else f"ResNet-{2 * self.size * len(self.widths) + 2}"


def named_network(name: str, classes: int = 10) -> NetworkSpec:
    """A network of the paper's sizes by its published name, such as ``resnet-20``, ``resnet-fabric-3`` or ``cnf-8``."""
    kind, _, number = name.rpartition("-")
    if kind == "resnet":
        return NetworkSpec(family="ResNet", size=(int(number) - 2) // 6, widths=(16, 32, 64), crossed=False, classes=classes)
    if kind == "resnet-fabric":
        return NetworkSpec(family="ResNet", size=int(number), widths=(16, 32, 64), classes=classes)
    if kind == "cnf":
        return NetworkSpec(family="CNF", size=int(number), widths=(128,), scales=6, classes=classes)
    if kind == "cnf-segmentation":
        return NetworkSpec(family="CNF segmentation", size=int(number), widths=(64,), scales=9, classes=3, side=256)
    raise ValueError(f"no network of the name {name!r}: expected resnet-20, resnet-fabric-3, cnf-8, cnf-segmentation-8 or the like")


def cost_model(space: DagSpace, cost: CostName) -> CostModel:
    """A cost of the tables: multiply-adds, parameters, or steps on 1, 2 or 4 machines in the published order.

    ``macs`` counts what runs and is what networks are learned under. ``macs-published`` counts as the paper prints: convolutions
    after up-sampling (of convolutional neural fabrics) at a fourth, which would reward a search for taking them.
    """
    if cost == "macs":
        return connected_macs(space, "exact")
    if cost == "macs-published":
        return connected_macs(space, "published")
    if cost == "parameters":
        return connected_parameters(space)
    return makespan_cost(space, int(cost.removeprefix("steps-")))


def published_unit(cost: CostName, largest: Sequence[float]) -> tuple[str, float]:
    """(unit, how many make one) in which to print costs, the greatest of which are given: G, M or K of what is counted."""
    unit, _ = COST_UNITS[cost]
    if cost.startswith("steps"):
        return unit, 1.0
    what = unit.removeprefix("M ")
    top = max(largest, default=1.0)
    for prefix, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if top >= 2 * size:
            return f"{prefix} {what}", size
    return what, 1.0
