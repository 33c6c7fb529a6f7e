"""Exports: the written files give the same numbers, without this library; what cannot be written is said by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import images, random_architecture, stir, tiny_space
from torch import Tensor, nn
from torch.nn import functional

from constrained_nas.export import export_onnx, export_program, export_python
from constrained_nas.export import formats as export
from constrained_nas.export.python_source import python_source
from constrained_nas.records import ArchitectureRecord, BudgetRecord
from graphs import hardcore_small, resnet_fabric, resnet_filters
from graphs.blocks import (
    ConvNormActivation,
    FusedInvertedResidual,
    InvertedResidual,
    PooledLinear,
    ResidualConvolution,
    with_stochastic_depth,
)


@torch.fx.wrap
def doubled(features: Tensor) -> Tensor:
    """A function of the user's that torch.fx does not look into: a file of torch alone cannot call it."""
    return 2 * features


class Gated(nn.Module):
    """A user's own module: parameters and buffers of its own, functions of torch, a list of layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)])
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, channels))
        self.register_buffer("shift", torch.arange(channels, dtype=torch.float32))
        self.norm = nn.GroupNorm(2, channels, affine=False)

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers:
            features = functional.gelu(layer(features)) + features
        gate = torch.sigmoid(features.mean(dim=(2, 3), keepdim=True))
        return self.norm(features * self.scale[:, None, None] - self.shift[:, None, None]) * gate


def small_network() -> tuple[nn.Module, Tensor]:
    space = tiny_space()
    torch.manual_seed(0)
    supernet = space.supernet()
    stir(supernet, 0)
    architecture = random_architecture(space.space, np.random.default_rng(2))
    return supernet.extract(architecture), images(3, space, 1, torch.float32)


def fabric_network() -> tuple[nn.Module, Tensor]:
    space = resnet_fabric(3)
    torch.manual_seed(1)
    supernet = space.supernet(disconnected="zeros")
    stir(supernet, 1)
    return supernet.extract(space.whole), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def own_network() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(2)
    parts = [nn.Conv2d(1, 4, 3, 2), Gated(4), nn.MaxPool2d(2), Gated(4), PooledLinear(4, 3)]
    return nn.Sequential(*parts), torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(3))


def block_network() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(3)
    blocks = nn.Sequential(
        ConvNormActivation(1, 8, 3, 2, activation="swish"),
        FusedInvertedResidual(8, 16, 8, 3, reduced=4),
        ResidualConvolution(8, 8, 3),
        InvertedResidual(8, 24, 8, 5, reduced=8, activation="relu"),
        PooledLinear(8, 5),
    )
    stir(blocks, 3)
    return with_stochastic_depth(blocks, 0.3), torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(4))


def traced_network() -> tuple[nn.Module, Tensor]:
    """What torch.fx makes of a network: its parts lie in plain modules under numbers."""
    network, batch = own_network()
    return torch.fx.symbolic_trace(network), batch


NETWORKS = {
    "traced": traced_network,
    "small": small_network,
    "fabric": fabric_network,
    "own": own_network,
    "blocks": block_network,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All networks exported, and run by a process that cannot import this library."""
    folder = tmp_path_factory.mktemp("exports")
    batches = {}
    for name, make in NETWORKS.items():
        network, batch = make()
        export_python(network, batch, folder, name)
        batches[name] = batch
    save_file(batches, folder / "batches.safetensors")
    program = f"""
import importlib, sys, torch
from safetensors.torch import load_file, save_file
for package in ("constrained_nas", "graphs", "solvers"):
    sys.modules[package] = None
torch.set_num_threads(1)
batches, outputs = load_file("batches.safetensors"), {{}}
for name in {list(NETWORKS)}:
    network = importlib.import_module(name).load(name + ".safetensors")
    with torch.no_grad():
        outputs[name] = network(batches[name])
save_file(outputs, "outputs.safetensors")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_gives_the_same_numbers_without_this_library(written: Path, name: str) -> None:
    network, batch = NETWORKS[name]()
    with torch.no_grad():
        assert torch.equal(load_file(written / "outputs.safetensors")[name], network.eval()(batch))
    assert set(load_file(written / f"{name}.safetensors")) == set(network.state_dict())


def test_the_file_is_readable(written: Path) -> None:
    lines = (written / "small.py").read_text().splitlines()
    assert any(line.strip().startswith('("stage1_block1", InvertedResidual(') for line in lines)
    dag = (written / "fabric.py").read_text()
    assert "group1_block1 = group1_block1.relu()" in dag
    assert 'group1_block1 = group1_block1 + modules["stem -> group1_block1 skip"](stem)' in dag
    own = (written / "own.py").read_text()
    assert own.count("class Gated(nn.Module)") == 1  # two modules, one text
    assert "nn.Conv2d(4, 4, 3, padding=1)" in own
    assert "= None" not in own.split("class Gated")[1].split("def build")[0].replace("-> None", "")


def test_training_goes_on_from_the_file(written: Path) -> None:
    """Stochastic depth is there in training: the blocks are the library's own, not a trace of their evaluation."""
    sys.path.insert(0, str(written))
    try:
        import blocks  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    network = blocks.load(str(written / "blocks.safetensors")).train()
    batch = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(0)
    first, second = network(batch), network(batch)
    assert not torch.equal(first, second)
    first.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_dtype_and_record_are_kept(tmp_path: Path) -> None:
    network, batch = own_network()
    budget = BudgetRecord(cost="latency", unit="ms", limit=3.0, value=2.5, fits=True)
    record = ArchitectureRecord(space="own", method="prunet", choices={"block": "gated"}, budgets=(budget,))
    out = export_python(network.double(), batch.double(), tmp_path, "doubled", record)
    assert load_file(out.weights)["0.weight"].dtype == torch.float64
    text = out.source.read_text()
    assert "#   latency: 2.5 ms of 3" in text.replace("# latency", "#   latency")
    assert "block: gated" in text
    assert text.startswith('"""A network of own, found by prunet.')
    assert network.training  # the caller's network is as it was


