"""The network of a finished run is read back as it was tested, and written for programs without this library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import run, settings

from constrained_nas.commands.cli import main
from constrained_nas.runs import load_network, load_run, plan_of, untrained
from constrained_nas.training import evaluate
from graphs.files import read_json, save_json

RUNS = {
    "hardcore-small": "params=60e3",
    "cnf-small": "params=12e3",
    "gpunet-small": "params=40e3",
    "resnet8-bits": "bops=30e6",
    "resnet8-widths": "macs=2e5",
}


@pytest.fixture(scope="module", params=RUNS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    run(folder, settings(request.param, RUNS[request.param]))
    return folder


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "export", *arguments])
    main()


def test_it_answers_as_it_did_when_it_was_tested(finished: Path) -> None:
    record, found = load_run(finished), load_network(finished)
    plan = plan_of(settings(next(n for n, b in RUNS.items() if (b,) == tuple(record.settings["budget"]))))
    prepared = untrained(plan, finished)
    assert 100 * evaluate(found.network, prepared.data.test, prepared.fabric) == record.found.accuracy
    assert found.record.choices or found.record.counts


def test_python_needs_torch_alone(finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = load_network(finished)
    command(monkeypatch, str(finished))
    folder = finished / "export"
    torch.save(found.images, folder / "images.pt")
    program = (
        "import json, sys, torch, network; m = network.load('network.safetensors').eval();"
        "torch.save(m(torch.load('images.pt')), 'outputs.pt');"
        "assert not {'constrained_nas', 'graphs', 'solvers'} & set(sys.modules);"
        "print(json.dumps(network.INPUT))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, timeout=300, capture_output=True, text=True)
    facts = json.loads(ran.stdout)
    assert (facts["classes"], facts["channels"], facts["resolution"]) == ([*"0123456789"], 1, found.images.shape[-1])
    assert (facts["mean"], facts["deviation"]) == ([0.2], [0.35])
    with torch.no_grad():
        torch.testing.assert_close(torch.load(folder / "outputs.pt"), found.network(found.images), rtol=1e-5, atol=1e-5)
    assert "the same outputs to the bit" in capsys.readouterr().out.replace("\n", " ")


def test_the_other_formats(finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not load_network(finished).record.space.startswith("hardcore"):
        with pytest.raises(SystemExit, match="use python or onnx"):
            command(monkeypatch, str(finished), "--to", "timm")
        return
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    command(monkeypatch, str(finished), "--to", "program", "onnx", "timm", "--out", str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"network.pt2", "network.onnx", "blocks.json"}
    strings = json.loads((tmp_path / "blocks.json").read_text())
    assert all(block.startswith(("ds_", "ir_", "cn_")) for stage in strings for block in stage)


def test_what_does_not_belong_together_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no search has ended there"):
        load_network(tmp_path)
    shutil.copytree(finished, tmp_path / "copy")
    path = tmp_path / "copy" / "network.safetensors"
    tensors = load_file(path)
    first = next(name for name in tensors if name.endswith("weight"))
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, path, metadata={"values": "{}"})
    with pytest.raises(ValueError, match=r"network\.safetensors: not as the run left it"):
        load_network(tmp_path / "copy")
    record = read_json(tmp_path / "copy" / "run.json", "record")
    del record["files"]["network.safetensors"]
    save_json(record, tmp_path / "copy" / "run.json")
    with pytest.raises(ValueError, match=r"holds other weights than architecture\.json asks for"):
        load_network(tmp_path / "copy")
