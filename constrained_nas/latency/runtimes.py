"""Runtimes that latencies are measured in: torch as it is, as a CUDA graph, ``torch.compile``, and onnxruntime.

A module is prepared once for fixed images and comes back as a function without arguments that runs it: compiled or exported before
the clock starts, inputs where the runtime wants them. A runtime that this machine lacks is an error that says what to install,
before anything is measured.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import logging
import shutil
import types
import warnings
from collections.abc import Callable
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from constrained_nas.latency.names import RuntimeName
from constrained_nas.latency.timer import Timer

Run = Callable[[], object]
SAME = 1e-3  # of the greatest output: kernels in another order, TF32 on a GPU; a wrong network differs by its whole output
SAME_HALF = 2e-2  # the same in float16, whose numbers have eleven bits
_TITLES: dict[RuntimeName, str] = {
    "torch": "torch eager",
    "cuda-graphs": "CUDA graphs",
    "torch-compile": "torch.compile",
    "onnxruntime": "onnxruntime",
}


def runtime_title(runtime: RuntimeName, timer: Timer) -> str:
    """The runtime as tables state it, with its version where it is not torch's, and with the layout of images."""
    if runtime == "onnxruntime":
        onnxruntime = importlib.import_module("onnxruntime")
        return f"onnxruntime {onnxruntime.__version__}"
    return _TITLES[runtime] + (", channels last" if timer.channels_last else "")


def runtime_called(title: str) -> RuntimeName:
    """The runtime that a table's ``runtime`` names.

    Raises:
        ValueError: it is none of those that can be run here.
    """
    for name, start in _TITLES.items():
        if title.startswith(start):
            return name
    raise ValueError(f"the table's runtime is {title!r}: networks can be measured here in {', '.join(_TITLES.values())}")


def require_runtime(runtime: RuntimeName, device: str) -> None:
    """Check that networks can run in this runtime on this device.

    Raises:
        ValueError: no such runtime, no such device, or a part of the runtime that is not installed; says which and how to get it.
    """
    if runtime not in get_args(RuntimeName):
        raise ValueError(f"runtime: expected {', '.join(get_args(RuntimeName))}, got {runtime!r}")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: torch sees no GPU on this machine; use cpu")
    if runtime == "cuda-graphs" and device == "cpu":
        raise ValueError("CUDA graphs need a GPU: give its device, or use --runtime torch")
    if runtime == "torch-compile" and device == "cpu" and not _compiler():
        raise ValueError(
            "torch.compile needs a C++ compiler on a CPU and finds none: install g++ or clang++, or use --runtime torch"
        )
    if runtime == "onnxruntime":
        missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(f"onnxruntime needs {' and '.join(missing)}: pip install 'constrained-nas[onnx]'")
        onnxruntime = importlib.import_module("onnxruntime")
        if device != "cpu" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ValueError(f"device {device}: this onnxruntime has no CUDA provider: pip install onnxruntime-gpu, or use cpu")


def prepare_run(module: nn.Module, images: Tensor, runtime: RuntimeName, timer: Timer) -> Run:
    """A function that runs the module on these images; the first calls may still allocate.

    Args:
        module, images: put in evaluation mode, on the timer's device and in its memory format.

    Raises:
        ValueError: the runtime cannot take the module, or computes something else than torch.
    """
    placed, inputs = timer.place(module), timer.placed(images)
    if runtime == "torch":
        return lambda: placed(inputs)
    with timer.threads_set(), torch.inference_mode():
        if runtime == "cuda-graphs":
            return _graph(placed, inputs)
        return _compiled(placed, inputs) if runtime == "torch-compile" else _session(placed, inputs, timer)


def _graph(module: nn.Module, images: Tensor) -> Run:
    """A replay of the module's kernels, recorded once: nothing is launched one by one, as in a deployed engine."""
    stream, graph = torch.cuda.Stream(images.device), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream(images.device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # kernels are chosen and memory is taken before the recording
            expected = module(images)
    torch.cuda.current_stream(images.device).wait_stream(stream)
    with torch.cuda.graph(graph):
        output = module(images)
    graph.replay()
    _require_same(output, expected, "the CUDA graph")

    def replay() -> object:
        graph.replay()
        return output  # which the graph writes to: it has to stay

    return replay


def _compiled(module: nn.Module, images: Tensor) -> Run:
    """The compiled module, compiled now.

    ``torch.compile`` keeps what it compiled with the code of the function, tries entry after entry at each call, and gives up
    beyond a few: every module is wrapped in a function whose code is its own. ``fullgraph`` makes giving up an error.
    """

    def call(inputs: Tensor) -> Any:
        return module(inputs)

    own = types.FunctionType(call.__code__.replace(), call.__globals__, "call", None, call.__closure__)
    compiled = cast(Callable[[Tensor], Any], torch.compile(own, fullgraph=True, dynamic=False))
    try:
        output = compiled(images)
    except Exception as error:  # the compiler raises many kinds
        raise ValueError(f"torch.compile cannot take this module: {_first_line(error)}") from error
    _require_same(output, module(images), "torch.compile")
    return lambda: compiled(images)


def _session(module: nn.Module, images: Tensor, timer: Timer) -> Run:
    """A session of onnxruntime with inputs and outputs bound on its device."""
    onnxruntime = importlib.import_module("onnxruntime")
    model = _onnx_bytes(module, images)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads, settings.log_severity_level = timer.threads, 1, 3
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads of other sessions must not spin
    kind, _, index = timer.device.partition(":")
    number = int(index or 0)
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
        if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("TensorrtExecutionProvider", {"device_id": number, "trt_fp16_enable": timer.half}))
    session = onnxruntime.InferenceSession(model, settings, providers=providers)
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(images.contiguous().cpu().numpy(), kind, number)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    binding.bind_output(session.get_outputs()[0].name, kind, number)
    session.run_with_iobinding(binding)
    output = torch.as_tensor(binding.copy_outputs_to_cpu()[0])
    _require_same(output, module(images), "onnxruntime")
    return lambda: session.run_with_iobinding(binding)


def _onnx_bytes(module: nn.Module, images: Tensor) -> bytes:
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # one note a network about operators nobody asked for
    try:
        # A copy made in inference mode would keep parameters that torch.export may not touch.
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            plain = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format)  # others become permutations
            program = torch.onnx.export(plain, (images.cpu().contiguous().clone(),), dynamo=True, verbose=False)
    except Exception as error:  # the exporter raises many kinds
        raise ValueError(f"the module cannot be exported to ONNX: {_first_line(error)}") from error
    finally:
        exporter.setLevel(level)
    if program is None:
        raise ValueError("the module cannot be exported to ONNX: the exporter returned nothing")
    return cast(bytes, program.model_proto.SerializeToString())


def _require_same(output: Tensor, expected: Tensor, runtime: str) -> None:
    """What is timed must compute what torch computes."""
    allowed = SAME_HALF if expected.dtype == torch.float16 else SAME
    found, wanted = output.cpu().float(), expected.cpu().float()
    difference = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))
    if not difference <= allowed:
        raise ValueError(f"{runtime} gives a different output from torch: {difference:.2g} of the greatest, allowed {allowed:g}")


def _compiler() -> str | None:
    return next((found for name in ("g++", "clang++", "c++", "cl") if (found := shutil.which(name))), None)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
