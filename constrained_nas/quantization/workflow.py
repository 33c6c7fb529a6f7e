"""From a network to one whose layers have bit widths within budgets: measured, chosen, measured again, written.

1. the layers that can be quantized and how much each minds each pair of bits (``sensitivities.json``, gone on with if interrupted);
2. one pair a layer: the least summed sensitivity within all budgets at once, proven, by ``solvers.project_to_budget``;
3. the chosen network whole, beside uniform and greedy choices, on images that no sensitivity was measured on;
4. if asked for: the front over budgets, and fine-tuning of the chosen network with its rounding;
5. files that are as small as the bits say, and a record (``plan.json``).

The budget ``size`` counts the bytes of the file, everything in it included; ``bops`` the bit operations of one image.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from constrained_nas.quantization.attention import with_projections
from constrained_nas.quantization.layers import QuantizableLayer, Rounding, find_layers, network_logits
from constrained_nas.quantization.packed_file import packed_content
from constrained_nas.quantization.quantizer import Quantizer
from constrained_nas.quantization.sensitivity import (
    Measure,
    Progress,
    Sensitivities,
    bits_name,
    distance,
    measure_sensitivities,
)
from constrained_nas.selections import (
    SelectionRecord,
    SelectionTable,
    costs_of,
    greedy_selection,
    linked,
    pinned,
    score_of,
    select,
    uniform_selections,
)
from constrained_nas.training import recalibrate
from graphs import Operation
from graphs.files import Record
from graphs.filters import FLOAT_BITS
from solvers import InfeasibleError

FileKind = Literal["onnx", "packed"]
REST = "everything else"  # the group of what is not decided: other tensors, and what describes the network
_KEPT = "as it is"
_COMPARED = 64  # images that a file is run on beside the network


@dataclass(frozen=True, slots=True, eq=False)
class QuantizationTask:
    """What is quantized, and on which images.

    Attributes:
        network: in evaluation mode; it is changed in place (attention is exchanged).
        calibration: images (B, C, H, W) and labels (B,) to measure sensitivities, ranges and statistics on.
        held_out: others, to set whole networks against each other.
        fixed_by: of the kinds of files, the one whose bytes ``size`` counts.
        integer_kernels: in ONNX, where inputs are rounded: let the runtime round biases too, so that it computes in integers.
        layers, logits: found by :func:`prepare`; the logits are those in floating point, of both sets of images in turn.
    """

    network: nn.Module
    calibration: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    operations: Sequence[Operation]
    measure: Measure = "divergence"
    quantizer: Quantizer = "least-squares"
    fixed_by: FileKind = "onnx"
    batch_size: int = 64
    identity: str = ""
    integer_kernels: bool = False
    layers: list[QuantizableLayer] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)


class PlanMeasured(Record):
    """A choice of bits: ``bits[layer]``, what was predicted, what the whole network then does, and what it costs."""

    name: str
    bits: dict[str, str]
    predicted: float
    divergence: float
    accuracy: float
    costs: dict[str, float]
    fits: bool


class QuantizationRecord(Record):
    """Everything that ``quantise`` found, but for the sensitivities: they have a file of their own."""

    kind: Literal["quantization"] = "quantization"
    schema_version: Literal[1] = 1
    network: str
    measure: str
    quantizer: str
    accuracy: float  # of the network in floating point
    selection: SelectionRecord
    plans: tuple[PlanMeasured, ...]
    front: tuple[PlanMeasured, ...] = ()
    fine_tuned: PlanMeasured | None = None
    files: dict[str, int] = Field(default_factory=dict)  # bytes by name
    agreeing: dict[str, float] = Field(default_factory=dict)  # share of held-out images that a file gives the network's class
    differences: dict[str, float] = Field(
        default_factory=dict
    )  # of the files' outputs from the simulated network's, as a share of the greatest


def prepare(task: QuantizationTask) -> None:
    """Exchange attention, find the layers, and keep what the network says in floating point.

    Raises:
        ValueError: nothing that can be quantized.
    """
    with_projections(task.network)
    task.layers.extend(find_layers(task.network, task.calibration[0].split(task.batch_size)))
    task.logits.extend(network_logits(task.network, images, task.batch_size) for images, _ in (task.calibration, task.held_out))


def sensitivities(task: QuantizationTask, kept: Path | None = None, progress: Progress | None = None) -> Sensitivities:
    """Measured, or read from ``kept`` as far as they were."""
    weights = hashlib.sha256(b"".join(layer.module.weight.detach().cpu().numpy().tobytes() for layer in task.layers))
    weights.update(task.calibration[0].numpy().tobytes())
    return measure_sensitivities(
        task.network,
        task.layers,
        task.operations,
        *task.calibration,
        measure=task.measure,
        quantizer=task.quantizer,
        batch_size=task.batch_size,
        kept=kept,
        measured_on=f"{task.identity}, {task.quantizer}, {weights.hexdigest()[:16]}",
        progress=progress,
    )


def table_of(task: QuantizationTask, found: Sensitivities, pins: Sequence[str] = ()) -> SelectionTable:
    """Scores (to be minimized) and costs of every layer and pair of bits, and of everything else."""
    fixed, layer_bytes = _bytes(task)
    scores = {layer.name: dict(found.added[layer.name]) for layer in task.layers} | {REST: {_KEPT: 0.0}}
    named = {bits_name(operation): operation for operation in task.operations}
    size = {each.name: {name: float(layer_bytes(each, bits)) for name, bits in named.items()} for each in task.layers}
    bops = {each.name: {name: each.bit_operations(bits) for name, bits in named.items()} for each in task.layers}
    costs = {"size": size | {REST: {_KEPT: float(fixed)}}, "bops": bops | {REST: {_KEPT: 0.0}}}
    return pinned(SelectionTable("sensitivities", scores, costs), pins)


def choose(table: SelectionTable, budgets: Mapping[str, Any], links: Sequence[str] = ()) -> SelectionRecord:
    """The least summed sensitivity within all budgets, proven.

    Raises:
        InfeasibleError: nothing fits; with the least cost there is.
    """
    names = [name for name in table.scores if name != REST]
    try:
        return select(table, budgets, links=linked(names, links), minimize=True, backend="numpy")
    except InfeasibleError as error:
        raise InfeasibleError(f"{error} (size: bytes of the file, with all in it that is not quantized)") from error


def others(table: SelectionTable, found: SelectionRecord) -> dict[str, dict[str, str]]:
    """The choices to set it against: greedy under the same budgets, and every uniform one."""
    limits = {name: budget.limit for name, budget in found.budgets.items() if budget.limit < float("inf")}
    greedy = greedy_selection(table, limits, found.links) if limits else None
    named = {f"uniform {option}": choices for option, choices in uniform_selections(table).items()}
    return ({} if greedy is None else {"greedy": greedy}) | named


def measure_plan(
    task: QuantizationTask, table: SelectionTable, name: str, choices: Mapping[str, str], limits: Mapping[str, Any]
) -> PlanMeasured:
    """Round the whole network so, recalibrate it, and see what it does on the images that were held out."""
    with rounded_network(task, choices):
        return described(task, table, name, choices, limits)


def described(
    task: QuantizationTask, table: SelectionTable, name: str, choices: Mapping[str, str], limits: Mapping[str, Any]
) -> PlanMeasured:
    """What the network, as it is, does on the held-out images beside what it did in floating point."""
    images, labels = task.held_out
    after = network_logits(task.network, images, task.batch_size)
    costs = costs_of(table, choices)
    return PlanMeasured(
        name=name,
        bits={layer: bits for layer, bits in choices.items() if layer != REST},
        predicted=score_of(table, choices),
        divergence=distance("divergence", task.logits[1], after, labels),
        accuracy=float((after.argmax(1) == labels).double().mean()),
        costs=costs,
        fits=all(costs[cost] <= budget.limit and costs[cost] >= (budget.floor or 0.0) for cost, budget in limits.items()),
    )


@contextmanager
def rounded_network(task: QuantizationTask, choices: Mapping[str, str]) -> Iterator[Rounding]:
    """Inside the block the network is rounded and its batch statistics are recalibrated, where that brings it nearer to itself."""
    named = {bits_name(operation): operation for operation in task.operations}
    images, before = task.calibration[0], task.logits[0]
    norms = {
        name: module
        for name, module in task.network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    kept = {name: copy.deepcopy(norm.state_dict()) for name, norm in norms.items()}
    rounding = Rounding(task.layers, [named[choices[layer.name]] for layer in task.layers], quantizer=task.quantizer)
    try:
        if norms:
            moved = distance("divergence", before, network_logits(task.network, images, task.batch_size), None)
            with torch.no_grad():
                recalibrate(task.network, lambda: (partial(task.network, part) for part in images.split(task.batch_size)))
            if not distance("divergence", before, network_logits(task.network, images, task.batch_size), None) < moved:
                for name, norm in norms.items():
                    norm.load_state_dict(kept[name])
        yield rounding
    finally:
        rounding.undo()
        for name, norm in norms.items():
            norm.load_state_dict(kept[name])


def front(
    task: QuantizationTask, table: SelectionTable, links: Sequence[str], points: int, progress: Progress | None = None
) -> tuple[PlanMeasured, ...]:
    """The best choices at ``points`` sizes, evenly from the smallest there is to the largest, each measured whole."""
    least, most = (sum(pick(options.values()) for options in table.costs["size"].values()) for pick in (min, max))
    found = []
    for number in range(points):
        limit = least + (most - least) * (number + 1) / points
        try:
            selection = choose(table, {"size": limit}, links)
        except InfeasibleError:  # links may keep the smallest out
            continue
        found.append(measure_plan(task, table, f"{limit:,.0f} bytes", selection.choices, {}))
        if progress:
            progress(number + 1, points, "front")
    return tuple(found)


def write_files(
    task: QuantizationTask, rounding: Rounding, kinds: Sequence[FileKind], folder: Path, tolerance: float | None = None
) -> tuple[dict[str, int], dict[str, float]]:
    """Write the network as it is rounded; the files' bytes, and how far their outputs are from the network's.

    Where inputs are rounded too, a value that lies between two levels may fall to either side: more is allowed then, see
    :func:`agreement`.
    """
    from constrained_nas.quantization.packed_file import load_packed, save_packed

    sizes, differences = {}, {}
    example = task.held_out[0][: min(8, len(task.held_out[0]))]
    for kind in dict.fromkeys(kinds):
        if kind == "packed":
            path = save_packed(task.network, rounding, folder / "network.safetensors")
            with rounding.in_floats():
                again = copy.deepcopy(task.network)
            with torch.no_grad():
                expected, got = task.network(example), load_packed(path, again)(example)
            differences[path.name] = float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
        else:
            from constrained_nas.quantization.onnx_file import OnnxTemplate

            rounding.inputs_in_floats()
            template = OnnxTemplate(task.network, task.layers, example, task.integer_kernels)
            rounding.round_inputs()
            allowed = tolerance if tolerance is not None else (0.1 if rounding.grids else 1e-3)
            file = template.write(rounding, task.network, example, folder / "network.onnx", allowed)
            path, differences["network.onnx"] = file.path, file.difference
        sizes[path.name] = path.stat().st_size
    return sizes, differences


def agreement(task: QuantizationTask, path: Path) -> float:
    """The share of held-out images (at most 64) to which an ONNX file gives the class that the network, as it is, gives them."""
    from constrained_nas.export import onnx_outputs

    images = task.held_out[0][:_COMPARED].split(task.batch_size)
    with torch.no_grad():
        ours = torch.cat([task.network(batch).argmax(1) for batch in images])
    theirs = torch.cat([output.argmax(1) for output in onnx_outputs(path, images)])
    return float((ours == theirs).double().mean())


def _bytes(task: QuantizationTask) -> tuple[int, Callable[[QuantizableLayer, Operation], int]]:
    """The file's bytes besides the layers', and a layer's at given bits."""
    if task.fixed_by == "onnx":
        from constrained_nas.quantization.onnx_file import OnnxTemplate

        kept = [(layer.module, layer.module.bias) for layer in task.layers]
        try:
            for number, (module, bias) in enumerate(kept):
                if bias is not None:  # the exporter writes equal biases once, and corrected ones differ
                    module.bias = nn.Parameter(torch.arange(1.0, 1.0 + len(bias)).to(bias) + number, bias.requires_grad)
            template = OnnxTemplate(task.network, task.layers, task.calibration[0][:2], task.integer_kernels)
        finally:
            for module, bias in kept:
                module.bias = bias
        return template.fixed_bytes(operation.weight_bits for operation in task.operations), template.layer_bytes
    least = [operation for operation in task.operations if operation.weight_bits != FLOAT_BITS]
    tried = Rounding(
        task.layers, [(least or list(task.operations))[0]] * len(task.layers), quantizer="paper", bias_correction=False
    )
    try:
        whole = len(packed_content(task.network, tried.weights, tried.grids))
    finally:
        tried.undo()
    return whole - sum(_packed_bytes(*pair) for pair in zip(tried.layers, tried.operations, strict=True)), _packed_bytes


def _packed_bytes(layer: QuantizableLayer, operation: Operation) -> int:
    return layer.weight_bytes(operation.weight_bits)
