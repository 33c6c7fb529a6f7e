"""Networks by name, from a file of one's own and from programs; the command from end to end."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from constrained_nas.commands.bits import Quantise, quantise
from constrained_nas.quantization import find_layers, load_packed, load_weights_file, read_network
from graphs import hardcore_network
from graphs.folder_lock import owned

OWN = """
from torch import nn

def build():
    body = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10))

number = 3

def text():
    return "no network"
"""


def own_file(folder: Path) -> Path:
    path = folder / "mynet.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_sources_of_networks(tmp_path: Path) -> None:
    own = own_file(tmp_path)
    built = read_network(f"{own}:build", 10, seed=3)
    again = read_network(f"{own}:build", 10, seed=3, channels=3, resolution=16)  # it takes none of them
    assert not built.training and all(torch.equal(a, b) for a, b in zip(built.parameters(), again.parameters(), strict=True))
    assert read_network("squeezenet1_1", 7)(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    for source, kind, said in (
        (f"{own}:text", ValueError, "expected a callable that returns a torch.nn.Module, got str"),
        (f"{own}:number", ValueError, "has no callable 'number'"),
        (f"{tmp_path}/none.py:build", FileNotFoundError, "no such file"),
        (f"{tmp_path}/none.pt2", FileNotFoundError, "no such file"),
        ("resnet1", ValueError, "resnet1"),
    ):
        with pytest.raises(kind, match=said):
            read_network(source, 10)


def test_programs_get_their_layers_back(tmp_path: Path) -> None:
    own = read_network(f"{own_file(tmp_path)}:build", 10)
    images = torch.randn(4, 3, 16, 16)
    program = torch.export.export(own, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "model.pt2")
    (tmp_path / "model.pt2").rename(tmp_path / "model.zip")  # what is in a file decides
    found = read_network(f"{tmp_path}/model.zip", 10)
    with torch.no_grad():
        assert torch.equal(found(images[:2]), own(images[:2]))
        layers = find_layers(found, [images])
    assert [type(layer.module) for layer in layers] == [nn.Conv2d, nn.Conv2d, nn.Linear]
    assert [layer.weights for layer in layers] == [216, 1152, 640]
    (tmp_path / "bad.pt2").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"no program of torch\.export"):
        read_network(f"{tmp_path}/bad.pt2", 10)


def test_weights_come_from_safetensors_alone(tmp_path: Path) -> None:
    own = own_file(tmp_path)
    first, second = (read_network(f"{own}:build", 10, seed) for seed in (0, 1))
    save_file(first.state_dict(), tmp_path / "w.safetensors")
    load_weights_file(second, tmp_path / "w.safetensors")
    assert torch.equal(first[0].weight, second[0].weight)  # type: ignore[index]
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.safetensors").read_bytes())  # what is in a file decides
    third = read_network(f"{own}:build", 10, 2)
    load_weights_file(third, tmp_path / "w.bin")
    assert torch.equal(first[0].weight, third[0].weight)  # type: ignore[index]
    for name, zipped in (("w.pth", True), ("pickled.safetensors", False)):
        torch.save(first.state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match="pickled weights are not read here; convert them"):
            load_weights_file(second, tmp_path / name)
    with pytest.raises(ValueError, match="does not fit the network"):
        load_weights_file(nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_weights_file(second, tmp_path / "none.safetensors")


def test_published_weights_of_timm_are_quantized_by_its_name(tmp_path: Path) -> None:
    timm: Any = pytest.importorskip("timm", reason="timm is an optional peer: install it to read its networks")
    theirs = timm.create_model("hardcorenas_a", pretrained=False).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    found = read_network("hardcorenas_a", 1000, seed=1)
    load_weights_file(found, tmp_path / "w.safetensors")
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(found(images), theirs(images))
        assert torch.allclose(hardcore_network("A", tmp_path / "w.safetensors")(images), theirs(images), rtol=1e-5, atol=1e-6)


def test_the_command_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = own_file(tmp_path)
    command = Quantise(
        f"{own}:build",
        tmp_path / "q",
        bits="2,4,8",
        budget=("size=80%",),
        pin=("7=8",),
        measure="second-order",
        calibration=16,
        held_out=32,
        epochs=1,
        fine_tune=1,
        to=("packed",),
    )
    quantise(command)
    shown = capsys.readouterr().out
    record = json.loads((tmp_path / "q" / "plan.json").read_text(encoding="utf-8"))
    assert [plan["name"] for plan in record["plans"]] == ["chosen", "greedy", "uniform 2", "uniform 4", "uniform 8"]
    assert record["plans"][0]["bits"]["7"] == "8" and record["plans"][0]["fits"] and record["fine_tuned"]["fits"]
    size = (tmp_path / "q" / "network.safetensors").stat().st_size
    assert record["files"] == {"network.safetensors": size} and size == pytest.approx(record["plans"][0]["costs"]["size"], rel=0.02)
    assert "optimal" in shown and f"{size:,} bytes" in shown
    weights = (tmp_path / "q" / "training.safetensors").read_bytes()
    quantise(command)  # goes on from what is there: neither training nor measuring is done again
    assert (tmp_path / "q" / "training.safetensors").read_bytes() == weights
    again = json.loads((tmp_path / "q" / "plan.json").read_text(encoding="utf-8"))
    assert again["selection"]["choices"] == record["selection"]["choices"] and again["plans"] == record["plans"]
    load_packed(tmp_path / "q" / "network.safetensors", read_network(f"{own}:build", 10))
    with pytest.raises(ValueError, match="measured for another network"):  # untrained weights
        quantise(Quantise(f"{own}:build", tmp_path / "q", budget=("size=80%",), calibration=16, held_out=8, to=("packed",)))
    with owned(tmp_path / "q"), pytest.raises(BlockingIOError, match="in use by process"):
        quantise(command)
    for wrong in ({"batch": 0}, {"held_out": 0}, {"seed": -1}, {"front": 10**9}, {"learning_rate": float("nan")}):
        with pytest.raises(ValueError, match=r"--[a-z-]+: expected .*, got "):
            quantise(Quantise("resnet18", tmp_path / "r", budget=("size=1MB",), **wrong))  # type: ignore[arg-type]
    for options, said in (({"budget": ()}, "expected at least one"), ({"bits": "1,4"}, "--bits: expected different numbers")):
        with pytest.raises(ValueError, match=said):
            quantise(Quantise("resnet18", tmp_path / "r", **({"budget": ("size=1MB",)} | options)))  # type: ignore[arg-type]


class Evil:
    """Pickled, it makes a folder where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_what_torch_would_unpickle_in_a_program_is_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """torch's own loader runs what is put in the place of a program's example inputs."""
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "good.pt2")
    evil = io.BytesIO()
    torch.save(Evil(tmp_path / "made"), evil)
    replaced = list[str]()
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as file:
        for entry in good.infolist():
            replaced += [entry.filename] if "sample_inputs" in entry.filename else []
            file.writestr(entry.filename, evil.getvalue() if entry.filename in replaced else good.read(entry))
    assert replaced
    with pytest.raises(ValueError, match=r"no program of torch\.export"):
        read_network(str(tmp_path / "evil.pt2"), 10)
    assert not (tmp_path / "made").exists() and "Traceback" not in capfd.readouterr().err
    assert isinstance(read_network(str(tmp_path / "good.pt2"), 10), nn.Module)
