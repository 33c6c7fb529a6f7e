"""The example of a published network: what it writes answers as timm's network does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny import stir

from examples.published_network import main


def test_its_files_answer_as_timms_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    timm: Any = pytest.importorskip("timm", reason="timm is an optional peer: install it to compare with its networks")
    theirs = timm.create_model("hardcorenas_a", pretrained=False).eval()
    stir(theirs, 0)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    main(["hardcorenas_a", "--weights", str(tmp_path / "theirs.safetensors"), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "5,260,232 parameters, 224,227,936 multiply-adds" in printed and "blocks a stage: 2, 2, 2, 2, 2" in printed
    spec = importlib.util.spec_from_file_location("written", tmp_path / "out" / "network.py")
    assert spec is not None and spec.loader is not None
    written: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(written)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = theirs(images), written.load(tmp_path / "out" / "network.safetensors")(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    with pytest.raises(SystemExit, match="no such file"):
        main(["hardcorenas_a", "--weights", str(tmp_path / "nowhere.safetensors"), "--out", str(tmp_path / "out")])
