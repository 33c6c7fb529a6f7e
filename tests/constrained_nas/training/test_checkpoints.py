"""Checkpoints: whole or not there, tensors and values exact, optimizers as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from constrained_nas.training import flatten_optimizer, load_checkpoint, restore_optimizer, save_checkpoint
from constrained_nas.training.checkpoints import load_training


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.safetensors"
    tensors = {
        "half": torch.randn(3, 2).half(),
        "double": torch.tensor([0.1, -0.0, torch.inf], dtype=torch.float64),
        "count": torch.tensor(7),
        "strided": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    values = {"epochs": 3, "losses": [0.1 + 0.2, 1e-300], "nested": {"name": "x", "none": None}}
    save_checkpoint(path, tensors, values)
    found, read = load_checkpoint(path)
    assert read == values
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert [entry.name for entry in path.parent.iterdir()] == ["state.safetensors"]


def test_a_module_in_two_places_is_kept_under_both_names(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 3)
    network = torch.nn.Sequential(layer, torch.nn.ReLU(), layer)
    save_checkpoint(tmp_path / "a", network.state_dict(), {})
    found = load_checkpoint(tmp_path / "a")[0]
    assert set(found) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, {"a": torch.zeros(100)}, {"epochs": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ValueError, match=r"state\.safetensors: cut off, or not a checkpoint of this library .*delete it to start over"
    ):
        load_checkpoint(path)


def test_other_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(ValueError, match="not a checkpoint of this library"):
        load_checkpoint(foreign)
    foreign.write_bytes(b"PK\x03\x04" + bytes(200))  # a zip, as torch.save writes
    with pytest.raises(ValueError, match="not a checkpoint of this library"):
        load_checkpoint(foreign)


def test_a_file_larger_than_any_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.safetensors").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(ValueError, match="at most 8,192 MiB are read"):
        load_checkpoint(tmp_path / "large.safetensors")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        load_checkpoint(tmp_path / "pipe")


def test_what_may_not_be_read_is_not_called_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"a": torch.zeros(1)}, {})
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("who may read everything is forbidden nothing")
    with pytest.raises(PermissionError, match=r"a\.safetensors"):
        load_checkpoint(path)


def test_content_that_fits_nowhere_is_of_another_training(tmp_path: Path) -> None:
    path, network = tmp_path / "c.safetensors", nn.Linear(2, 2)
    optimizer, options = torch.optim.SGD(network.parameters(), 0.1), {"epochs": 1}
    for tensors, values in (
        ({}, {}),
        ({"network.weight": torch.zeros(3)}, {}),
        ({f"network.{n}": t for n, t in network.state_dict().items()}, {}),
        ({f"network.{n}": t for n, t in network.state_dict().items()}, {"groups": 3, "epochs": 1}),
        ({f"network.{n}": t for n, t in network.state_dict().items()}, {"groups": optimizer.state_dict()["param_groups"]}),
    ):
        save_checkpoint(path, tensors, {"options": options, **values})
        with pytest.raises(ValueError, match=r"saved from another network .*delete it to start over"):
            load_training(network, optimizer, None, options, path, Fabric(accelerator="cpu", devices=1))


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True), lambda p: torch.optim.AdamW(p, 0.01)])
def test_optimizers_continue(tmp_path: Path, make: object) -> None:
    assert callable(make)
    torch.manual_seed(0)

    def fresh() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(1)
        layer = nn.Linear(3, 2)
        return layer, make(layer.parameters())

    def step(layer: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        layer(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()

    layer, optimizer = fresh()
    for _ in range(3):
        step(layer, optimizer)
    tensors, groups = flatten_optimizer(optimizer)
    save_checkpoint(tmp_path / "o", {**tensors, "weight": layer.weight, "bias": layer.bias}, {"groups": groups})
    read, values = load_checkpoint(tmp_path / "o")
    other, resumed = fresh()
    other.load_state_dict({"weight": read["weight"], "bias": read["bias"]})
    restore_optimizer(resumed, read, values["groups"])
    for _ in range(3):
        step(layer, optimizer)
        step(other, resumed)
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)
