"""A found network for use elsewhere: a Python file with safetensors weights, a ``torch.export`` program, an ONNX file.

Every export is checked before it is handed over: the Python file is run and must give the very same numbers, the ONNX file is run
by onnxruntime and must agree with torch. Networks are exported in evaluation mode, on the CPU and in the plain memory layout; the
caller's is not changed.
"""

from __future__ import annotations

import copy
import importlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from constrained_nas.export.python_source import python_source
from constrained_nas.records import ArchitectureRecord
from constrained_nas.training import save_tensors
from graphs.costs import count
from graphs.files import out_of_memory, save_text, written_whole


@dataclass(frozen=True, slots=True)
class ExportedPython:
    """``source`` is a Python file with ``build()`` and ``load(weights)``; ``weights`` its safetensors file."""

    source: Path
    weights: Path


@dataclass(frozen=True, slots=True)
class ExportedOnnx:
    """The file, its operator set, and the greatest difference to torch as a share of the greatest output."""

    path: Path
    opset: int
    difference: float


def export_python(
    network: nn.Module,
    example: Tensor,
    directory: Path | str,
    name: str = "network",
    record: ArchitectureRecord | None = None,
    facts: Mapping[str, Any] | None = None,
) -> ExportedPython:
    """Write ``name.py`` and ``name.safetensors``, with which torch alone builds the network.

    Args:
        network: of plain modules, such as ``Supernet.extract`` gives.
        example: images (B, ...) to compare on.
        name: of the two files, an identifier.
        record: the architecture, for comments in the file.
        facts: what its images are, JSON-ready (class names, mean and deviation ...); the file has them as ``INPUT``.

    Raises:
        ValueError: a network that cannot be written, with the module's name, or that does not come out the same.
    """
    if not name.isidentifier():
        raise ValueError(f"name: expected a Python identifier, so that the file can be imported, got {name!r}")
    plain = _plain(network)
    images = example.detach().cpu().contiguous()
    folder = Path(directory)
    written = ExportedPython(folder / f"{name}.py", folder / f"{name}.safetensors")
    title = f"The network {name}." if record is None else f"A network of {record.space}, found by {record.method}."
    source = python_source(plain, title, written.weights.name, _facts(plain, images, record), facts)
    with written_whole(written.weights) as weights:
        save_tensors(plain.state_dict(), weights)
        namespace: dict[str, Any] = {"__name__": name}
        try:
            exec(compile(source, str(written.source), "exec"), namespace)  # our own text, and the check that it is what it says
            again = cast(Callable[[str], nn.Module], namespace["load"])(str(weights))
            with torch.no_grad():
                same = _same(again(images), plain(images))
        except Exception as error:  # whatever it is, the file would not run for the user either
            raise ValueError(f"the written network does not run: {_first_line(error)}") from error
        if not same:
            raise ValueError("the written network gives different outputs: does the forward use hooks, or attributes that change?")
    save_text(source, written.source)
    return written


