"""Training: losses fall, a killed run ends bit for bit where an unbroken one does, and what is wrong is said."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from support.tiny import random_architecture, striped_data, tiny_space
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from constrained_nas.data import IGNORED, loader
from constrained_nas.training import (
    Checkpoint,
    TrainingOptions,
    evaluate,
    fine_tune,
    heaviest_file,
    load_weights,
    path_a_batch,
    recalibrate,
    row_losses,
    train_supernet,
    uniform_rows,
)
from graphs import Architecture, GPUNetSpace, Supernet, gpunet_small

FABRIC = Fabric(accelerator="cpu", devices=1)
SHORT = TrainingOptions(epochs=2, batch_size=16, learning_rate=0.05, mixup=0.0, seed=3)


class KilledError(Exception):
    """What a test raises in the middle of a run."""


def fresh(dropout: float = 0.0) -> tuple[Supernet, dict[str, Tensor]]:
    space = tiny_space(dropout=dropout)
    torch.manual_seed(0)
    net = space.supernet()
    return net, net.gates(space.space.choose({d.name: d.options[-1] for d in space.space.decisions}))


def loss_of(network: Any, data: TensorDataset) -> float:
    images, labels = data.tensors
    with torch.no_grad():
        return float(functional.cross_entropy(network(images), labels))


def same_state(one: nn.Module, two: nn.Module) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_supernet_learns() -> None:
    net, heaviest = fresh()
    data = striped_data(128, 0)
    many = uniform_rows(net, 128, torch.Generator().manual_seed(0))

    def losses() -> list[float]:
        return [loss_of(lambda x: net(x, heaviest), data), loss_of(lambda x: net(x, many), data)]

    net.eval()
    before = losses()
    calls: list[tuple[int, int, str]] = []
    options = replace(SHORT, epochs=6)
    train_supernet(net, heaviest, data, options, options, FABRIC, progress=lambda *call: calls.append(call))
    assert not net.training
    after = losses()
    assert all(late < 0.7 * early for early, late in zip(before, after, strict=True)), (before, after)
    expected = [(step, 48, what) for what in ("heaviest network", "sampled paths") for step in range(1, 49)]
    assert calls == expected
    # 0.8 lies far above the third that guessing reaches.
    assert evaluate(lambda x: net(x, heaviest), striped_data(60, 9), FABRIC) > 0.8


def test_uniform_rows() -> None:
    net, _ = fresh()
    rows = uniform_rows(net, 4000, torch.Generator().manual_seed(0))
    assert set(rows) == {decision.name for decision in net.space.decisions}
    for decision in net.space.decisions:
        gate = rows[decision.name]
        assert torch.equal(gate.sum(1), torch.ones(4000))
        share = 1 / len(decision.options)
        assert float((gate.mean(0) - share).abs().max()) < 5 * (share * (1 - share) / 4000) ** 0.5  # five standard deviations


@pytest.mark.parametrize("ema", [0.0, 0.8])
@pytest.mark.parametrize("killed_after", [11, 20, 27])  # of 16 + 16 steps, 8 an epoch: in either phase, in the midst of an epoch
def test_killed_training_resumes_to_the_same_weights(tmp_path: Path, ema: float, killed_after: int) -> None:
    data = striped_data(130, 0)
    # Mixup and dropout draw random numbers of their own, dropout from torch's global state.
    warm_up, multi_path = replace(SHORT, ema_decay=ema, mixup=0.2), replace(SHORT, ema_decay=ema, mixup=0.2, seed=4)
    unbroken, heaviest = fresh(dropout=0.3)
    train_supernet(unbroken, heaviest, data, warm_up, multi_path, FABRIC)
    net, heaviest = fresh(dropout=0.3)
    checkpoint = tmp_path / "weights.safetensors"
    steps = 0

    def kill(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == killed_after:
            raise KilledError

    with pytest.raises(KilledError):
        train_supernet(net, heaviest, data, warm_up, multi_path, FABRIC, checkpoint, kill)
    assert not same_state(net, unbroken)
    net, heaviest = fresh(dropout=0.3)  # a new process knows only the files
    torch.manual_seed(12345)
    train_supernet(net, heaviest, data, warm_up, multi_path, FABRIC, checkpoint)
    assert same_state(net, unbroken)
    again, heaviest = fresh(dropout=0.3)
    train_supernet(again, heaviest, data, warm_up, multi_path, FABRIC, checkpoint, progress=kill)  # nothing is left to do
    assert same_state(again, unbroken)


@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_what_training_came_to_can_be_loaded_from_its_files(tmp_path: Path, ema: float) -> None:
    """The teacher of later trainings is the heaviest network before paths were sampled, with its moving average."""
    options, checkpoint = replace(SHORT, ema_decay=ema), tmp_path / "w.safetensors"
    alone, heaviest = fresh()
    train_supernet(alone, heaviest, striped_data(32, 0), options, replace(options, epochs=0), FABRIC)
    net, heaviest = fresh()
    train_supernet(net, heaviest, striped_data(32, 0), options, options, FABRIC, checkpoint)
    loaded, _ = fresh()
    load_weights(loaded, heaviest_file(checkpoint))
    assert same_state(loaded, alone)
    assert not same_state(loaded, net)
    load_weights(loaded, checkpoint)
    assert same_state(loaded, net)
    with pytest.raises(ValueError, match="saved from another network"):
        load_weights(nn.Linear(2, 2), checkpoint)


def test_training_leaves_the_global_random_state_alone() -> None:
    net, heaviest = fresh(dropout=0.3)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    train_supernet(net, heaviest, striped_data(32, 0), replace(SHORT, epochs=1), replace(SHORT, epochs=1), FABRIC)
    assert torch.equal(before, torch.get_rng_state())


def test_other_options_are_refused(tmp_path: Path) -> None:
    data, checkpoint = striped_data(32, 0), tmp_path / "w.safetensors"
    short = replace(SHORT, epochs=1)
    net, heaviest = fresh()
    train_supernet(net, heaviest, data, short, short, FABRIC, checkpoint)
    for warm_up, multi_path in ((short, replace(short, learning_rate=0.1)), (replace(short, learning_rate=0.1), short)):
        with pytest.raises(ValueError, match=r"saved under other options .*delete it or restore them"):
            train_supernet(net, heaviest, data, warm_up, multi_path, FABRIC, checkpoint)


def test_checkpoints_of_other_networks_or_cut_off(tmp_path: Path) -> None:
    data, checkpoint = striped_data(32, 0), tmp_path / "n.safetensors"
    short = replace(SHORT, epochs=1)
    net, _ = fresh()
    architecture = random_architecture(net.space, np.random.default_rng(0))
    fine_tune(net.extract(architecture), data, short, FABRIC, checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"n\.safetensors: saved from another network"):
        fine_tune(nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), data, short, FABRIC, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"n\.safetensors: cut off"):
        fine_tune(net.extract(architecture), data, short, FABRIC, checkpoint=checkpoint)


def test_losses_that_are_not_finite() -> None:
    net, heaviest = fresh()
    images, labels = striped_data(32, 0).tensors
    broken = TensorDataset(torch.where(torch.arange(32)[:, None, None, None] == 5, torch.nan, images), labels)
    with pytest.raises(FloatingPointError, match="training the heaviest network: loss nan in epoch 1; lower the learning rate"):
        train_supernet(net, heaviest, broken, SHORT, SHORT, FABRIC)


def test_batches_larger_than_the_data() -> None:
    net, heaviest = fresh()
    with pytest.raises(ValueError, match="a batch of 16 is larger than the data set"):
        train_supernet(net, heaviest, striped_data(15, 0), SHORT, SHORT, FABRIC)


class FixedLogits(nn.Module):
    """A teacher that is sure of class 2 whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.0, 0.0, 20.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), 3)


