"""Training: one loop for a bare network, a one-shot super-network, and distillation fine-tuning.

The super-network is trained as HardCoRe-NAS does: the heaviest network first, then multi-path sampling, an architecture drawn
uniformly for every example of a batch (Sec. 3.3). Found networks inherit its weights and are fine-tuned with the heaviest one as
their teacher, "2 for 1" (Appendix G).

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.3 and Appendices A, G; Hinton et al. 2015 for distillation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from constrained_nas.data import IGNORED, loader
from constrained_nas.training.batches import Batch, Gates
from constrained_nas.training.checkpoints import Checkpoint, load_training, save_training
from constrained_nas.training.curves import Curves, rounded
from constrained_nas.training.losses import check_shapes, count_right, mixup, row_losses
from constrained_nas.training.options import TrainingOptions
from constrained_nas.training.parts import Parts
from constrained_nas.training.precision import weight_step
from constrained_nas.training.recompute import recomputing
from constrained_nas.training.stopping import Stopped, Within
from graphs import Supernet
from graphs.blocks import with_stochastic_depth

Progress = Callable[[int, int, str], None]  # steps done, steps in all, what is going on
Draw = Callable[[int, torch.Generator], Gates | None]  # gates for so many rows, and what to draw from; None for a bare network


def uniform_rows(supernet: Supernet, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """One-hot gates, an architecture drawn uniformly for each row: {decision: (rows, options)}."""
    gates = {}
    for decision in supernet.space.decisions:
        options = len(decision.options)
        picks = torch.randint(options, (rows,), generator=generator)
        gates[decision.name] = functional.one_hot(picks, options).float()
    return gates


def path_a_batch(supernet: Supernet, heaviest: Gates, share: float = 0.25) -> Draw:
    """One architecture for all rows of a batch: the heaviest in this share of the steps, else one drawn uniformly.

    Networks of few channels learn in far fewer steps so than with an architecture a row, and a step takes half the time.

    Reference: Yu et al., BigNAS, Sec. 3 (the sandwich rule), with one network a step.
    """

    def draw(rows: int, generator: torch.Generator) -> Gates:
        if float(torch.rand((), generator=generator)) < share:
            return heaviest
        return {name: gate[0] for name, gate in uniform_rows(supernet, 1, generator).items()}

    return draw


def train_supernet(
    supernet: Supernet,
    heaviest: dict[str, Tensor],
    data: Dataset[Any],
    warm_up: TrainingOptions,
    multi_path: TrainingOptions,
    fabric: Fabric,
    checkpoint: Path | Checkpoint | None = None,
    progress: Progress | None = None,
    draw: Draw | None = None,
    curves: Curves | None = None,
) -> None:
    """Train the heaviest network under ``warm_up``, then uniformly sampled paths under ``multi_path``, in place.

    Args:
        supernet: trained in place; ends in evaluation mode.
        heaviest: its one-hot gates, each (options,).
        checkpoint: where to save after each epoch; training resumes from the file if it exists, and ends in the same weights.
            The heaviest network's weights stay beside it, in the file :func:`heaviest_file`: they are a better teacher than those
            that paths were trained with.
        draw: gates of a step of sampled paths; None for a path drawn uniformly for every example. The checkpoint has to name it.
        curves: where losses, accuracies and rates are written, phase by phase.

    Raises:
        ValueError: ``drop_path`` or ``from_scratch``, which are for bare networks.
    """
    if any(options.drop_path or options.from_scratch for options in (warm_up, multi_path)):
        raise ValueError("drop_path and from_scratch are for bare networks: leave them out for a super-network")

    def one(rows: int, _: torch.Generator) -> Gates:
        return heaviest

    def many(rows: int, generator: torch.Generator) -> Gates:
        return uniform_rows(supernet, rows, generator)  # on the host, where they are read

    if isinstance(checkpoint, Path):
        checkpoint = Checkpoint(checkpoint)
    first = heaviest_file(checkpoint) if checkpoint else None
    # The first phase's file is read even if the second has begun: it says under which options it was trained.
    if checkpoint is None or first is None or first.exists() or not checkpoint.exists():
        _train(supernet, one, data, warm_up, fabric, first, progress, "heaviest network", curves=curves)
    _train(supernet, draw or many, data, multi_path, fabric, checkpoint, progress, "sampled paths", curves=curves)


def heaviest_file(checkpoint: Path | Checkpoint) -> Checkpoint:
    """Where :func:`train_supernet` leaves what the super-network was before any path was sampled."""
    return (checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)).named("heaviest")


def fine_tune(
    network: nn.Module,
    data: Dataset[Any],
    options: TrainingOptions,
    fabric: Fabric,
    teacher: nn.Module | None = None,
    temperature: float = 1.0,
    checkpoint: Path | Checkpoint | None = None,
    progress: Progress | None = None,
    curves: Curves | None = None,
    phase: str = "network",
) -> None:
    """Train a bare network in place, from the weights it has or ``from_scratch``; with a ``teacher``, towards the mean of the
    labels' and the teacher's distributions.

    The teacher is put in evaluation mode on the fabric's device; its weights stay as they are.

    A teacher of another resolution, by its name: :func:`constrained_nas.training.teachers.timm_teacher`.
    Losses, accuracies and rates are written to ``curves``, under the name ``phase``.

    Raises:
        ValueError: ``drop_path`` for a network that is no ``nn.Sequential``; ``from_scratch`` for modules that cannot draw weights;
            a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    running = network
    if options.drop_path:
        if not isinstance(network, nn.Sequential):
            raise ValueError(f"drop_path: expected a network whose blocks are an nn.Sequential, got {type(network).__name__}")
        running = with_stochastic_depth(network, options.drop_path).train()  # shares the modules of the network
    if options.from_scratch:
        _draw_weights(network, options.seed)
    if teacher is not None:
        teacher.eval().to(fabric.device)

    told = "network", teacher, temperature, running, curves, phase
    _train(network, lambda *_: None, data, options, fabric, checkpoint, progress, *told)