def test_a_network_from_training_in_another_memory_layout(tmp_path: Path) -> None:
    network, batch = small_network()
    network.to(memory_format=torch.channels_last)
    out = export_python(network, batch.to(memory_format=torch.channels_last), tmp_path, "trained")
    reference, _ = small_network()
    assert all(torch.equal(tensor, reference.state_dict()[name]) for name, tensor in load_file(out.weights).items())
    assert network[0].conv.weight.is_contiguous(memory_format=torch.channels_last)  # the caller's is as it was


def test_weights_from_the_file_lie_where_kernels_round_as_they_did(tmp_path: Path) -> None:
    network, batch = small_network()
    out = export_python(network, batch, tmp_path)
    assert any(tensor.data_ptr() % 64 for tensor in load_file(out.weights).values())  # as the file has them
    namespace: dict[str, Any] = {"__name__": "network"}
    exec(out.source.read_text(), namespace)
    tensors = namespace["load"](str(out.weights)).state_dict().values()
    assert all(tensor.data_ptr() % 64 == 0 for tensor in tensors)  # 64 bytes: torch's own alignment


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    batch = torch.randn(2, 4)

    class Branching(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return features if features.sum() > 0 else -features

    class Calling(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return doubled(features)

    with pytest.raises(ValueError, match=r"module '1' \(Branching\).*trace"):
        export_python(nn.Sequential(nn.Linear(4, 4), Branching()), batch, tmp_path)
    with pytest.raises(ValueError, match=r"calls '.*doubled', which is not torch's"):
        export_python(nn.Sequential(nn.Linear(4, 4), Calling()), batch, tmp_path)

    class Keeping(nn.Module):
        kept = torch.ones(4)

        def forward(self, features: Tensor) -> Tensor:
            return features + self.kept

    with pytest.raises(ValueError, match="make it a buffer"):
        export_python(Keeping(), batch, tmp_path)
    linear = nn.Linear(4, 4)
    with pytest.raises(ValueError, match=r"'0.weight' and '1.weight' are one tensor"):
        export_python(nn.Sequential(linear, linear), batch, tmp_path)
    odd = nn.Conv2d(4, 4, 1)
    odd.groups = 2
    with pytest.raises(ValueError, match=r"module '0'.*its own settings"):
        python_source(nn.Sequential(odd), "odd", "odd.safetensors")
    hooked = nn.Sequential(nn.Linear(4, 4))
    hooked[0].register_forward_hook(lambda module, inputs, output: output + 1)
    with pytest.raises(ValueError, match="hooks"):
        export_python(hooked, batch, tmp_path)
    with pytest.raises(ValueError, match="identifier"):
        export_python(nn.Linear(4, 4), batch, tmp_path, "my network")
    assert not list(tmp_path.glob("*.py"))


def test_rounded_networks_are_written_as_they_are_in_evaluation_mode(tmp_path: Path) -> None:
    filters = resnet_filters((4, 6, 8), 1, 5, 1, 8)  # in training its rounding has a gradient of its own, which is not written
    filters.configure(np.tile([1, 1, 1, 1], (len(filters.topology.layers), 1)))
    written = export_python(filters.eval().extract(), torch.randn(4, 1, 8, 8), tmp_path)  # raises where outputs differ
    assert "as in evaluation mode" in written.source.read_text().lower()


def test_a_block_whose_parts_were_exchanged_is_still_written_right(tmp_path: Path) -> None:
    block = ConvNormActivation(1, 4, 3)
    block.activation = nn.Tanh()
    block.norm.eps = 1e-3
    out = export_python(nn.Sequential(block), torch.randn(2, 1, 8, 8), tmp_path)
    text = out.source.read_text()
    assert "nn.Tanh()" in text
    assert "eps=0.001" in text
    assert "ConvNormActivation" not in text


def test_a_forward_that_differs_in_training_says_so(tmp_path: Path) -> None:
    class Dropping(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return functional.dropout(features, 0.5, self.training)

    out = export_python(Dropping(), torch.randn(2, 4), tmp_path)
    assert "As in evaluation mode" in out.source.read_text()


def test_torch_export(tmp_path: Path) -> None:
    network, batch = small_network()
    path = export_program(network, batch[:1], tmp_path / "network.pt2")
    program = torch.export.load(str(path)).module()
    with torch.no_grad():
        torch.testing.assert_close(program(batch), network.eval()(batch), rtol=1e-5, atol=1e-5)

    class Branching(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return features if features.sum() > 0 else -features

    with pytest.raises(ValueError, match=r"torch\.export cannot take"):
        export_program(Branching(), torch.randn(2, 3), tmp_path / "never.pt2")
    assert not (tmp_path / "never.pt2").exists()


def test_onnx_agrees_with_torch(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="the extra onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    network, batch = small_network()
    out = export_onnx(network, batch[:1], tmp_path / "network.onnx")
    assert out.difference <= 1e-4
    session = runtime.InferenceSession(str(out.path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": batch.numpy()})  # a batch of three from an example of one
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(found), network.eval()(batch), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="differs from torch"):
        export_onnx(network, batch, tmp_path / "strict.onnx", dynamic_batch=False, tolerance=-1.0)
    assert not (tmp_path / "strict.onnx").exists()


def test_missing_onnx_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(export.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"constrained-nas\[onnx\]"):
        export_onnx(nn.Linear(2, 2), torch.zeros(1, 2), tmp_path / "x.onnx")


def test_a_hardcore_network_is_written(tmp_path: Path) -> None:
    space = hardcore_small()
    torch.manual_seed(0)
    supernet = space.supernet()
    network = supernet.extract(random_architecture(space.space, np.random.default_rng(0)))
    out = export_python(network, torch.randn(1, 1, 32, 32), tmp_path, "found")
    assert out.source.read_text().count("InvertedResidual(") >= 6


def test_kernels_of_one_pixel_lose_the_strides_of_channels_last(tmp_path: Path) -> None:
    """Such weights count as contiguous as they are, and those read from a file have other strides: sums are rounded otherwise."""
    network = nn.Sequential(nn.Conv2d(3, 24, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, groups=24), nn.Conv2d(24, 5, 1)).eval()
    plain = export._plain(network.to(memory_format=torch.channels_last))
    for name, tensor in plain.state_dict().items():
        assert tensor.stride() == torch.empty(tensor.shape).stride(), name
    assert export_python(network, torch.randn(2, 3, 8, 8), tmp_path).source.exists()


def test_files_carry_what_their_images_are(tmp_path: Path) -> None:
    network, example = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()).eval(), torch.rand(2, 3, 8, 8)
    facts: dict[str, Any] = {
        "classes": ["cat's", "hund \u00e4", *map(str, range(200))],
        "resolution": 8,
        "mean": [0.485, 0.456, 0.406],
    }
    source = export_python(network, example, tmp_path, facts=facts).source
    space: dict[str, Any] = {"__name__": "network"}
    exec(compile(source.read_text(encoding="utf-8"), "network.py", "exec"), space)
    assert space["INPUT"] == facts
    export_program(network, example, tmp_path / "network.pt2", facts=facts)
    extra = {"input.json": ""}
    torch.export.load(tmp_path / "network.pt2", extra_files=extra)
    assert json.loads(extra["input.json"]) == facts
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    export_onnx(network, example, tmp_path / "network.onnx", facts=facts)
    session = runtime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    carried = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(carried[name]) for name in facts} == facts