def test_fine_tuning_with_a_teacher() -> None:
    data = striped_data(64, 1)
    space = tiny_space()
    torch.manual_seed(0)
    net = space.supernet()
    student = net.extract(random_architecture(net.space, np.random.default_rng(1)))
    plain = copy.deepcopy(student)
    options = replace(SHORT, epochs=12, label_smoothing=0.0)
    before = loss_of(copy.deepcopy(student).eval(), data)
    teacher = FixedLogits().train()
    fine_tune(plain, data, options, FABRIC)
    fine_tune(student, data, options, FABRIC, teacher=teacher, temperature=2.0)
    assert loss_of(plain, data) < 0.7 * before
    assert not student.training
    assert not teacher.training
    assert torch.equal(teacher.logits, torch.tensor([0.0, 0.0, 20.0]))
    assert teacher.logits.grad is None
    images, _ = data.tensors
    with torch.no_grad():
        towards = functional.softmax(student(images), 1)[:, 2].mean(), functional.softmax(plain(images), 1)[:, 2].mean()
    assert towards[0] > towards[1] + 0.1, "the teacher, who only ever says class 2, must be heard"


def test_fine_tuning_resumes(tmp_path: Path) -> None:
    data = striped_data(48, 2)
    net, _ = fresh()
    network = net.extract(random_architecture(net.space, np.random.default_rng(2)))
    unbroken, killed, resumed = (copy.deepcopy(network) for _ in range(3))
    teacher = FixedLogits()
    fine_tune(unbroken, data, SHORT, FABRIC, teacher)

    def kill(done: int, total: int, what: str) -> None:
        assert (total, what) == (6, "network")
        if done == 5:
            raise KilledError

    with pytest.raises(KilledError):
        fine_tune(killed, data, SHORT, FABRIC, teacher, checkpoint=tmp_path / "c", progress=kill)
    fine_tune(resumed, data, SHORT, FABRIC, teacher, checkpoint=tmp_path / "c")
    assert same_state(resumed, unbroken)


