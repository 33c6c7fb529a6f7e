"""Convolutional neural fabrics: their counts as published, and their shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graphs import compile_supernet, convolutional_neural_fabric
from graphs.blocks import UpsampledConvolution
from graphs.costs import connected_macs, connected_parameters, count, makespan_cost
from graphs.supernet import edge_of

# columns: convolutions, parameters, multiply-adds published and exact, steps on 1, 2 and 4 machines; critical path on 2 and 4
CLASSIFICATION = {
    1: (5, 744_330, 53_822_720, 53_822_720, (12, 12, 12), (12, 12)),
    2: (26, 3_848_970, 406_209_536, 557_057_024, (39, 26, 19), (21, 16)),
    4: (58, 8_579_850, 1_010_330_880, 1_462_873_344, (83, 47, 31), (43, 26)),
    8: (122, 18_041_610, 2_218_573_568, 3_274_505_984, (171, 90, 53), (87, 48)),
}


@pytest.mark.parametrize("columns", CLASSIFICATION)
def test_fabrics_cost_what_was_published(columns: int) -> None:
    convolutions, parameters, published, exact, steps, shorter = CLASSIFICATION[columns]
    space = convolutional_neural_fabric(columns, 6, 128, classes=10)
    assert len(space.space.decisions) == convolutions
    assert connected_parameters(space).cost(space.whole) == parameters
    assert connected_macs(space).cost(space.whole) == connected_macs(space, "published").cost(space.whole) == published
    assert connected_macs(space, "exact").cost(space.whole) == exact
    assert tuple(makespan_cost(space, machines).cost(space.whole) for machines in (1, 2, 4)) == steps
    assert tuple(makespan_cost(space, machines, "critical_path").cost(space.whole) for machines in (2, 4)) == shorter


def test_the_segmentation_fabric_costs_what_was_published() -> None:
    space = convolutional_neural_fabric(8, 9, 64, classes=3, task="segmentation", side=256)
    assert connected_parameters(space).cost(space.whole) == 7_079_811
    assert connected_macs(space).cost(space.whole) == 35_613_551_808
    assert connected_macs(space, "exact").cost(space.whole) == 54_940_609_728
    assert [makespan_cost(space, machines).cost(space.whole) for machines in (1, 2, 4)] == [264, 145, 83]


@pytest.mark.parametrize(("task", "shape"), [("classification", (2, 5)), ("segmentation", (2, 5, 8, 8))])
def test_fabrics_run_and_are_counted_as_they_run(task: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    space = convolutional_neural_fabric(3, 3, 4, classes=5, task=task, image_channels=1, side=8)  # coarsest scale: 2x2 pixels
    supernet = compile_supernet(space.dag, space.space)
    assert supernet(torch.randn(2, 1, 8, 8), supernet.gates(space.whole)).shape == shape
    network = supernet.extract(space.whole)
    counted = count(network, (1, 8, 8))
    assert connected_parameters(space).cost(space.whole) == counted.parameters
    summed = sum(  # additions: every module into a layer but one takes in the whole feature map
        (space.dag.in_degree(node) - 1) * 4 * (8 // 2**scale) ** 2
        for column in range(3)
        for scale in range(3)
        if (node := f"column{column + 1}.scale{scale + 1}") in space.dag
    )
    assert connected_macs(space, "exact").cost(space.whole) == counted.macs + summed


def test_edges_of_a_fabric_along_the_scales_and_between_columns() -> None:
    pictures = convolutional_neural_fabric(3, 3, 4, classes=5, side=8).dag
    maps = convolutional_neural_fabric(3, 3, 4, classes=5, side=8, task="segmentation").dag
    assert set(pictures.predecessors("column2.scale2")) == {"stem", "column1.scale2", "column1.scale3"}
    assert set(pictures.successors("stem")) == {"column1.scale2", "column2.scale1", "column2.scale2"}
    assert pictures.has_edge("column3.scale1", "column3.scale2")
    assert not pictures.has_edge("column2.scale1", "column2.scale2")
    assert pictures.has_edge("column3.scale3", "logits")
    assert maps.has_edge("column3.scale2", "column3.scale1")
    assert not maps.has_edge("column3.scale1", "column3.scale2")
    assert maps.has_edge("column3.scale1", "logits")
    up = edge_of(maps, ("column3.scale2", "column3.scale1", "convolution")).factory()
    assert isinstance(up, UpsampledConvolution)
    assert set(convolutional_neural_fabric(1, 2, 4, classes=5).dag) == {"image", "stem", "column1.scale2", "logits"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"columns": 0}, "'columns': 0"),
        ({"filters": -3}, "'filters': -3"),
        ({"scales": 1}, "two scales or more, got 1"),
        ({"side": 12}, "side 12 cannot be halved 3 times"),
        ({"task": "detection"}, "got 'detection'"),
        ({"columns": 1, "task": "segmentation"}, "two columns or more"),
    ],
)
def test_what_is_no_fabric_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        convolutional_neural_fabric(**{"columns": 2, "scales": 4, "filters": 4, "classes": 3, "side": 16} | wrong)
