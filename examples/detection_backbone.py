"""A found network as the backbone of a detector: feature maps at several strides, a feature pyramid, torchvision's FCOS.

Under two minutes on a CPU, with scenes made of scikit-learn's digits:

1. take a network of the small PruNet space: one that a search wrote (``--architecture``, see ``papers_repro/prunet_table2.py``), or
   a random one that keeps a budget of multiply-adds; and train it to classify digits (or load ``--weights``);
2. ``graphs.feature_backbone`` turns it into a ``features_only`` backbone; the modules are the network's own, so what it has learned
   stays;
3. train the detector on scenes, count the digits that it finds in others, and draw a few.

Reference: PruNet, Sec. 4 (the paper puts its networks behind EfficientDet on COCO).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from lightning_fabric import Fabric
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSHead
from torchvision.ops import FeaturePyramidNetwork, box_iou, nms

from constrained_nas.records import load_architecture
from constrained_nas.training import TrainingOptions, evaluate, fine_tune
from graphs import Architecture, FeatureBackbone, feature_backbone
from graphs.costs import width_count_cost
from graphs.spaces import GPUNetSpace, gpunet_small
from solvers import project_to_budget

SIDE = 64  # of a scene, in pixels
MEAN, DEVIATION = 0.3, 0.3  # what images are normalized by
STRIDES = (4, 8)  # of the maps; digits are 16 to 28 pixels high


class Pyramid(nn.Module):
    """What torchvision's detectors expect of a backbone: named maps of equal width."""

    def __init__(self, backbone: FeatureBackbone, out_channels: int = 32) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, out_channels
        self.pyramid = FeaturePyramidNetwork(backbone.feature_info.channels(), out_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(images)  # list of (B, channels, SIDE / stride, SIDE / stride)
        named: dict[str, Tensor] = self.pyramid(OrderedDict((str(level), one) for level, one in enumerate(maps)))
        return named


@dataclass(frozen=True)
class Options:
    """A found network behind a detector of digits."""

    architecture: Path | None = None
    """An architecture of the small PruNet space at 16x16, as prunet_table2.py writes them to architectures/."""
    weights: Path | None = None
    """Weights of that network (safetensors), instead of training it to classify digits first."""
    epochs: int = 20
    """Epochs of that training."""
    macs: float = 0.6e6
    """Budget of the random network: multiply-adds for a 16x16 image."""
    steps: int = 500
    """Training steps of the detector."""
    batch: int = 16
    """Scenes a step."""
    test_scenes: int = 100
    """Scenes, of digits that were not trained on, in which found digits are counted."""
    out: Path = Path("runs/detection_backbone")
    """Folder of the picture."""
    seed: int = 0
    """Decides the random network, weights and scenes."""


def random_network(space: GPUNetSpace, macs: float, seed: int) -> Architecture:
    """Random scores for all options of all layers, and the best selection that fits the budget: a random network that fits.

    Raises:
        ValueError: no network of the space fits.
    """
    generator, cost = np.random.default_rng(seed), width_count_cost(space, "macs").quadratic
    parts = [space.space.slice(decision.name) for decision in space.space.decisions]
    least = cost.offset + sum(float(cost.linear[part].min()) for part in parts)
    if macs < least:
        raise ValueError(f"--macs: the lightest network of the space takes {least:,.0f} multiply-adds, got a budget of {macs:,.0f}")
    scores = [generator.random(part.stop - part.start) for part in parts]
    best = project_to_budget(scores, [cost.linear[part] for part in parts], macs - cost.offset)
    decisions = zip(space.space.decisions, best.choices, strict=True)
    return space.space.choose({decision.name: decision.options[int(choice)] for decision, choice in decisions})


def scene(pictures: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """An image (1, SIDE, SIDE) in [0, 1] of one to three digits on noise; boxes (digits, 4) in pixels and labels from 1."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    image = 0.2 * torch.rand(1, SIDE, SIDE, generator=generator)
    boxes: list[list[float]] = []
    kinds: list[int] = []
    for _ in range(draw(1, 4)):
        number, side = draw(0, len(pictures)), draw(16, 29)
        left, top = draw(0, SIDE - side), draw(0, SIDE - side)
        box = torch.tensor([[left, top, left + side, top + side]], dtype=torch.float32)
        if boxes and float(box_iou(box, torch.tensor(boxes)).max()) > 0.05:  # no room there
            continue
        digit = functional.interpolate(pictures[number][None, None], size=(side, side), mode="bilinear")[0]
        window = image[:, top : top + side, left : left + side]
        image[:, top : top + side, left : left + side] = torch.maximum(window, digit)
        boxes.append(box[0].tolist())
        kinds.append(int(labels[number]) + 1)
    return image, {"boxes": torch.tensor(boxes), "labels": torch.tensor(kinds)}


def detector(network: nn.Sequential) -> FCOS:
    """FCOS on the network's maps."""
    pyramid = Pyramid(feature_backbone(network, STRIDES))
    strides = pyramid.backbone.feature_info.reduction()
    anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
    # torchvision's head normalizes 256 channels in 32 groups; 32 channels learn classes faster with batch normalization.
    head = FCOSHead(pyramid.out_channels, 1, 11, 2)
    head.classification_head = FCOSClassificationHead(pyramid.out_channels, 1, 11, 2, norm_layer=nn.BatchNorm2d)
    return FCOS(
        pyramid,
        11,
        anchor_generator=anchors,
        head=head,
        min_size=SIDE,
        max_size=SIDE,
        image_mean=[MEAN],
        image_std=[DEVIATION],
        score_thresh=0.3,
    )


def best_labels(answer: dict[str, Tensor]) -> dict[str, Tensor]:
    """One label a place: of boxes that overlap by more than half, whatever their labels, the one with the best score."""
    kept = nms(answer["boxes"], answer["scores"], 0.5)
    return {name: values[kept] for name, values in answer.items()}


def count_found(found: dict[str, Tensor], truth: dict[str, Tensor]) -> tuple[int, int]:
    """(digits found: right label and at least half overlap, boxes that show no such digit)."""
    if len(found["boxes"]) == 0:
        return 0, 0
    right = (box_iou(truth["boxes"], found["boxes"]) >= 0.5) & (truth["labels"][:, None] == found["labels"][None])
    return int(right.any(1).sum()), int((~right.any(0)).sum())


def draw(images: Sequence[Tensor], found: Sequence[dict[str, Tensor]], truth: Sequence[dict[str, Tensor]], path: Path) -> None:
    """Scenes with true boxes (dashed) and found ones, labelled."""
    figure = Figure(figsize=(2.2 * len(images), 2.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, image, boxes, true in zip(np.atleast_1d(figure.subplots(1, len(images))), images, found, truth, strict=True):
        axes.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=1)
        for target, style, colour in ((true, "--", "#8fd18f"), (boxes, "-", "#ffb000")):
            for (left, top, right, bottom), label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
                axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linestyle=style))
                if target is boxes:
                    axes.annotate(str(label - 1), (left + 1, top + 1), color=colour, fontsize=9, va="top")
        axes.set_axis_off()
    figure.suptitle("found (solid, labelled) and true (dashed) digits", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the example."""
    options = tyro.cli(Options, args=arguments, description=__doc__)
    if min(options.epochs, options.steps, options.batch, options.test_scenes) < 1:
        raise SystemExit("--epochs, --steps, --batch and --test-scenes: expected 1 or more each")
    console = Console()
    torch.set_num_threads(1)  # on networks this small a second thread costs more than it brings
    torch.manual_seed(options.seed)
    space = gpunet_small(10, 16, 1)
    if options.architecture is not None:
        architecture = load_architecture(options.architecture, space.space)
    else:
        architecture = random_network(space, options.macs, options.seed)
    network = space.network(architecture)
    bunch = load_digits()
    pictures, labels = torch.as_tensor(bunch.images, dtype=torch.float32) / 16, torch.as_tensor(bunch.target)
    half = len(pictures) // 2
    if options.weights is not None:
        network.load_state_dict(load_file(options.weights))
    else:
        grey = (functional.interpolate(pictures[:, None], size=(16, 16), mode="bilinear") - MEAN) / DEVIATION
        first, second = TensorDataset(grey[:half], labels[:half]), TensorDataset(grey[half:], labels[half:])
        fabric = Fabric(accelerator="cpu")
        fine_tune(network, first, TrainingOptions(options.epochs, 32, 0.1, mixup=0.0, seed=options.seed), fabric)
        console.print(f"classifier: {evaluate(network, second, fabric):.1%} of digits not trained on are right", highlight=False)
    model = detector(network)
    generator = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    losses = []
    for _ in track(range(options.steps), description="training the detector", console=console):
        scenes = [scene(pictures[:half], labels[:half], generator) for _ in range(options.batch)]
        loss = sum(model([image for image, _ in scenes], [target for _, target in scenes]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    tests = [scene(pictures[half:], labels[half:], generator) for _ in range(options.test_scenes)]
    with torch.no_grad():
        answers = [best_labels(model([image])[0]) for image, _ in tests]
    counts = [count_found(answer, target) for answer, (_, target) in zip(answers, tests, strict=True)]
    digits = sum(len(target["labels"]) for _, target in tests)
    right, wrong = (sum(column) for column in zip(*counts, strict=True))

    table = Table(title="maps of the backbone", title_justify="left")
    for column in ("module", "stride", "channels"):
        table.add_column(column)
    for row in model.backbone.backbone.feature_info.get_dicts():
        table.add_row(str(row["module"]), str(row["reduction"]), str(row["num_chs"]))
    console.print(table)
    macs = width_count_cost(space, "macs").cost(architecture)
    console.print(f"network: {macs:,.0f} multiply-adds for a 16x16 image", highlight=False)
    tenth = max(1, len(losses) // 10)
    console.print(f"loss: {np.mean(losses[:tenth]):.2f} at first, {np.mean(losses[-tenth:]):.2f} at last", highlight=False)
    console.print(f"found {right} of {digits} digits, and {wrong} boxes without one, in {len(tests)} test scenes", highlight=False)
    path = options.out / "detection_backbone.png"
    shown = min(5, len(tests))
    draw([image for image, _ in tests[:shown]], answers[:shown], [target for _, target in tests[:shown]], path)
    console.print(f"picture: {path}", highlight=False)


if __name__ == "__main__":
    main()