def test_moving_average_by_hand() -> None:
    data = striped_data(32, 3)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 3), nn.BatchNorm1d(3))
    seen: list[tuple[Tensor, Tensor]] = []

    def watched() -> tuple[Tensor, Tensor]:
        return network[1].weight.detach().clone(), network[2].running_mean.clone()

    options = replace(SHORT, ema_decay=0.75)
    # Progress is called after the step and its average: these are the weights that went into the average.
    fine_tune(network, data, options, FABRIC, progress=lambda *_: seen.append(watched()))
    average = seen[0]
    for weight, statistic in seen[1:]:
        average = 0.75 * average[0] + 0.25 * weight, 0.75 * average[1] + 0.25 * statistic
    torch.testing.assert_close(watched(), average)


def test_recalibration_gives_the_statistics_of_the_data() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU()).train()
    data = striped_data(48, 4)
    for _ in range(3):
        network(torch.randn(8, 1, 16, 16) * 7)  # statistics of something else

    def batches() -> Iterator[Any]:
        for images, _ in loader(data, 16):
            yield lambda images=images: network(images)

    recalibrate(network, batches)
    assert not network.training
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum == 0.3
    with torch.no_grad():
        features = [network[0](images) for images, _ in loader(data, 16)]
    mean = torch.stack([f.mean((0, 2, 3)) for f in features]).mean(0)
    variance = torch.stack([f.var((0, 2, 3)) for f in features]).mean(0)  # unbiased, as running statistics are
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)  # float32 sums of some thousand numbers
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)


class Empty(Dataset[Any]):
    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Any:
        raise IndexError(index)


def test_evaluate() -> None:
    data = striped_data(70, 5)
    labels = data.tensors[1]
    right = iter(labels.split(20))

    def forward(images: Tensor) -> Tensor:
        answer = functional.one_hot(next(right), 3).float()
        answer[0] = torch.tensor([0.0, 0.0, 0.0])  # a tie: class 0
        return answer

    firsts = sum(int(part[0] != 0) for part in labels.split(20))
    assert evaluate(forward, data, FABRIC, batch_size=20) == pytest.approx((70 - firsts) / 70)
    with pytest.raises(ValueError, match="empty data set"):
        evaluate(lambda images: images, Empty(), FABRIC)


