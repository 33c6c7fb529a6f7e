"""The commands ``quantise`` and ``allocate``: bit widths of a network and the file that runs so; types of a language model."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.table import Table

from constrained_nas.budgets import read_amount, read_budgets
from constrained_nas.commands.console import PlainConsole, stoppable
from constrained_nas.commands.progress import progress_shown
from graphs.files import save_json, shortened
from graphs.folder_lock import owned

if TYPE_CHECKING:
    from torch import nn

    from constrained_nas.data import DataSplits
    from constrained_nas.quantization import QuantizationTask
    from constrained_nas.tables import BitTable
    from graphs import Operation

_COSTS = ("size", "bops")
_MOST = 1_000_000  # of everything that is counted


@dataclass(frozen=True)
class Quantise:
    """Give every layer of a network its own bit width, so that the whole fits a size, and write the file that runs so.

    For example: quantise resnet18 --weights mine.safetensors --data IMAGES --budget size=4MB --out runs/q

    It measures what each width does to each layer, chooses under all budgets at once (proven to be the best of the summed
    measurements), measures the chosen network whole beside uniform and greedy choices, and writes an ONNX file that is as small as
    the bits say. If it is interrupted, the same command goes on.
    """

    network: Annotated[str, tyro.conf.Positional]
    """resnet18 (any torchvision or timm classifier; timm:NAME where both have it), FILE.py:CALLABLE (your own code, which is run;
    given those of classes, channels and resolution that it takes, it returns a torch.nn.Module), or FILE.pt2 (a program of
    torch.export)."""
    out: Path = Path("runs/quantised")
    """Folder for the sensitivities, the plan and the files."""
    weights: Path | None = None
    """Safetensors file of its state dict; pretrained ones are read from such a file too, nothing is downloaded. Without it: what
    FILE.py or FILE.pt2 gives, and for names random weights, see --epochs."""
    data: str = "digits"
    """An image folder with train/ and val/, cifar10, cifar100, or the embedded digits."""
    data_root: Path = Path("data")
    """Where the CIFAR folders lie."""
    resolution: int = 32
    """Side of the images in pixels."""
    bits: str = "2,3,4,6,8"
    """Widths of weights to choose from, 2 to 16; 32 is floating point."""
    input_bits: str = "32"
    """Widths of the inputs of layers; every pair with --bits is measured."""
    budget: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """size=4MB (bytes of the file, all included), size=60% (of the largest choice), bops=2G (bit operations an image), or
    LOWER..UPPER; may be given several times, and all hold at once."""
    link: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """REGEX: layers whose whole name it matches with the same captures share their width, e.g. '(.*)[.]fc[12]'."""
    pin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """REGEX=BITS: layers whose whole name it matches have this width, e.g. 'classifier.*=8' or, with --input-bits, '...=8/8'."""
    measure: Literal["divergence", "loss", "logits", "second-order"] = "divergence"
    """What a layer's width is judged by: divergence of the predictions (no labels needed), cross-entropy added, squared distance of
    the outputs, or the divergence to second order (much faster; weights only)."""
    quantizer: Literal["least-squares", "paper"] = "least-squares"
    """Scales of least squared error a channel, or mean +- 3.45 sigma."""
    calibration: int = 128
    """Images to measure on, from the training folder."""
    held_out: int = 512
    """Test images to compare whole networks on."""
    front: int = 0
    """Also choose at so many sizes between the smallest and the largest."""
    fine_tune: int = 0
    """Epochs of training with the rounding in place, after the choice."""
    epochs: int = 0
    """Epochs of training before everything else, for a network without weights of its own."""
    learning_rate: float = 0.01
    """Of both trainings (SGD, cosine)."""
    batch: int = 64
    """Images at a time."""
    to: tuple[Literal["onnx", "packed"], ...] = ("onnx",)
    """onnx: for onnxruntime (extra onnx). packed: safetensors for torch, read by constrained_nas.quantization.load_packed. A budget
    on size counts the first."""
    integer_kernels: bool = False
    """Where inputs are rounded: let onnxruntime round biases too and compute in integers: faster, less like the network."""
    seed: int = 0
    """Of data, fresh weights and training."""


def quantise(command: Quantise) -> None:
    """Measure, choose, compare, write.

    Raises:
        ValueError: an option that cannot be, or nothing fits the budgets.
        OSError: a file cannot be read or written, or another process writes to the folder.
        ImportError: an extra is missing; names it.
    """
    budgets = read_budgets(command.budget, _COSTS)
    if not budgets:
        raise ValueError("--budget: expected at least one, for example size=4MB or size=25%")
    pairs = [(w, a) for w in _widths(command.bits, "--bits") for a in _widths(command.input_bits, "--input-bits")]
    for name in ("batch", "calibration", "held_out", "front", "fine_tune", "epochs", "seed"):
        least = int(name in ("batch", "calibration", "held_out"))
        if not least <= getattr(command, name) <= _MOST:
            raise ValueError(f"--{name.replace('_', '-')}: expected {least} to {_MOST:,}, got {getattr(command, name)}")
    if not 0 < command.learning_rate <= _MOST:
        raise ValueError(f"--learning-rate: expected a positive number up to {_MOST:,}, got {command.learning_rate}")
    if not command.to:
        raise ValueError("--to: expected onnx, packed or both")
    if "onnx" in command.to:
        from constrained_nas.export import require_onnx

        require_onnx()  # before minutes of measuring
    from graphs import Operation

    with owned(command.out):
        _quantise(command, budgets, [Operation(*pair) for pair in pairs])


def _quantise(command: Quantise, budgets: Mapping[str, Any], operations: list[Operation]) -> None:
    from lightning_fabric import Fabric

    from constrained_nas.data import load_splits
    from constrained_nas.quantization import (
        QuantizationRecord,
        agreement,
        bits_name,
        choose,
        described,
        fine_tune_quantized,
        fitting_data,
        front,
        measure_plan,
        others,
        prepare,
        rounded_network,
        sensitivities,
        table_of,
        write_files,
    )
    from constrained_nas.training import Checkpoint, TrainingOptions, fine_tune

    console = PlainConsole()
    data = load_splits(command.data, command.resolution, 0.2, command.seed, root=command.data_root)
    network = _network(command, data, console)
    fabric = Fabric(accelerator="cpu", devices=1)
    recipe: dict[str, Any] = {
        "batch_size": command.batch,
        "learning_rate": command.learning_rate,
        "mixup": 0.0,
        "seed": command.seed,
    }
    with progress_shown(PlainConsole(stderr=True)) as bars, stoppable(bars, "the same command goes on") as progress:
        if command.epochs:
            options = TrainingOptions(command.epochs, **recipe)
            made_by = {"network": command.network, "data": data.name, "resolution": command.resolution}
            kept = Checkpoint(command.out / "training.safetensors", made_by)
            fine_tune(network, fitting_data(data.weights, network), options, fabric, checkpoint=kept, progress=progress)
        task = _task(command, network, data, operations)
        prepare(task)
        table = table_of(task, sensitivities(task, command.out / "sensitivities.json", progress), command.pin)
        found = choose(table, budgets, command.link)
        plans = [measure_plan(task, table, "chosen", found.choices, found.budgets)]
        rivals = others(table, found)
        for number, (name, choices) in enumerate(rivals.items(), start=1):
            plans.append(measure_plan(task, table, name, choices, found.budgets))
            progress(number, len(rivals), "measuring choices")
        points = front(task, table, command.link, command.front, progress) if command.front else ()
        accuracy = float((task.logits[1].argmax(1) == task.held_out[1]).double().mean())
        tuned = None
        with rounded_network(task, found.choices) as rounding:
            if command.fine_tune:
                options = TrainingOptions(command.fine_tune, **recipe)
                fine_tune_quantized(task.network, rounding, fitting_data(data.weights, task.network), options, fabric, progress)
                tuned = described(task, table, "chosen, fine-tuned", found.choices, found.budgets)
            sizes, differences = write_files(task, rounding, command.to, command.out)
            agreeing = {name: agreement(task, command.out / name) for name in sizes if name.endswith(".onnx")}
    record = QuantizationRecord(
        network=command.network,
        measure=command.measure,
        quantizer=command.quantizer,
        accuracy=accuracy,
        selection=found,
        plans=tuple(plans),
        front=points,
        fine_tuned=tuned,
        files=sizes,
        differences=differences,
        agreeing=agreeing,
    )
    save_json(record, command.out / "plan.json")
    offered = ", ".join(bits_name(operation) for operation in task.operations)
    right = f"{accuracy:.1%} right of {len(task.held_out[1])} held-out images"
    console.print(f"{len(task.layers)} layers, bits {offered}; in floating point {right}")
    _print_plans(console, [*plans, *([tuned] if tuned else [])], "whole networks, measured on the held-out images")
    if points:
        _print_plans(console, points, "best choices at sizes in between")
    counted = plans[0].costs["size"]
    bound = "" if found.bound is None else f"; no choice within the budgets has a smaller sum than {found.bound + 0.0:.6g}"
    console.print(f"{found.status}{bound}")
    for name, size in sizes.items():
        told = f"; {agreeing[name]:.1%} of images get the same class" if name in agreeing else ""
        console.print(
            f"{command.out / name}: {size:,} bytes; outputs differ by {differences[name]:.1g} of the greatest at most{told}"
        )
    console.print(f"size as counted for {command.to[0]}: {counted:,.0f} bytes; the plan: {command.out / 'plan.json'}")


@dataclass(frozen=True)
class Allocate:
    """Choose a quantization type for every tensor of a language model, so that the summed loss is least at so many bits a weight.

    For example: allocate losses.csv --bits-per-weight 3.5 --link '(blk[.][0-9]+)[.]ffn_(?:up|gate).*' --to llama.cpp

    The choice is exact: it comes with a bound that says nothing of that size loses less. Needs neither torch nor the model.
    """

    table: Annotated[Path, tyro.conf.Positional]
    """CSV or JSON: tensor, type, loss, and weights or bytes; importances (imatrix) with --types; exllamav2's measurement.json."""
    bits_per_weight: tyro.conf.UseAppendAction[tuple[float, ...]] = ()
    """Budgets, one or several; the first is written to --out."""
    size: str | None = None
    """Instead: of all tensors together, such as 4.2GB."""
    at_least: float | None = None
    """Bits a weight from below, for a choice that must not be smaller."""
    types: str = ""
    """Types to choose from, with commas: q3_K,q4_K,q6_K."""
    link: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """REGEX: tensors whose whole name it matches with the same captures share their type."""
    pin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """REGEX=TYPE: tensors whose whole name it matches have this type, e.g. 'output.weight=q6_K'."""
    to: Literal["llama.cpp", "autoround", "json"] = "json"
    """llama.cpp: a file for llama-quantize --tensor-type-file. autoround: its layer_config. json: {tensor: type}."""
    out: Path | None = None
    """Where to write it."""


