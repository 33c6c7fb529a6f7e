"""The published super-networks of switches, by their names."""

from __future__ import annotations

from graphs.spaces.cnf import convolutional_neural_fabric
from graphs.spaces.dag_space import DagSpace
from graphs.spaces.resnet import resnet, resnet_fabric


def published_dag(name: str) -> DagSpace:
    """``resnet-20`` ... ``resnet-110``, ``resnet-fabric-3``, ``cnf-8``, ``cnf-segmentation-8``: switches on all but stem and head.

    Raises:
        ValueError: no such name.

    Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 4.

    Example:
        >>> len(published_dag("resnet-20").space.decisions)
        18
    """
    kind, _, number = name.rpartition("-")
    if not number.isdecimal():
        raise ValueError(f"no published super-network {name!r}")
    if kind == "resnet":
        return resnet((int(number) - 2) // 6)
    if kind == "resnet-fabric":
        return resnet_fabric(int(number))
    if kind == "cnf":
        return convolutional_neural_fabric(int(number), 6, 128, classes=10)
    if kind == "cnf-segmentation":
        return convolutional_neural_fabric(int(number), 9, 64, classes=3, task="segmentation", side=256)
    raise ValueError(f"no published super-network {name!r}")