class Pixels(nn.Module):
    """Logits (B, 3, H, W) for grey images, from a neighbourhood of 5x5 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def test_losses_of_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(3, (4, 5, 6), generator=generator)
    labels[1, :2] = IGNORED
    expected = []
    for row in range(4):
        kept = [(i, j) for i in range(5) for j in range(6) if labels[row, i, j] != IGNORED]
        expected.append(-sum(float(logits.detach()[row, :, i, j].log_softmax(0)[labels[row, i, j]]) for i, j in kept) / len(kept))
    losses = row_losses(logits, labels)
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-12)  # sums of 30 numbers in float64
    labels[2] = IGNORED
    losses = row_losses(logits, labels)
    assert float(losses.detach()[2]) == 0.0
    losses.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[2].any()
    flat, classes = torch.randn(7, 3, generator=generator), torch.randint(3, (7,), generator=generator)
    assert torch.equal(row_losses(flat, classes), functional.cross_entropy(flat, classes, reduction="none"))
    for wrong in (classes[:6], classes[:, None], labels):
        with pytest.raises(ValueError, match=r"expected logits \(B, K\) with labels \(B,\), or"):
            row_losses(flat, wrong)


def test_accuracy_of_pixels() -> None:
    labels = torch.tensor([[[0, 1], [2, IGNORED]], [[1, 1], [1, 1]], [[0, 0], [IGNORED, IGNORED]]])
    guess = torch.zeros(3, 3, 2, 2)
    guess[:, 1] = 1.0  # class 1 everywhere
    data = TensorDataset(torch.zeros(3, 1, 2, 2), labels)
    assert evaluate(lambda images: guess[: len(images)], data, FABRIC, batch_size=2) == 5 / 9
    with pytest.raises(ValueError, match=r"got \(3, 3\) with \(3, 2, 2\)"):
        evaluate(lambda images: guess[:, :, 0, 0], data, FABRIC)


@pytest.mark.parametrize("mixup", [0.0, 0.3])
def test_segmentation_learns(mixup: float) -> None:
    from constrained_nas.data import digit_scenes

    splits = digit_scenes(16, 60, 2, 1, seed=1)
    torch.manual_seed(0)
    network = Pixels()
    options = replace(SHORT, epochs=6, mixup=mixup, label_smoothing=0.05, learning_rate=0.2)
    fine_tune(network, splits.weights, options, FABRIC)
    labels = splits.architecture.tensors[1]  # type: ignore[attr-defined]
    background = float((labels == 0).float().mean())
    assert evaluate(network, splits.architecture, FABRIC) > background + 0.05
    assert loss_of(network, splits.architecture) < 0.9 * float(torch.tensor(3.0).log())  # type: ignore[arg-type]
    student = Pixels()
    fine_tune(student, splits.weights, replace(options, epochs=2), FABRIC, teacher=network)
    assert evaluate(student, splits.architecture, FABRIC) > 0.3


def test_distillation_is_a_mean_over_pixels() -> None:
    from constrained_nas.training.losses import distillation

    generator = torch.Generator().manual_seed(0)
    image, logits = torch.randn(2, 1, 4, 4, generator=generator), torch.randn(2, 3, 4, 4, generator=generator)
    torch.manual_seed(0)
    teacher = Pixels().eval()
    with torch.no_grad():
        one = distillation(logits, teacher, image, 2.0)
        flat = distillation(
            logits.permute(0, 2, 3, 1).reshape(-1, 3), lambda _: teacher(image).permute(0, 2, 3, 1).reshape(-1, 3), image, 2.0
        )
    torch.testing.assert_close(one, flat)


@cache
def residual_network() -> tuple[GPUNetSpace, Architecture]:
    """Six residual blocks and two that change the shape, on 16x16 grey images of three classes."""
    space = gpunet_small(classes=3, resolution=16)
    return space, space.space.choose({name: shape.options[0].name for name, shape in space.layers.items()})


def test_from_scratch_forgets_what_was_learned() -> None:
    space, architecture = residual_network()
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = space.network(architecture)
        fine_tune(network, striped_data(32, 1), replace(SHORT, epochs=1, from_scratch=True), FABRIC)
        runs.append(network)
    assert same_state(*runs), "weights come from the options' seed"
    first = copy.deepcopy(runs[0])
    fine_tune(first, striped_data(32, 1), replace(SHORT, epochs=1), FABRIC)
    assert not same_state(*runs[:1], first), "without the option training goes on"

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(ValueError, match=r"from_scratch: '0' \(Own\) cannot draw weights"):
        fine_tune(nn.Sequential(Own()), striped_data(32, 1), replace(SHORT, from_scratch=True), FABRIC)


def test_drop_path_leaves_blocks_out_while_training_and_resumes(tmp_path: Path) -> None:
    space, architecture = residual_network()
    torch.manual_seed(0)
    start = space.network(architecture).eval()
    options = replace(SHORT, epochs=2, drop_path=0.5)
    runs = {rate: copy.deepcopy(start) for rate in (0.0, 0.5)}
    for rate, network in runs.items():
        fine_tune(network, striped_data(32, 1), replace(options, drop_path=rate), FABRIC)
        assert list(network.state_dict()) == list(start.state_dict())
    assert not same_state(runs[0.0], runs[0.5])

    def kill(done: int, total: int, _: str) -> None:
        if done == total - 1:
            raise KilledError

    killed, checkpoint = copy.deepcopy(start), tmp_path / "network.safetensors"
    with pytest.raises(KilledError):
        fine_tune(killed, striped_data(32, 1), options, FABRIC, checkpoint=checkpoint, progress=kill)
    resumed = copy.deepcopy(start)
    fine_tune(resumed, striped_data(32, 1), options, FABRIC, checkpoint=checkpoint)
    assert same_state(resumed, runs[0.5])
    with pytest.raises(ValueError, match=r"drop_path: expected a network whose blocks are an nn\.Sequential, got Linear"):
        fine_tune(nn.Linear(2, 2), striped_data(32, 1), options, FABRIC)
    net, heaviest = fresh()
    with pytest.raises(ValueError, match="are for bare networks"):
        train_supernet(net, heaviest, striped_data(32, 1), SHORT, options, FABRIC)


def test_rates() -> None:
    cosine = TrainingOptions(epochs=10, learning_rate=0.4)
    assert [cosine.rate(epoch) for epoch in (0, 5, 10)] == pytest.approx([0.4, 0.2, 0.0])
    stepped = TrainingOptions(epochs=450, learning_rate=0.06, decay=0.97)
    assert stepped.rate(2.39) == 0.06
    assert stepped.rate(2.4) == pytest.approx(0.06 * 0.97)
    assert stepped.rate(24.1) == pytest.approx(0.06 * 0.97**10)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": -1}, "epochs of 0 or more"),
        ({"batch_size": 0}, "a batch_size of 1 or more"),
        ({"decay_epochs": 0.0}, "positive decay_epochs"),
        ({"label_smoothing": 1.5}, "label_smoothing must be 0 or more and less than 1, got 1.5"),
        ({"ema_decay": 1.0}, "ema_decay must be"),
        ({"drop_path": -0.1}, "drop_path must be"),
    ],
)
def test_options_out_of_range(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainingOptions(**settings)


def test_a_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="temperature: expected a positive number, got 0"):
        fine_tune(nn.Linear(2, 2), striped_data(4, 0), SHORT, FABRIC, temperature=0.0)


def test_every_step_is_sgds_with_decay_at_its_own_rate() -> None:
    """Against SGD written out: Nesterov momentum, weight decay, and a cosine that falls within an epoch."""
    data, options = striped_data(64, 0), replace(SHORT, epochs=3, learning_rate=0.1, weight_decay=0.05, label_smoothing=0.0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    twin = copy.deepcopy(network)
    fine_tune(network, data, options, FABRIC)
    parameters = list(twin.parameters())
    speed = [torch.zeros_like(parameter) for parameter in parameters]
    for epoch in range(3):
        generator = torch.Generator().manual_seed(3 * 100_003 + epoch)
        for step, (images, labels) in enumerate(loader(data, 16, generator, True)):
            rate = 0.1 * 0.5 * (1 + np.cos(np.pi * (4 * epoch + step) / 12))
            gradients = torch.autograd.grad(functional.cross_entropy(twin(images), labels), parameters)
            with torch.no_grad():
                for place, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                    decayed = gradient + 0.05 * parameter
                    speed[place] = 0.9 * speed[place] + decayed
                    parameter -= rate * (decayed + 0.9 * speed[place])
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, twin.state_dict()[name])


def test_every_step_of_rmsprop_decays_the_weights() -> None:
    """Against RMSprop written out, with EfficientNet's smoothing and epsilon."""
    rate, decay = 0.01, 0.05
    options = replace(SHORT, epochs=2, learning_rate=rate, weight_decay=decay, label_smoothing=0.0, optimizer="rmsprop", decay=1.0)
    data = striped_data(64, 0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    twin = copy.deepcopy(network)
    fine_tune(network, data, options, FABRIC)
    parameters = list(twin.parameters())
    squares, speed = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
    for epoch in range(2):
        for images, labels in loader(data, 16, torch.Generator().manual_seed(3 * 100_003 + epoch), True):
            gradients = torch.autograd.grad(functional.cross_entropy(twin(images), labels), parameters)
            with torch.no_grad():
                for place, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                    decayed = gradient + decay * parameter
                    squares[place] = 0.9 * squares[place] + 0.1 * decayed**2
                    speed[place] = 0.9 * speed[place] + decayed / (squares[place].sqrt() + 1e-3)
                    parameter -= rate * speed[place]
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, twin.state_dict()[name])


