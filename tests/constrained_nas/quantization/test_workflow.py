"""From a network to files: costs, sensitivities that go on, the best plan, and what the files hold and compute."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from constrained_nas.export import onnx_outputs
from constrained_nas.quantization import (
    QuantizationTask,
    Rounding,
    agreement,
    bits_name,
    choose,
    distance,
    find_layers,
    front,
    load_packed,
    measure_plan,
    measure_sensitivities,
    network_logits,
    others,
    prepare,
    rounded,
    rounded_network,
    save_packed,
    sensitivities,
    table_of,
    write_files,
)
from graphs import FLOAT, Operation

IMAGES = torch.randn((12, 3, 8, 8), generator=torch.Generator().manual_seed(1))
WEIGHTS = [Operation(bits, 32) for bits in (2, 3, 4, 8)]


class Small(nn.Module):
    """A convolution, a depthwise one with normalization and bias, attention, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.depthwise(self.stem(images).relu())).relu()
        tokens = features.flatten(2).transpose(1, 2)
        return self.head((tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]).mean(1))


def made(operations: list[Operation] = WEIGHTS, kind: str = "packed") -> QuantizationTask:
    torch.manual_seed(0)
    network = Small()
    with torch.no_grad():
        network.head.weight.mul_(6)
        for _ in range(20):
            network(IMAGES)
    labels = network.eval()(IMAGES).argmax(1)
    task = QuantizationTask(network, (IMAGES[:8], labels[:8]), (IMAGES[8:], labels[8:]), operations, fixed_by=kind)  # type: ignore[arg-type]
    prepare(task)
    return task


def test_every_layer_is_found_with_its_costs() -> None:
    task = made()
    found = {layer.name: (layer.positions, layer.weights, layer.reads_image) for layer in task.layers}
    assert found == {
        "stem": (16, 216, True),
        "depthwise": (16, 72, False),
        "attention.in_proj": (16, 192, False),
        "attention.out_proj": (16, 64, False),
        "head": (1, 40, False),
    }
    depthwise, pair = task.layers[1], Operation(4, 6)
    assert depthwise.bit_operations(pair) == pytest.approx(16 * 8 * 9 * (4 * 6 + 4 + 6 + math.log2(9)))
    assert [depthwise.weight_bytes(bits) for bits in (2, 3, 4, 32)] == [18 + 32, 27 + 32, 36 + 32, 288]
    bits = pair.weight_bits * 8 + pair.weight_bits + 8 + math.log2(27)  # the image has 8 bits
    assert task.layers[0].bit_operations(pair) == pytest.approx(16 * 8 * 27 * bits)
    with pytest.raises(ValueError, match="found none"):
        find_layers(nn.Flatten(), [IMAGES])
    tied = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match="0 and 1 share their weight"):
        find_layers(tied, [IMAGES])


def test_rounding_is_undone_and_bias_makes_up_for_the_mean() -> None:
    task = made()
    before = network_logits(task.network, IMAGES)
    exact, means = network_logits(task.network, IMAGES[:8]).mean(0), {}
    for correction in (False, True):  # of the head, which is what comes out
        with rounded(task.layers[4:], [Operation(2, 32)], bias_correction=correction):
            means[correction] = network_logits(task.network, IMAGES[:8]).mean(0)
            assert all(len(rows.unique()) <= 4 for rows in task.layers[4].module.weight)
    torch.testing.assert_close(means[True], exact, rtol=1e-4, atol=1e-5)
    assert (means[False] - exact).abs().max() > 1e-2
    depthwise = task.layers[1]  # each filter has the mean of its own channel
    by_hand = depthwise.module.weight.sum((1, 2, 3)) * depthwise.means
    torch.testing.assert_close(depthwise.mean_output(depthwise.module.weight).double(), by_hand.double(), rtol=1e-5, atol=1e-6)
    with rounded(task.layers, [Operation(8, 4)] * 5) as rounding:
        assert set(rounding.grids) == {"depthwise", "attention.in_proj", "attention.out_proj", "head"}  # the image keeps its bits
        moved = network_logits(task.network, IMAGES)
        with rounding.in_floats():
            assert torch.equal(network_logits(task.network, IMAGES), before)
        assert torch.equal(network_logits(task.network, IMAGES), moved) and not torch.equal(moved, before)
    assert torch.equal(network_logits(task.network, IMAGES), before)


