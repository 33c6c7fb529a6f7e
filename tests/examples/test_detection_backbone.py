"""The example of a found network as a detector's backbone, at a small setting."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from constrained_nas.ask_tell import SearchResult
from constrained_nas.problem import SearchProblem
from constrained_nas.records import save_architecture
from examples.detection_backbone import count_found, detector, main, random_network, scene
from graphs.costs import width_count_cost
from graphs.spaces import gpunet_small

SPACE = gpunet_small(10, 16, 1)


def test_it_trains_and_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    architecture = random_network(SPACE, 0.3e6, 3)
    found = SearchResult(architecture, {}, True, SPACE.space.point(architecture), None)
    save_architecture(SearchProblem(SPACE.space, ()), found, "random", tmp_path / "found.json")
    small = ["--steps", "2", "--batch", "2", "--epochs", "1", "--test-scenes", "2", "--out", str(tmp_path)]
    main([*small, "--architecture", str(tmp_path / "found.json")])
    printed = capsys.readouterr().out
    assert f"network: {width_count_cost(SPACE, 'macs').cost(architecture):,.0f} multiply-adds" in printed
    assert "in 2 test scenes" in printed
    assert (tmp_path / "detection_backbone.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("macs", [0.15e6, 0.6e6])
def test_random_networks_fit(macs: float) -> None:
    cost = width_count_cost(SPACE, "macs")
    networks = [random_network(SPACE, macs, seed) for seed in range(5)]
    assert all(cost.cost(one) <= macs for one in networks)
    assert len({str(SPACE.describe(one)) for one in networks}) == 5


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lightest network of the space takes [\d,]+ multiply-adds, got a budget of 1"):
        random_network(SPACE, 1.0, 0)
    with pytest.raises(SystemExit, match="expected 1 or more each"):
        main(["--test-scenes", "0", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_scenes_hold_what_they_say() -> None:
    pictures, labels = torch.ones(3, 8, 8), torch.tensor([4, 5, 6])
    for seed in range(20):
        image, target = scene(pictures, labels, torch.Generator().manual_seed(seed))
        assert image.shape == (1, 64, 64) and 1 <= len(target["boxes"]) <= 3
        assert set(target["labels"].tolist()) <= {5, 6, 7}
        for left, top, right, bottom in target["boxes"].int().tolist():
            assert 0 <= left < right <= 64 and 0 <= top < bottom <= 64
            assert (
                float(image[0, top:bottom, left:right].min()) > 1 - 1e-5
            )  # an all-white digit fills its box; interpolation rounds


def test_counting() -> None:
    truth = {"boxes": torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]]), "labels": torch.tensor([1, 2])}
    found = {"boxes": torch.tensor([[0.0, 0, 10, 9], [20, 20, 30, 30], [40, 40, 50, 50]]), "labels": torch.tensor([1, 3, 3])}
    assert count_found(found, truth) == (1, 2)
    assert count_found({"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}, truth) == (0, 0)


def test_the_backbones_weights_are_the_networks() -> None:
    network = SPACE.network(random_network(SPACE, 0.3e6, 0))
    model = detector(network)
    shared = {id(parameter) for parameter in network.parameters()}
    assert any(id(parameter) in shared for parameter in model.parameters())


@pytest.mark.slow
def test_a_random_network_and_then_weights_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = ["--steps", "2", "--batch", "2", "--test-scenes", "2", "--seed", "1", "--macs", "0.3e6", "--out", str(tmp_path)]
    main([*small, "--epochs", "1"])
    assert "classifier: " in capsys.readouterr().out
    save_file(SPACE.network(random_network(SPACE, 0.3e6, 1)).state_dict(), tmp_path / "mine.safetensors")
    main([*small, "--weights", str(tmp_path / "mine.safetensors")])
    printed = capsys.readouterr().out
    assert "classifier: " not in printed and "in 2 test scenes" in printed