class Shifted(Dataset[Any]):
    """Images that carry their number and what was drawn for them."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.stack([torch.tensor(float(index)), torch.rand(())]).reshape(1, 1, 2), index % 2


class Looking(nn.Module):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(2, 2), list[Tensor]()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.reshape(-1, 2).clone())
        logits: Tensor = self.layer(images.reshape(-1, 2))
        return logits


@pytest.mark.parametrize("workers", [0, 1])
def test_every_epoch_is_augmented_anew(workers: int) -> None:
    network = Looking()
    fine_tune(network, Shifted(), replace(SHORT, epochs=3, batch_size=8, workers=workers), FABRIC)
    rows = torch.cat(network.seen).reshape(3, 16, 2)
    drawn = torch.stack([epoch[epoch[:, 0].argsort(), 1] for epoch in rows])  # (epochs, images)
    assert len(drawn.unique()) == 3 * 16, "no image is changed alike in two epochs"


class Dropping(nn.Module):
    """Keeps what dropout left of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.left = nn.Linear(256, 3), list[Tensor]()

    def forward(self, images: Tensor) -> Tensor:
        self.left.append(functional.dropout(torch.ones(len(images), 16)))
        logits: Tensor = self.layer(images.flatten(1))
        return logits


def test_every_epoch_drops_anew_and_the_same_in_every_run() -> None:
    first, second = Dropping(), Dropping()
    for network in (first, second):
        fine_tune(network, striped_data(16, 0), replace(SHORT, epochs=3, batch_size=16), FABRIC)
    assert len(first.left) == 3 and len(torch.stack(first.left).unique(dim=0)) == 3
    assert all(torch.equal(one, other) for one, other in zip(first.left, second.left, strict=True))


