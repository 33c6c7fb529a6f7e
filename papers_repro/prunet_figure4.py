"""Figure 4 of PruNet at your scale: found networks as backbones of a detector, on data in COCO's format.

Give ``--networks`` files of architectures that earlier scripts wrote (``architectures/*.json`` in their folders) and ``--space``
and ``--resolution`` as they were searched in, and ``--coco`` a folder with ``annotations/``, ``train2017/`` and ``val2017/``.
Backbones begin with fresh weights, or with ``--weights`` of classifiers, in the order of the networks. The paper's detector is
EfficientDet; see ``papers_repro.prunet.detector`` for what is different here. Without networks one is drawn, and at smoke scale a
folder of squares and discs is made: that shows that it runs, and nothing else.

Average precision needs the extra ``coco`` (torchmetrics, pycocotools); without it the losses are all there is.

Reference: PruNet, Sec. 4, Fig. 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from matplotlib.ticker import MaxNLocator
from safetensors.torch import load_file
from torch import nn

from constrained_nas.data import CocoImages, make_coco
from constrained_nas.records import load_architecture
from graphs.spaces import GPUNetSpace
from papers_repro.experiment import make_fabric
from papers_repro.harness import Column, Row, Rows, Scale, new_figure, save_figure, started
from papers_repro.prunet import (
    DetectionOptions,
    PruNetOptions,
    average_precision,
    make_detector,
    make_space,
    setup_preset,
    train_detector,
)

SCRIPT = "prunet_figure4"


@dataclass(frozen=True)
class Options(PruNetOptions):
    """Found networks behind a detector."""

    coco: Path | None = None
    """Folder with annotations/, train2017/ and val2017/."""
    networks: tuple[Path, ...] = ()
    """Architectures (JSON) of the space; one is drawn if none is given."""
    weights: tuple[Path, ...] = ()
    """Weights (safetensors) of these networks as classifiers, in their order; none: fresh ones."""
    detection: Annotated[DetectionOptions, tyro.conf.arg(name="")] = field(default_factory=DetectionOptions)
    """The detector's training."""

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.networks):
            raise ValueError(f"--weights: {len(self.weights)} files for {len(self.networks)} networks")


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        small = DetectionOptions(detector_epochs=2, detector_batch=4, detector_rate=0.01, detector_warm_up=1, side=64)
        return Options(scale, detection=small, setup=setup_preset(scale))
    if scale == "laptop":
        few = DetectionOptions(detector_epochs=20, detector_batch=8, detector_rate=0.02, detector_warm_up=2, side=128)
        return Options(scale, detection=few, setup=setup_preset(scale))
    return Options(scale, setup=setup_preset(scale))


def main() -> None:
    with started(SCRIPT, preset) as script:
        options, folder = script.options, script.options.coco
        if folder is None and options.scale == "smoke":
            folder = script.folder / "made_coco"
            make_coco(folder, 8, options.detection.side, options.seed)
        if folder is None:
            raise SystemExit("--coco: give a folder of COCO's form: annotations/, train2017/ and val2017/")
        try:
            data = CocoImages(folder, "train2017", train=True, flip=True), CocoImages(folder, "val2017", train=False)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
        space = make_space(options.setup, 10, 3)
        with script.bars() as progress:
            rows, courses = list[Row](), dict[str, list[float]]()
            for name, network in _networks(options, space).items():
                row, courses[name] = _detected(options, name, network, data, progress.callback(name))
                rows.append(row)
        script.show(_table(rows, data))
        what = "found networks" if options.networks else "a network drawn at random"
        _draw(courses, f"{what} behind a detector: {folder.name}, {options.detection.side} pixels", script.picture)


def _networks(options: Options, space: GPUNetSpace) -> dict[str, nn.Sequential]:
    found = {path.stem: load_architecture(path, space.space) for path in options.networks}
    if not found:
        generator = np.random.default_rng(options.seed)
        picks = {d.name: d.options[int(generator.integers(len(d.options)))] for d in space.space.decisions}
        found = {"drawn": space.space.choose(picks)}
    networks = {}
    for place, (name, architecture) in enumerate(found.items()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            networks[name] = space.network(architecture)
        if options.weights:
            networks[name].load_state_dict(load_file(options.weights[place]))
    return networks


def _detected(
    options: Options,
    name: str,
    network: nn.Sequential,
    data: tuple[CocoImages, CocoImages],
    report: Callable[[int, int, str], None],
) -> tuple[Row, list[float]]:
    training, held = data
    detection, device = options.detection, make_fabric(options.setup).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        detector = make_detector(network, len(training.categories), detection.side)
    averaged, losses = train_detector(detector, training, detection, device, options.seed, report)
    precision = average_precision(averaged, held, detection.detector_batch, device)
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    row: Row = {"network": name, "parameters": parameters, "first": losses[0], "last": losses[-1]}
    return (row if precision is None else {**row, **precision}), losses


def _table(rows: Sequence[Row], data: tuple[CocoImages, CocoImages]) -> Rows:
    columns = [
        Column("network", "backbone", "by the name of its file"),
        Column("parameters", "params", "of the whole detector"),
        Column("first", "first loss", "mean over the first epoch", ".3f"),
        Column("last", "last loss", "mean over the last epoch", ".3f"),
        Column(
            "map", "AP %", "average precision on the other part, means over overlaps of 50 to 95 %; - without the extra coco", ".1f"
        ),
        Column("map_50", "AP50 %", "the same at an overlap of 50 %", ".1f"),
    ]
    training, held = data
    remark = (
        f"{len(training)} images to train on, {len(held)} to test on, {len(training.categories)} categories. FCOS on a pyramid."
    )
    return Rows("Found networks behind a detector", columns, rows, remark=remark)


def _draw(courses: Mapping[str, Sequence[float]], title: str, path: Path) -> None:
    figure = new_figure(7, 4.6)
    axes = figure.subplots()
    for name, losses in courses.items():
        axes.plot(range(1, len(losses) + 1), losses, marker="o", ms=3, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="loss of the detector, mean", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
