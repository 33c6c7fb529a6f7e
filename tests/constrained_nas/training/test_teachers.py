"""Teachers by name: what they see, whose weights they have, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from support.tiny import striped_data
from torch import Tensor, nn

from constrained_nas.training import TrainingOptions, fine_tune, timm_teacher
from constrained_nas.training.teachers import ResampledTeacher

NAME = "test_efficientnet"  # timm's own small one, 0.1 M parameters


class Seen(nn.Module):
    """Says what it was shown."""

    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        return images.mean((2, 3))


def test_a_teacher_sees_its_own_resolution_and_scale() -> None:
    seen = Seen()
    gain, shift = torch.tensor([2.0, 1.0]).reshape(2, 1, 1), torch.tensor([0.0, -1.0]).reshape(2, 1, 1)
    teacher = ResampledTeacher(seen, 24, gain, shift)
    images = torch.full((3, 2, 16, 16), 0.5)
    images[:, 1] = 3.0
    teacher(images)
    assert seen.images.shape == (3, 2, 24, 24)
    # Cubic weights sum to 1: resampling keeps a constant, up to rounding in float32.
    torch.testing.assert_close(seen.images.mean((0, 2, 3)), torch.tensor([1.0, 2.0]), rtol=1e-5, atol=0.0)
    same = ResampledTeacher(seen, 16)
    noise = torch.randn(2, 2, 16, 16)
    same(noise)
    assert torch.equal(seen.images, noise), "nothing is resampled where the resolutions are the same"
    with pytest.raises(ValueError, match="at least a pixel, got 0"):
        ResampledTeacher(seen, 0)


def test_a_named_teacher_has_the_weights_of_the_file(tmp_path: Path) -> None:
    timm: Any = pytest.importorskip("timm", reason="timm is an optional peer: install it to distil from its networks")
    torch.manual_seed(1)
    trained = timm.create_model(NAME, num_classes=3, in_chans=1).eval()
    save_file(trained.state_dict(), tmp_path / "teacher.safetensors")
    before = torch.get_rng_state()
    teacher = timm_teacher(NAME, 3, 1, 32, tmp_path / "teacher.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert not teacher.training
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(teacher(images), trained(images))
    assert timm_teacher(NAME, 3, 1, None, tmp_path / "teacher.safetensors").resolution == 160  # timm trained it at that

    def train(of: nn.Module | None) -> Tensor:
        torch.manual_seed(0)
        student = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
        options = TrainingOptions(1, 16, 0.05, mixup=0.0)
        fine_tune(student, striped_data(32, 2), options, Fabric(accelerator="cpu", devices=1), of, temperature=2.0)
        return student(images[..., :16, :16])

    assert not torch.equal(train(teacher), train(None)), "the teacher is heard"
    torch.testing.assert_close(dict(teacher.network.state_dict()), dict(trained.state_dict()), rtol=0.0, atol=0.0)


def test_timms_own_weights_see_images_scaled_as_they_were_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    timm: Any = pytest.importorskip("timm", reason="timm is an optional peer: install it to distil from its networks")
    made, asked = timm.create_model, []

    def offline(name: str, pretrained: bool = False, **settings: Any) -> nn.Module:
        asked.append(pretrained)
        network = made(name, pretrained=False, **settings)
        network.pretrained_cfg = dict(network.pretrained_cfg) | {"mean": (0.5,) * 3, "std": (0.5,) * 3}
        return network

    monkeypatch.setattr(timm, "create_model", offline)
    teacher = timm_teacher(NAME, 1000)
    assert asked[-1], "the weights are timm's"
    pixels = torch.rand(1, 3, 4, 4)
    mean, deviation = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(((pixels - mean) / deviation) * teacher.gain + teacher.shift, (pixels - 0.5) / 0.5)


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timm: Any = pytest.importorskip("timm", reason="timm is an optional peer: install it to distil from its networks")
    with pytest.raises(ValueError, match="has no model 'efficientnet_b99'"):
        timm_teacher("efficientnet_b99", 10)
    with pytest.raises(ValueError, match="for 1000 classes and colour images, the data have 10 classes and 1 channel"):
        timm_teacher(NAME, 10, 1)
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere"):
        timm_teacher(NAME, 10, 1, weights=tmp_path / "nowhere")
    wrong = tmp_path / "wrong.safetensors"
    save_file(timm.create_model(NAME, num_classes=4, in_chans=1).state_dict(), wrong)
    with pytest.raises(ValueError, match="does not hold weights of 'test_efficientnet'"):
        timm_teacher(NAME, 10, 1, weights=wrong)
    wrong.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="does not hold weights"):
        timm_teacher(NAME, 10, 1, weights=wrong)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'constrained-nas\[timm\]'"):
        timm_teacher(NAME, 10)