@torch.no_grad()
def evaluate(
    forward: Callable[[Tensor], Tensor], data: Dataset[Any], fabric: Fabric, batch_size: int = 500, workers: int = 0
) -> float:
    """Accuracy of ``forward`` on ``data``: the share of labels, one an image or one a pixel, that are predicted.

    Pixels labelled ``constrained_nas.data.images.IGNORED`` do not count. Put the network in evaluation mode first.

    Raises:
        ValueError: nothing to evaluate, or outputs that do not fit the labels.
    """
    correct = total = 0
    for images, labels in loader(data, batch_size, workers=workers, device=fabric.device):
        labels = labels.cpu()
        logits = forward(_layout(fabric.to_device(images)))
        check_shapes(logits, labels)
        correct += int((logits.argmax(1).cpu() == labels).sum())  # a prediction is never IGNORED
        total += int((labels != IGNORED).sum())
    if not total:
        raise ValueError("cannot evaluate on an empty data set")
    return correct / total


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Callable[[], Iterator[Callable[[], Tensor]]]) -> None:
    """Replace the running statistics of every batch normalization by the cumulative average over forward passes.

    ``batches()`` yields one call a batch that runs ``network`` on it; the network is left in evaluation mode.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    network.train()
    for run in batches():
        run()
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    network.eval()


def recalibrate_on(network: nn.Module, data: Dataset[Any], batch_size: int, batches: int, seed: int, fabric: Fabric) -> None:
    """:func:`recalibrate` on at most so many whole batches of images, shuffled by ``seed``."""

    def runs() -> Iterator[Callable[[], Tensor]]:
        shuffled = loader(data, batch_size, torch.Generator().manual_seed(seed), True, device=fabric.device)
        for _, (images, _) in zip(range(batches), shuffled, strict=False):
            yield partial(network, fabric.to_device(images))

    recalibrate(network, runs)


def _train(
    network: nn.Module,
    draw: Draw,
    data: Dataset[Any],
    options: TrainingOptions,
    fabric: Fabric,
    checkpoint: Path | Checkpoint | None,
    progress: Progress | None,
    what: str,
    teacher: nn.Module | None = None,
    temperature: float = 1.0,
    running: nn.Module | None = None,
    curves: Curves | None = None,
    phase: str = "",
) -> None:
    """Train ``network`` in place; ``running`` is called in its stead where given, and shares its modules.

    The curve is named ``phase``, or ``what``.
    """
    parts = Parts(options.parts, fabric, options.sync_batchnorm)
    parts.check(options.batch_size)
    network.to(fabric.device).to(memory_format=torch.channels_last)
    optimizer = _optimizer(network, options)
    average = (
        AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.ema_decay), use_buffers=True)
        if options.ema_decay
        else None
    )
    first, within = load_training(network, optimizer, average, asdict(options), checkpoint, fabric)
    blocks = running or network
    running, optimizer = fabric.setup(blocks, optimizer)
    steps = len(loader(data, options.batch_size, torch.Generator(), drop_last=True))
    if steps == 0:
        raise ValueError(f"a batch of {options.batch_size} is larger than the data set: choose a smaller batch_size")
    curve = None if curves is None else curves.of(phase or what)
    if curve is not None:
        done, seen = (0, {}) if within is None else (within.steps, within.values)
        curve.begin(first, done, steps, seen.get("curve") if fabric.is_global_zero else None, total=parts.total)
    for epoch in range(first, options.epochs):
        # Every draw of an epoch comes from (seed, epoch): a resumed run continues exactly as an unbroken one.
        generator = torch.Generator().manual_seed(options.seed * 100_003 + epoch)
        network.train()
        batches = loader(data, options.batch_size, generator, True, options.workers, fabric.device)
        # Dropout and augmentation draw from torch's global state: it too is seeded for the epoch, and given back as it was.
        with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
            torch.manual_seed(options.seed * 100_003 + epoch)
            for step, (images, labels) in enumerate(batches):
                if within is not None:
                    if step < within.steps:
                        continue
                    within.restore(fabric.device, generator)
                    within = None
                images, labels = _layout(fabric.to_device(images)), fabric.to_device(labels)
                images, labels, partner, share = mixup(images, labels, options.mixup, generator)
                gates = draw(len(images), generator)
                optimizer.zero_grad(set_to_none=True)
                told = () if gates is None else parts.whole(gates)
                towards = options.label_smoothing, options.parts == 1, teacher, temperature, curve, told
                batch = Batch(images, labels, partner, share, gates, *towards)
                run = partial(batch.backward, running, fabric, what, epoch + 1)
                with recomputing(blocks, options.recompute, parts.normalizing if parts.together else None):
                    parts.compute(network, len(images), run, (options.seed, epoch, step))
                rate = options.rate((epoch * steps + step) / steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                weight_step(fabric, running, optimizer, options.clip)
                if average is not None:
                    average.update_parameters(network)
                if curve is not None:
                    curve.step(epoch + 1, step + 1, {"rate": rate})
                try:
                    if progress:
                        progress(epoch * steps + step + 1, options.epochs * steps, what)
                except Stopped:
                    if checkpoint is not None:
                        place = Within.now(step + 1, fabric.device, generator, None if curve is None else {"curve": curve.state()})
                        save_training(network, optimizer, average, asdict(options), checkpoint, epoch, fabric, place)
                    raise
        within = None  # also where the last step was done before
        if curve is not None and curve.validation is not None:
            whole: nn.Module = network if average is None else average.module
            curve.write(epoch + 1, steps, {"validation": _validated(whole, draw, curve.validation, options, fabric)})
        if curve is not None:
            curve.settle()
        if checkpoint is not None:
            save_training(network, optimizer, average, asdict(options), checkpoint, epoch + 1, fabric)
    if average is not None:
        network.load_state_dict(average.module.state_dict())
    network.eval()


@torch.no_grad()
def _validated(network: nn.Module, draw: Draw, data: Dataset[Any], options: TrainingOptions, fabric: Fabric) -> dict[str, float]:
    """Mean loss and accuracy (%) on ``data``, under gates as training draws them, the same after every epoch."""
    network.eval()
    generator = torch.Generator().manual_seed(options.seed)
    losses, right, counted = list[Tensor](), 0, 0
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), fabric.autocast():
        torch.manual_seed(options.seed)  # images may be augmented
        for images, labels in loader(data, options.batch_size, workers=options.workers, device=fabric.device):
            images, labels = _layout(fabric.to_device(images)), fabric.to_device(labels)
            gates = draw(len(images), generator)
            logits = network(images) if gates is None else network(images, gates)
            losses.append(row_losses(logits, labels))
            some, of = count_right(logits, labels)
            right, counted = right + int(some), counted + of
    return dict(zip(("loss", "accuracy"), rounded([float(torch.cat(losses).mean()), 100 * right / max(counted, 1)]), strict=True))


def _optimizer(network: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    rate, momentum, decay = options.learning_rate, options.momentum, options.weight_decay
    if options.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), rate, 0.9, 1e-3, decay, momentum)
    return torch.optim.SGD(network.parameters(), rate, momentum, nesterov=momentum > 0, weight_decay=decay)


def _draw_weights(network: nn.Module, seed: int) -> None:
    """Fresh weights and statistics for every module; torch's global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in network.named_modules():
            own = next(module.parameters(recurse=False), None)
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            elif own is not None:
                raise ValueError(f"from_scratch: {name!r} ({type(module).__name__}) cannot draw weights; build a fresh network")


def _layout(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
