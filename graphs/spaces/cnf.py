"""Convolutional neural fabrics as super-networks whose modules are switched on and off.

A trellis of ``columns`` x ``scales`` layers, all with the same number of channels, the side halved from one scale to the next. A
layer adds up (with ReLU) what comes from the column before it at the next finer, the same, and the next coarser scale. The first
column and, with two columns or more, the last also have edges along the scales: downwards in the first; in the last downwards to
the coarsest scale for classification, upwards to the finest for segmentation. Every such edge is a normalized 3x3 convolution with
a decision of its own; the stem and the head always run.

Reference: Saxena & Verbeek, Convolutional Neural Fabrics; Véniat & Denoyer, Budgeted Super Networks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import networkx as nx
from torch import nn

from graphs.blocks import ConvNormActivation, PixelClassifier, UpsampledConvolution
from graphs.spaces.dag_space import DagSpace
from graphs.supernet import add_edge, add_layer

Task = Literal["classification", "segmentation"]


def convolutional_neural_fabric(
    columns: int, scales: int, filters: int, *, classes: int, task: Task = "classification", image_channels: int = 3, side: int = 32
) -> DagSpace:
    """A fabric of ``columns`` x ``scales`` layers of ``filters`` channels.

    Args:
        classes: logits, an image or (segmentation) a pixel.
        image_channels, side: images are (image_channels, side, side); scale s has the side ``side / 2^s``.
        task: ``classification`` has its head at the coarsest scale, averaged where that is more than one pixel;
            ``segmentation`` at the finest.

    Raises:
        ValueError: a number below 1, fewer than two scales, a side that cannot be halved so often, segmentation with one column (no
            edge leads up), or an unknown task.

    Example:
        >>> len(convolutional_neural_fabric(columns=3, scales=3, filters=8, classes=10).space.decisions)
        18
    """
    numbers = {"columns": columns, "filters": filters, "classes": classes, "image_channels": image_channels, "side": side}
    wrong = {name: value for name, value in numbers.items() if value < 1}
    if wrong:
        raise ValueError(f"expected numbers from 1 up, got {wrong}")
    if scales < 2:
        raise ValueError(f"expected two scales or more, got {scales}")
    if side % 2 ** (scales - 1):
        raise ValueError(f"side {side} cannot be halved {scales - 1} times, once for every scale after the first")
    if task not in ("classification", "segmentation"):
        raise ValueError(f"task: expected 'classification' or 'segmentation', got {task!r}")
    if task == "segmentation" and columns == 1:
        raise ValueError("segmentation needs two columns or more: with one, no edge leads back up to the finest scale")
    dag = _trellis(columns, scales, filters, task, image_channels, side)
    segmentation = task == "segmentation"
    last = _name(columns - 1, 0 if segmentation else scales - 1)
    add_layer(dag, "logits", (classes, side, side) if segmentation else (classes,), "identity")
    add_edge(dag, last, "logits", partial(PixelClassifier, filters, classes, pooled=not segmentation), key="head")
    dag.nodes["logits"]["position"] = (float(columns), 0.0 if segmentation else 1.0 - scales)
    kind = "cnf-segmentation" if segmentation else "cnf"
    return DagSpace(f"{kind}-{columns}x{scales}x{filters}-{side}x{image_channels}-{classes}", dag)


def _trellis(columns: int, scales: int, filters: int, task: Task, image_channels: int, side: int) -> nx.MultiDiGraph:
    dag = nx.MultiDiGraph()
    add_layer(dag, "image", (image_channels, side, side), "identity")
    dag.nodes["image"]["position"] = (-1.0, 0.0)
    for column in range(columns):
        for scale in range(scales):
            node, length = _name(column, scale), side // 2**scale
            add_layer(dag, node, (filters, length, length), "identity" if node == "stem" else "sum_relu")
            dag.nodes[node]["position"] = (float(column), -float(scale))
    add_edge(dag, "image", "stem", partial(ConvNormActivation, image_channels, filters, 3, bias=True), key="stem")
    modules: dict[int, Callable[[], nn.Module]] = {
        1: partial(ConvNormActivation, filters, filters, 3, 2, activation="identity", bias=True),
        0: partial(ConvNormActivation, filters, filters, 3, activation="identity", bias=True),
        -1: partial(UpsampledConvolution, filters),
    }
    # A layer's edges go in as along the scales, up, same, down: the order of modules that the published numbers of sequential
    # steps come from visits them in reverse (graphs.costs.makespan).
    for column in range(columns):
        along = _along(column, columns, task)
        for scale in range(scales):
            ways = ([(column, along)] if along else []) + [(column + 1, way) for way in (-1, 0, 1)]
            for target, way in ways:
                if target < columns and 0 <= scale + way < scales:
                    source, end = _name(column, scale), _name(target, scale + way)
                    add_edge(dag, source, end, modules[way], decision=f"{source} -> {end}", option=1, key="convolution")
    return dag


def _along(column: int, columns: int, task: Task) -> int:
    """Which way a column's edges along the scales lead: 1 down, -1 up, 0 none."""
    if column == 0:
        return 1
    if column == columns - 1:
        return 1 if task == "classification" else -1
    return 0


def _name(column: int, scale: int) -> str:
    return "stem" if column == scale == 0 else f"column{column + 1}.scale{scale + 1}"