def allocate(command: Allocate) -> None:
    """Read, choose, compare, write.

    Raises:
        ValueError: a malformed table, or nothing fits.
        OSError: a file cannot be read or written.
    """
    from constrained_nas.selections import greedy_selection, linked, pinned, score_of, select, uniform_selections
    from constrained_nas.tables import BITS, read_bit_table, save_choice

    if not command.bits_per_weight and command.size is None:
        raise ValueError("expected --bits-per-weight or --size")
    read = read_bit_table(command.table, [each.strip() for each in command.types.split(",") if each.strip()])
    table = pinned(read.table, command.pin)
    links = linked(table.scores, command.link)
    count = _weights(read, bool(command.bits_per_weight) or command.at_least is not None)
    budgets = [(f"{each:g} bits a weight", each * count) for each in command.bits_per_weight]
    if command.size is not None:
        budgets.append((command.size, 8 * read_amount(command.size, "size")))
    floor = None if command.at_least is None else command.at_least * count
    console = PlainConsole()
    uniform = uniform_selections(table)
    for number, (name, limit) in enumerate(budgets):
        began = time.perf_counter()
        found = select(table, {BITS: (floor, limit)}, links=links, minimize=True, backend="numpy")
        seconds = time.perf_counter() - began
        shown = Table(title=f"{name}: {len(table.scores)} tensors, {seconds * 1e3:.1f} ms", title_justify="left")
        for column in ("choice", "loss", "GB", "bits a weight"):
            shown.add_column(column, justify="left" if column == "choice" else "right")
        greedy = greedy_selection(table, {BITS: limit}, links)
        rivals = {"chosen": found.choices} | ({} if greedy is None else {"greedy": greedy})
        rivals |= {f"uniform {option}": choices for option, choices in uniform.items()}
        for rival, choices in rivals.items():
            bits = math.fsum(table.costs[BITS][group][option] for group, option in choices.items())
            fits = "" if bits <= limit else " (does not fit)"
            each = "-" if math.isnan(count) else f"{bits / count:.3f}"
            shown.add_row(f"{rival}{fits}", f"{score_of(table, choices):.6g}", f"{bits / 8e9:.3f}", each)
        console.print(shown)
        bound = "no bound known" if found.bound is None else f"nothing that fits loses less than {found.bound:.9g}"
        console.print(f"{found.status}: {bound}")
        if number == 0 and command.out is not None:
            save_choice(found.choices, command.out, command.to)
            console.print(f"written to {command.out}")


