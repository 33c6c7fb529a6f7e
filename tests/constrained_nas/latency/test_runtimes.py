"""Runtimes run what torch runs, or say what is missing before anything is measured."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import pytest
import torch
from support.tiny import images, tiny_space
from torch import Tensor, nn

from constrained_nas.latency import ProfileSettings, Timer, profile_space, require_runtime, runtime_called, runtimes
from constrained_nas.latency.runtimes import prepare_run, runtime_title
from constrained_nas.latency.subjects import reference_architecture
from graphs.blocks import InvertedResidual

MISSING = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")
needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler"
)


def block() -> InvertedResidual:
    torch.manual_seed(0)
    return InvertedResidual(4, 8, 4, 3, reduced=8)


def inputs() -> Tensor:
    return torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(1))


def test_torch_runs_the_module_in_evaluation_mode() -> None:
    module = block().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.inference_mode():
        output = prepare_run(module, inputs(), "torch", Timer())()
        assert isinstance(output, Tensor)
        assert torch.equal(output, module(inputs().to(memory_format=torch.channels_last)))
    assert not module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@needs_onnx
def test_onnxruntime_runs_what_torch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    require_runtime("onnxruntime", "cpu")
    export, models = runtimes._onnx_bytes, []

    def spy(*arguments: Any) -> bytes:
        models.append(export(*arguments))
        return models[-1]

    monkeypatch.setattr(runtimes, "_onnx_bytes", spy)
    module = block()
    run = prepare_run(module, inputs(), "onnxruntime", Timer())  # compares with torch
    run()
    run()
    assert next(module.parameters()).requires_grad, "the module is the caller's"
    assert runtime_title("onnxruntime", Timer()).startswith("onnxruntime 1.")
    nn.init.normal_(module.project.conv.weight)  # type: ignore[arg-type]
    monkeypatch.setattr(runtimes, "_onnx_bytes", lambda *_: models[0])
    with pytest.raises(ValueError, match="onnxruntime gives a different output from torch"):
        prepare_run(module, inputs(), "onnxruntime", Timer())


@needs_compiler
@pytest.mark.slow
def test_compiled_modules_each_have_a_graph_of_their_own() -> None:
    """More modules of one class than torch.compile keeps for one function: none falls back, and all compute their own."""
    require_runtime("torch-compile", "cpu")
    with torch.inference_mode():
        for seed in range(12):
            torch.manual_seed(seed)
            module = InvertedResidual(4, 8, 4, 3).eval()
            output = prepare_run(module, inputs(), "torch-compile", Timer())()
            assert isinstance(output, Tensor)
            torch.testing.assert_close(output, module(inputs()), rtol=1e-4, atol=1e-4)  # fused float32


@needs_onnx
@pytest.mark.slow
def test_profiling_by_chains_for_real() -> None:
    space = tiny_space(expansions=(2,), squeeze_excite=(False,))
    table = profile_space(space, ProfileSettings("onnxruntime", Timer(clock="processor"), rounds=6, networks=6)).table
    assert table.context == "chain" and table.runtime.startswith("onnxruntime")
    assert [one.context for one in table.evidence] == ["chain", "isolated"]
    assert all(entry.median >= 0 for entry in table.entries)


def test_modules_that_cannot_be_taken() -> None:
    class Printing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._dynamo.graph_break()
            return x * float(x.sum())

    if not MISSING:
        with pytest.raises(ValueError, match="the module cannot be exported to ONNX: "):
            prepare_run(Printing(), images(1, tiny_space(), 0, torch.float32), "onnxruntime", Timer())
    with pytest.raises(ValueError, match=r"torch\.compile cannot take this module: "):
        prepare_run(Printing(), images(1, tiny_space(), 0, torch.float32), "torch-compile", Timer())


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="device cuda: torch sees no GPU on this machine"):
        require_runtime("torch", "cuda")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler on a CPU and finds none: install g\\+\\+"):
        require_runtime("torch-compile", "cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="onnxruntime needs onnx and onnxruntime and onnxscript: pip install"):
        require_runtime("onnxruntime", "cpu")
    with pytest.raises(ValueError, match="expected torch, cuda-graphs, torch-compile, onnxruntime, got 'tensorrt'"):
        require_runtime("tensorrt", "cpu")  # type: ignore[arg-type]
    require_runtime("torch", "cpu")


def test_titles_name_their_runtime() -> None:
    assert runtime_title("torch", Timer()) == "torch eager, channels last"
    assert runtime_title("torch", Timer(channels_last=False)) == "torch eager"
    assert runtime_called("torch eager, channels last") == "torch"
    assert runtime_called(runtime_title("torch-compile", Timer())) == "torch-compile"
    assert runtime_called("onnxruntime 1.20.0") == "onnxruntime"
    with pytest.raises(ValueError, match="runtime is 'TFLite': networks can be measured here in torch eager, "):
        runtime_called("TFLite")
    assert reference_architecture(tiny_space()).choice("stage1.block1") == 4
