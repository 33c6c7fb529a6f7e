"""What a picture of a super-network shows."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from torch import nn

from constrained_nas.reports import draw_super_network, save_picture
from constrained_nas.reports.networks import layer_positions
from graphs import add_edge, add_layer, convolutional_neural_fabric, resnet_fabric


def _axes() -> Axes:
    return Figure().add_subplot()


def _arrows(axes: Axes) -> list[FancyArrowPatch]:
    return [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]


def test_a_body_and_its_shortcut_are_one_arrow() -> None:
    dag, axes = resnet_fabric(3).dag, _axes()
    draw_super_network(axes, dag)
    assert len(_arrows(axes)) == 9 * 3 - 4 + 2
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["same side", "to a smaller side"]
    assert {text.get_text() for text in axes.texts} >= {"image", "logits", "16 × 32 × 32", "32 × 16 × 16", "64 × 8 × 8"}


def test_arrows_are_as_wide_as_modules_are_used_and_tell_bodies_from_shortcuts() -> None:
    dag, axes = resnet_fabric(1).dag, _axes()
    use = {
        ("image", "stem", "stem"): 1.0,
        ("stem", "group1.block1", "body"): 0.5,
        ("stem", "group1.block1", "skip"): 0.25,
        ("group1.block1", "group2.block1", "skip"): 0.75,
    }
    draw_super_network(axes, dag, use)
    cores = [arrow for arrow in _arrows(axes) if same_color(arrow.get_edgecolor(), "white")]
    drawn = [(arrow.get_linewidth(), arrow.get_linestyle() != "-") for arrow in _arrows(axes) if arrow not in cores]
    assert len(drawn) == 7
    expected = [(0.4 + 2.6 * 1.0, False), (0.4 + 2.6 * 0.5, False), (0.4 + 2.6 * 0.75, True)]
    assert [core.get_linewidth() for core in cores] == [pytest.approx(0.4 * expected[1][0])], "one body with its shortcut"
    widest = sorted((pair for pair in drawn if pair[0] > 0.4), reverse=True)
    assert widest == sorted(expected, reverse=True)


def test_layers_of_fabrics_lie_on_their_grid() -> None:
    space = convolutional_neural_fabric(3, 4, 2, classes=2, side=8)
    places = layer_positions(space.dag)
    assert places["column3.scale4"] == (2.0, -3.0)
    assert places["stem"] == (0.0, 0.0)
    folded = layer_positions(resnet_fabric(4).dag)
    assert folded["group1.block3"][0] == folded["group2.block1"][0]  # the straight cross link goes straight down
    assert len(set(folded.values())) == len(folded)


def test_any_graph_can_be_drawn(tmp_path: Path) -> None:
    dag = nx.MultiDiGraph()
    for node in "abcd":
        add_layer(dag, node, (4,))
    for source, target in ("ab", "ac", "bd", "cd", "ad"):
        add_edge(dag, source, target, nn.Identity)
    assert layer_positions(dag) == {"a": (0.0, 0.0), "b": (1.0, 0.5), "c": (1.0, -0.5), "d": (2.0, 0.0)}
    save_picture(tmp_path / "any.svg", dag, "any")
    assert "<svg" in (tmp_path / "any.svg").read_text()


def test_an_arrow_bends_around_a_layer_in_between() -> None:
    dag, axes = nx.MultiDiGraph(), _axes()
    for node in "abc":
        add_layer(dag, node, (4,))
    for source, target in ("ab", "bc", "ac"):
        add_edge(dag, source, target, nn.Identity)
    draw_super_network(axes, dag)
    heights = [np.ptp(arrow.get_path().vertices[:, 1]) for arrow in _arrows(axes)]
    assert max(heights) > 0.3  # a to c comes around b
    assert axes.get_ylim()[0] <= -0.35 - 0.5


def test_bad_input_is_named() -> None:
    dag = resnet_fabric(1).dag
    with pytest.raises(ValueError, match="use 2 of module"):
        draw_super_network(_axes(), dag, {("image", "stem", "stem"): 2})
    with pytest.raises(ValueError, match=r"module \('image', 'logits', None\)"):
        draw_super_network(_axes(), dag, {("image", "logits", None): 1})
    with pytest.raises(ValueError, match="layer 'stem' has no position"):
        draw_super_network(_axes(), dag, positions={"image": (0.0, 0.0)})
    loop = nx.MultiDiGraph([("a", "b"), ("b", "a")])
    with pytest.raises(ValueError, match="cycle"):
        layer_positions(loop)