@pytest.mark.parametrize("measure", ["divergence", "loss", "logits", "second-order"])
def test_sensitivities_fall_with_bits_and_go_on(measure: str, tmp_path: Path) -> None:
    task = made([*WEIGHTS, FLOAT])
    kept, reports = tmp_path / "kept.json", list[int]()
    options = {"measure": measure, "kept": kept, "measured_on": "this"}

    def stop(done: int, total: int, what: str) -> None:
        reports.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_sensitivities(task.network, task.layers, task.operations, *task.calibration, progress=stop, **options)  # type: ignore[arg-type]
    found = measure_sensitivities(
        task.network,
        task.layers,
        task.operations,
        *task.calibration,
        progress=lambda n, *_: reports.append(n),
        **options,  # type: ignore[arg-type]
    )
    assert reports == [1, 2, 3, 4, 5]
    whole = measure_sensitivities(task.network, task.layers, task.operations, *task.calibration, measure=measure)  # type: ignore[arg-type]
    assert whole.added == found.added
    for row in found.added.values():
        assert abs(row["32"]) < 1e-12 and (measure == "loss" or row["2"] > row["4"] > row["8"] > 0)
    with pytest.raises(ValueError, match="measured for another network"):
        measure_sensitivities(task.network, task.layers, task.operations, *task.calibration, kept=kept, measured_on="that")


def test_second_order_is_of_weights_alone() -> None:
    task = made([Operation(4, 4)])
    with pytest.raises(ValueError, match="second-order: of weights alone"):
        measure_sensitivities(task.network, task.layers, task.operations, *task.calibration, measure="second-order")
    with pytest.raises(ValueError, match="needs labels"):
        measure_sensitivities(task.network, task.layers, task.operations, task.calibration[0], measure="loss")


def test_distances() -> None:
    before, after, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    p, q = before.softmax(1), after.softmax(1)
    assert distance("divergence", before, after, None) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)
    assert distance("loss", before, after, labels) == pytest.approx(float((p[0, 0] / q[0, 0]).log()), rel=1e-5)
    assert distance("logits", before, after, None) == 0.5


def test_the_plan_fits_links_and_pins(tmp_path: Path) -> None:
    task = made()
    table = table_of(task, sensitivities(task, tmp_path / "s.json"), ["head=8"])
    found = choose(table, {"size": "90%"}, [r"(attention)[.].*"])
    assert found.choices["head"] == "8" and found.choices["attention.in_proj"] == found.choices["attention.out_proj"]
    assert found.status == "optimal" and found.budgets["size"].spent <= found.budgets["size"].limit
    rivals = others(table, found)
    assert list(rivals) == ["greedy", "uniform 2", "uniform 3", "uniform 4", "uniform 8"]
    before = network_logits(task.network, IMAGES)
    measured = measure_plan(task, table, "chosen", found.choices, found.budgets)
    assert measured.fits and measured.divergence > 0 and measured.predicted == pytest.approx(found.score)
    assert not measure_plan(task, table, "large", rivals["uniform 8"], found.budgets).fits
    for share, fits in ((0.995, False), (1.0, True), (1.005, True)):  # of what it takes
        limits = {"size": found.budgets["size"].model_copy(update={"limit": share * measured.costs["size"]})}
        assert measure_plan(task, table, "chosen", found.choices, limits).fits == fits
    assert torch.equal(network_logits(task.network, IMAGES), before), "the network is left as it was, statistics too"
    points = front(task, table, [], 3)
    sizes = [point.costs["size"] for point in points]
    assert sizes == sorted(sizes) and [p.predicted for p in points] == sorted((p.predicted for p in points), reverse=True)


@pytest.mark.parametrize("inputs", [32, 8])
def test_packed_files_hold_what_was_counted_and_compute_the_same(inputs: int, tmp_path: Path) -> None:
    operations = [Operation(bits, inputs) for bits in (2, 3, 4, 5, 6)]
    task = made(operations)
    table = table_of(task, sensitivities(task))
    choices = {layer.name: bits_name(operation) for layer, operation in zip(task.layers, operations, strict=True)}
    counted = sum(table.costs["size"][group][option] for group, option in (choices | {"everything else": "as it is"}).items())
    with rounded_network(task, choices) as rounding:
        expected = network_logits(task.network, IMAGES)
        path = save_packed(task.network, rounding, tmp_path / "n.safetensors")
        sizes, differences = write_files(task, rounding, ["packed"], tmp_path)
    assert path.stat().st_size == sizes["network.safetensors"] == pytest.approx(counted, rel=0.02)
    assert differences["network.safetensors"] == 0.0
    again = load_packed(path, Small())
    assert torch.equal(network_logits(again, IMAGES), expected)
    with pytest.raises(ValueError, match="not in this network"):
        load_packed(path, nn.Sequential(nn.Conv2d(3, 8, 3)))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a packed network"):
        load_packed(tmp_path / "bad.safetensors", Small())


