"""Teachers for distillation by name: networks of timm, each shown the student's images at a resolution of its own.

PruNet retrains its networks under EfficientNets that are trained at a higher resolution than theirs (Table 4: B3 at 300 pixels for
students at 288, B4 at 380 for 320, B5 at 456 for 384). Here both see the same augmented image: it is loaded at the student's
resolution and resampled for the teacher, so that one data loader serves both.

timm is optional and imported when a teacher is asked for.

Reference: PruNet, Table 4; Hinton et al. 2015; Wightman, PyTorch Image Models.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Images of folders are scaled by ImageNet's mean and deviation (constrained_nas.data.images); some published networks were not.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResampledTeacher(nn.Module):
    """A network behind a resampling of its images: (B, C, H, W) -> (B, classes).

    Attributes:
        network: sees (B, C, resolution, resolution).
        gain, shift: by which every channel is scaled first, (C, 1, 1) or a scalar.
    """

    gain: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, resolution: int, gain: Tensor | None = None, shift: Tensor | None = None) -> None:
        super().__init__()
        if resolution < 1:
            raise ValueError(f"teacher: expected a resolution of at least a pixel, got {resolution}")
        self.network, self.resolution = network, resolution
        self.register_buffer("gain", torch.ones(()) if gain is None else gain)
        self.register_buffer("shift", torch.zeros(()) if shift is None else shift)

    def forward(self, images: Tensor) -> Tensor:
        images = images * self.gain + self.shift
        if images.shape[-2:] != (self.resolution, self.resolution):
            images = functional.interpolate(images, size=(self.resolution,) * 2, mode="bicubic", antialias=True)
        logits: Tensor = self.network(images)
        return logits


def timm_teacher(
    name: str, classes: int, image_channels: int = 3, resolution: int | None = None, weights: Path | None = None
) -> ResampledTeacher:
    """The teacher that timm calls ``name``, in evaluation mode; ``classes`` and ``image_channels`` are those of the student's data.

    Args:
        name: a model of timm, with a tag of its weights or without: ``efficientnet_b3``, ``efficientnet_b3.ra2_in1k``.
        resolution: side of the images that it sees, in pixels; None for what timm trained it at.
        weights: a safetensors file of a network trained on the student's data, scaled alike; None for timm's own, which timm
            downloads, for images scaled by ImageNet's mean and deviation.

    Raises:
        ValueError: timm is missing or has no such model; its own weights are for other classes or channels; a file that does not
            fit; a resolution below a pixel.
        FileNotFoundError: there is no such file.
    """
    if importlib.util.find_spec("timm") is None:
        raise ValueError(f"teacher {name!r}: timm is not installed: pip install 'constrained-nas[timm]'")
    timm: Any = importlib.import_module("timm")
    if not timm.is_model(name):
        raise ValueError(f"teacher: timm {timm.__version__} has no model {name!r}; timm.list_models() names them")
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"teacher: no file {weights}")
    with torch.random.fork_rng(devices=[]):
        if weights is None:
            known = timm.create_model(name, pretrained=False).num_classes
            if (known, image_channels) != (classes, 3):
                raise ValueError(
                    f"teacher {name!r}: its own weights are for {known} classes and colour images, the data have {classes} classes "
                    f"and {image_channels} channel(s); give the weights of one that was trained on the data"
                )
        network = timm.create_model(name, pretrained=weights is None, num_classes=classes, in_chans=image_channels)
    side = network.pretrained_cfg["input_size"][-1] if resolution is None else resolution
    if weights is not None:
        _load(network, weights, name)
        return ResampledTeacher(network, side).eval()
    mean, deviation, own_mean, own = (
        torch.tensor(values).reshape(3, 1, 1)
        for values in (_MEAN, _DEVIATION, network.pretrained_cfg["mean"], network.pretrained_cfg["std"])
    )
    return ResampledTeacher(network, side, deviation / own, (mean - own_mean) / own).eval()


def _load(network: nn.Module, weights: Path, name: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"teacher: {weights} does not hold weights of {name!r} for these classes and channels: {first}") from error