def _network(command: Quantise, data: DataSplits, console: PlainConsole) -> nn.Module:
    from constrained_nas.quantization import load_weights_file, read_network

    offered = {"channels": data.image_channels, "resolution": data.resolution}
    network = read_network(command.network, data.classes, command.seed, **offered)
    if command.weights is not None:
        load_weights_file(network, command.weights)
    elif ".py:" not in command.network and not command.network.endswith(".pt2") and not command.epochs:
        console.print(f"{command.network} has random weights: give --weights, or --epochs to train it here")
    return network


def _task(command: Quantise, network: nn.Module, data: DataSplits, operations: list[Any]) -> QuantizationTask:
    from constrained_nas.quantization import QuantizationTask, first_images

    return QuantizationTask(
        network,
        first_images(data.architecture, command.calibration, network),
        first_images(data.test, command.held_out, network),
        operations,
        command.measure,
        command.quantizer,
        command.to[0],
        command.batch,
        f"{command.network} on {data.name}",
        command.integer_kernels,
    )


def _widths(text: str, flag: str) -> list[int]:
    try:
        widths = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{flag}: expected whole numbers with commas such as 2,3,4, got {text!r}") from error
    if any(width != 32 and not 2 <= width <= 16 for width in widths) or len(set(widths)) < len(widths):
        raise ValueError(f"{flag}: expected different numbers from 2 to 16, or 32 for floating point, got {text!r}")
    return widths


def _print_plans(console: PlainConsole, plans: Any, title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("choice", "predicted", "divergence", "right", "size", "bit operations", "fits"):
        table.add_column(column, justify="left" if column == "choice" else "right")
    for plan in plans:
        costs = f"{plan.costs['size']:,.0f}", f"{plan.costs['bops']:.4g}"
        table.add_row(
            shortened(plan.name, 40),
            f"{plan.predicted:.4g}",
            f"{plan.divergence:.4g}",
            f"{plan.accuracy:.1%}",
            *costs,
            "yes" if plan.fits else "no",
        )
    console.print(table)


def _weights(read: BitTable, needed: bool) -> float:
    count = read.total_weights
    if needed and math.isnan(count):
        raise ValueError("the table does not say how many weights tensors have: give --size instead of bits a weight")
    if count == 0:
        raise ValueError("the tensors of the table have no weights")
    return count