def test_onnx_files_hold_what_was_counted_and_run(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    operations = [Operation(2, 32), Operation(3, 8), Operation(4, 32), Operation(8, 32), Operation(4, 4)]
    task = made(operations, "onnx")
    for layer in task.layers:
        if layer.module.bias is not None:
            torch.nn.init.normal_(layer.module.bias)
    table = table_of(task, sensitivities(task))
    choices = {layer.name: bits_name(operation) for layer, operation in zip(task.layers, operations, strict=True)}
    counted = sum(table.costs["size"][group][option] for group, option in (choices | {"everything else": "as it is"}).items())
    rounding = Rounding(task.layers, operations)
    sizes, differences = write_files(task, rounding, ["onnx"], tmp_path, tolerance=1e-3)
    assert (
        sizes["network.onnx"] <= counted <= 1.02 * sizes["network.onnx"] + 2000
    )  # functions of widths that this plan does not use
    assert differences["network.onnx"] < 1e-3
    model = onnx.load(str(tmp_path / "network.onnx"))
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert {onnx.TensorProto.INT4, onnx.TensorProto.INT8, onnx.TensorProto.UINT8} <= kinds
    assert {function.name for function in model.functions} == {"Unpack2", "Unpack3"}
    counts = {kind: sum(node.op_type == kind for node in model.graph.node) for kind in ("QuantizeLinear", "Clip")}
    assert counts == {"QuantizeLinear": 2, "Clip": 1}
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def test_rounded_inputs_differ_by_ties_alone(tmp_path: Path) -> None:
    """onnxruntime would round biases beside dequantized inputs, and many images would differ."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    torch.manual_seed(0)
    middle = [part for _ in range(3) for part in (nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())]
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), *middle, nn.Flatten(), nn.Linear(128, 5)).eval()
    images, bits = torch.randn(64, 3, 8, 8), [Operation(8, 8), Operation(8, 4), Operation(6, 8), Operation(8, 4), Operation(8, 8)]
    sets = (images, network(images).argmax(1))
    task = QuantizationTask(network, sets, sets, bits, fixed_by="onnx")
    prepare(task)
    rounding, far = Rounding(task.layers, bits), {}
    with torch.no_grad():
        ours = network(images)
    for kernels in (False, True):
        write_files(replace(task, integer_kernels=kernels), rounding, ["onnx"], tmp_path, tolerance=1.0)
        theirs = onnx_outputs(tmp_path / "network.onnx", [images])[0]
        far[kernels] = float(((ours - theirs).abs().amax(1) > 1e-5 * ours.abs().max()).double().mean())
    assert far[False] <= 0.05 < 0.2 <= far[True]
    write_files(task, rounding, ["onnx"], tmp_path)
    assert agreement(task, tmp_path / "network.onnx") == float(
        (onnx_outputs(tmp_path / "network.onnx", [images])[0].argmax(1) == ours.argmax(1)).double().mean()
    )


def test_equal_biases_are_counted_apart(tmp_path: Path) -> None:
    """An untrained network's biases are zeros, which the exporter writes once; corrected ones it writes each."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), *(part for _ in range(3) for part in (nn.Linear(192, 192), nn.ReLU()))).eval()
    for part in network:
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)
    sets = (IMAGES, torch.zeros(len(IMAGES), dtype=torch.int64))
    task = QuantizationTask(network, sets, sets, [Operation(4, 32)], fixed_by="onnx")
    prepare(task)
    table = table_of(task, sensitivities(task))
    counted = sum(next(iter(options.values())) for options in table.costs["size"].values())
    assert all(not part.bias.any() for part in network if isinstance(part, nn.Linear))
    sizes, _ = write_files(task, Rounding(task.layers, [Operation(4, 32)] * 3), ["onnx"], tmp_path)
    assert sizes["network.onnx"] <= counted <= 1.02 * sizes["network.onnx"]