def export_program(
    network: nn.Module,
    example: Tensor,
    path: Path | str,
    *,
    dynamic_batch: bool = True,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write a ``torch.export`` program (``.pt2``), for any batch size if ``dynamic_batch``.

    ``facts`` of its images (JSON-ready) go along as the extra file ``input.json``; ``torch.export.load`` fills it in:

        extra = {"input.json": ""}
        program = torch.export.load("network.pt2", extra_files=extra)

    Raises:
        ValueError: torch.export cannot take the network, or its program gives other outputs (beyond 1e-5 of the greatest).
    """
    plain = _plain(network)
    images = _traced_images(example, dynamic_batch)
    try:
        program = torch.export.export(plain, (images,), dynamic_shapes=_shapes(dynamic_batch))
    except Exception as error:  # the exporter raises many kinds
        if out_of_memory(error):
            raise
        raise ValueError(f"torch.export cannot take this network: {_first_line(error)}") from error
    with torch.no_grad():
        difference = _difference(program.module()(images), plain(images))
    if not difference <= 1e-5:  # the same kernels in another order of fusion: rounding of float32 at most
        raise ValueError(f"the exported program differs from the network by {difference:.2g} of its greatest output")
    target = Path(path)
    content = BytesIO()
    torch.export.save(program, content, extra_files={"input.json": json.dumps(dict(facts))} if facts else None)
    with written_whole(target) as partial:
        partial.write_bytes(content.getbuffer())
    return target


def export_onnx(
    network: nn.Module,
    example: Tensor,
    path: Path | str,
    *,
    dynamic_batch: bool = True,
    tolerance: float = 1e-4,
    facts: Mapping[str, Any] | None = None,
) -> ExportedOnnx:
    """Write an ONNX file and run it in onnxruntime against torch, at the example's batch and (if dynamic) at another.

    ``facts`` of its images (JSON-ready) become the file's metadata, each value as JSON: ``session.get_modelmeta()`` of onnxruntime
    gives them as ``custom_metadata_map``.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
        ValueError: a network that cannot be exported, or outputs that differ by more than ``tolerance``; the file is then removed.
    """
    plain = _plain(network)
    images = _traced_images(example, dynamic_batch)
    target = Path(path)
    model = exported_model(plain, images, dynamic_batch)
    for key, value in (facts or {}).items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    batches = [images, torch.cat([images, images.flip(0)])[: len(images) + 1]] if dynamic_batch else [images]
    with written_whole(target) as partial, torch.no_grad():
        partial.write_bytes(model.SerializeToString())
        difference = run_onnx(partial, batches, [plain(batch) for batch in batches], tolerance)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return ExportedOnnx(target, int(opset), difference)


def exported_model(network: nn.Module, example: Tensor, dynamic_batch: bool = True) -> Any:
    """An ONNX model (``ModelProto``) of a network in evaluation mode on the CPU, with normalization folded where that can be done.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
        ValueError: a network that cannot be exported.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        _required(package)
    images = _traced_images(example, dynamic_batch)
    options: dict[str, Any] = {"dynamo": True, "external_data": False, "verbose": False, "input_names": ["images"]}
    try:
        with warnings.catch_warnings():  # modules of programs say that they train, and cannot be told otherwise
            warnings.filterwarnings("ignore", "Exporting a model while it is in training mode")
            program = torch.onnx.export(
                network, (images,), None, dynamic_shapes=_shapes(dynamic_batch), output_names=["output"], **options
            )
    except Exception as error:  # the exporter raises many kinds
        if isinstance(error, OSError) or out_of_memory(error):  # these say more than the exporter
            raise
        raise ValueError(f"the network cannot be exported to ONNX: {_first_line(error)}") from error
    return cast(Any, program).model_proto


def run_onnx(path: Path, batches: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> float:
    """Run an ONNX file in onnxruntime; the greatest difference from the outputs expected, as a share of the greatest output.

    Raises:
        ImportError: onnxruntime is missing.
        ValueError: the runtime refuses the file, or the difference exceeds ``tolerance``.
    """
    difference = max(map(_difference, onnx_outputs(path, batches), expected))
    if not difference <= tolerance:
        raise ValueError(f"onnxruntime differs from torch by {difference:.2g} of the greatest output; allowed {tolerance:g}")
    return difference


def onnx_outputs(path: Path, batches: Sequence[Tensor]) -> list[Tensor]:
    """What onnxruntime makes of batches with an ONNX file, on one thread.

    Raises:
        ImportError: onnxruntime is missing.
        ValueError: the runtime refuses the file.
    """
    runtime: Any = _required("onnxruntime")
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 3
    session = runtime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return [torch.as_tensor(session.run(None, {"images": batch.numpy()})[0]) for batch in batches]


def _plain(network: nn.Module) -> nn.Module:
    """A copy as files hold it: CPU, evaluation mode, plain memory layout (the kernels for others round differently)."""
    plain = copy.deepcopy(network).cpu().eval()
    with torch.no_grad():
        for tensor in (*plain.parameters(), *plain.buffers()):
            # Kernels of one pixel or channel count as contiguous whatever their strides are, and rounding depends on these.
            tensor.data = tensor.data.reshape(-1).clone().view(tensor.shape)
    return plain


def _facts(network: nn.Module, images: Tensor, record: ArchitectureRecord | None) -> list[str]:
    counts = count(network, tuple(images.shape[1:]))
    shape = " x ".join(map(str, images.shape[1:]))
    facts = [f"Input: B x {shape}, {str(images.dtype).removeprefix('torch.')}."]
    facts += [f"{counts.parameters:,} parameters, {counts.macs:,} multiply-adds at that size."]
    if record is not None:
        facts += [f"  {b.cost}: {b.value:g} {b.unit} of {b.limit:g}{'' if b.fits else ' (does not fit)'}" for b in record.budgets]
        facts += [f"  {decision}: {option}" for decision, option in record.choices.items()]
    return facts


def _traced_images(example: Tensor, dynamic_batch: bool) -> Tensor:
    """A batch of one would be taken for a constant by the tracers."""
    images = example.detach().cpu().contiguous()
    return torch.cat([images, images]) if dynamic_batch and len(images) == 1 else images


def _shapes(dynamic_batch: bool) -> Any:
    return ({0: torch.export.Dim("batch")},) if dynamic_batch else None


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Tensor) and isinstance(theirs, Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if not (isinstance(ours, tuple | list) and isinstance(theirs, tuple | list)) or len(ours) != len(theirs):
        return False
    return all(map(_same, ours, theirs))


def _difference(ours: Any, theirs: Any) -> float:
    if not (isinstance(ours, Tensor) and isinstance(theirs, Tensor)) or ours.shape != theirs.shape:
        raise ValueError("expected a network with one output tensor, and the same shape from its export")
    return float((ours.double() - theirs.double()).abs().max()) / max(float(theirs.abs().max()), 1e-30)


def require_onnx() -> None:
    """Check that everything is there that writes ONNX and runs it.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _required(package)


def _required(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"ONNX export needs {package}: pip install 'constrained-nas[onnx]'") from error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