def test_the_heaviest_networks_weights_are_taken_for_nothing_else(tmp_path: Path) -> None:
    net, gates = fresh()
    kept = Checkpoint(tmp_path / "net.safetensors", {"seed": 0})
    train_supernet(net, gates, striped_data(32, 0), SHORT, SHORT, FABRIC, kept)
    load_weights(fresh()[0], heaviest_file(kept))
    with pytest.raises(ValueError, match=r"net\.heaviest\.safetensors: made with seed 0, now 1"):
        load_weights(fresh()[0], heaviest_file(Checkpoint(kept.path, {"seed": 1})))


def test_a_path_a_batch_is_the_heaviest_in_its_share_of_the_steps() -> None:
    net, heaviest = fresh()
    generator, drawn = torch.Generator().manual_seed(0), []
    train_supernet(net, heaviest, striped_data(32, 0), replace(SHORT, epochs=0), SHORT, FABRIC, draw=path_a_batch(net, heaviest))
    draw = path_a_batch(net, heaviest, 0.25)
    for _ in range(400):
        gates = draw(8, generator)
        assert all(gate.shape == heaviest[name].shape and gate.sum() == 1 for name, gate in gates.items())
        drawn.append(gates)
    assert 70 <= sum(gates is heaviest for gates in drawn) <= 130
    first = next(iter(heaviest))
    others = torch.stack([gates[first] for gates in drawn if gates is not heaviest])
    assert (others.sum(0) > 0).all(), "every option is drawn"
