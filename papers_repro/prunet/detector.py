"""A found network as the backbone of a detector of torchvision's, its training, and COCO's average precision.

The paper puts its networks behind EfficientDet, whose bidirectional pyramid torchvision does not have: here it is FCOS on an
ordinary feature pyramid, all else being the paper's (Fig. 4): SGD with a linear warm-up and a cosine, gradients clipped, a moving
average of the weights. Average precision is torchmetrics', where that and pycocotools are installed.

Reference: PruNet, Sec. 4, Fig. 4; Tian et al., FCOS; Lin et al., Feature pyramid networks.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork

from constrained_nas.data import CocoImages, together
from graphs import FeatureBackbone, feature_backbone


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """Training of a detector; the values shown are those of the scale."""

    detector_epochs: int = 300
    """Of training (the paper: 300)."""
    detector_batch: int = 60
    """Images of a step (60)."""
    detector_rate: float = 0.65
    """Of SGD, falling by a cosine (0.65)."""
    detector_warm_up: int = 20
    """Epochs in which the rate rises to that (20)."""
    detector_clip: float = 10.0
    """Norm to which gradients are clipped (10)."""
    detector_average: float = 0.999
    """Of the moving average of the weights (0.999)."""
    side: int = 512
    """Images are scaled to this side at most, in pixels."""

    def rate(self, epoch: float) -> float:
        """The learning rate after ``epoch`` epochs, possibly a fraction."""
        if epoch < self.detector_warm_up:
            return self.detector_rate * epoch / self.detector_warm_up
        share = (epoch - self.detector_warm_up) / max(1, self.detector_epochs - self.detector_warm_up)
        return self.detector_rate * 0.5 * (1 + math.cos(math.pi * share))


class Pyramid(nn.Module):
    """What torchvision's detectors expect of a backbone: named maps of equal width."""

    def __init__(self, backbone: FeatureBackbone, out_channels: int) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, out_channels
        self.pyramid = FeaturePyramidNetwork(backbone.feature_info.channels(), out_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        named: dict[str, Tensor] = self.pyramid(OrderedDict((str(level), one) for level, one in enumerate(self.backbone(images))))
        return named


def make_detector(network: nn.Sequential, classes: int, side: int, channels: int = 128) -> FCOS:
    """FCOS behind the coarsest three maps of a network, its modules being the network's own.

    Raises:
        ValueError: a network without feature maps.
    """
    every = feature_backbone(network).feature_info.reduction()
    strides = tuple(every[-3:])
    anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
    backbone = Pyramid(feature_backbone(network, strides), channels)
    return FCOS(backbone, classes + 1, min_size=side, max_size=side, anchor_generator=anchors)


def train_detector(
    detector: nn.Module,
    data: CocoImages,
    options: DetectionOptions,
    device: torch.device,
    seed: int,
    progress: Callable[[int, int, str], None],
) -> tuple[nn.Module, list[float]]:
    """Train in place.

    Returns:
        the moving average in evaluation mode, and the mean loss of every epoch.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    detector.to(device).train()
    optimizer = torch.optim.SGD(detector.parameters(), options.detector_rate, 0.9, weight_decay=4e-5)
    average = AveragedModel(detector, multi_avg_fn=get_ema_multi_avg_fn(options.detector_average), use_buffers=True)
    order = torch.Generator().manual_seed(seed)
    batches = DataLoader(data, min(options.detector_batch, len(data)), True, collate_fn=together, drop_last=True, generator=order)
    losses, steps = [], len(batches)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for epoch in range(options.detector_epochs):
            total = 0.0
            for step, (images, targets) in enumerate(batches):
                moved = [{name: value.to(device) for name, value in target.items()} for target in targets]
                loss = torch.stack(list(detector([image.to(device) for image in images], moved).values())).sum()
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"detector: loss {loss.item()} in epoch {epoch + 1}; lower --detector-rate")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(detector.parameters(), options.detector_clip)
                for group in optimizer.param_groups:
                    group["lr"] = options.rate(epoch + (step + 1) / steps)
                optimizer.step()
                average.update_parameters(detector)
                total += loss.item()
                progress(epoch * steps + step + 1, options.detector_epochs * steps, "training the detector")
            losses.append(total / steps)
    return average.module.eval(), losses


@torch.no_grad()
def average_precision(detector: nn.Module, data: CocoImages, batch: int, device: torch.device) -> dict[str, float] | None:
    """``map`` and ``map_50`` in %; None where torchmetrics or pycocotools is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("torchmetrics", "pycocotools")):
        return None
    metric: Any = importlib.import_module("torchmetrics.detection").MeanAveragePrecision(box_format="xyxy")
    for images, targets in DataLoader(data, batch, collate_fn=together):
        found = detector([image.to(device) for image in images])
        metric.update([{name: value.cpu() for name, value in one.items()} for one in found], targets)
    computed = metric.compute()
    return {name: 100.0 * float(computed[name]) for name in ("map", "map_50")}
