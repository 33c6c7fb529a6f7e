"""The images that exported files tell of are those that a network was tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from constrained_nas.data import image_folder


@pytest.mark.parametrize("side", [16, 80])
def test_images_prepared_as_told_are_the_images_of_the_tests(side: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for part in ("train", "val"):
        for name in ("zebra", "ant"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    data = image_folder(tmp_path, side, 0.5, recipe="crop_flip")
    told = data.preparation
    assert told.classes == ("ant", "zebra")
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    from torchvision.transforms.v2 import functional

    if side == 16:
        assert told.sizing == "resized to 16 x 16"
        sized = functional.resize(image, [16, 16], antialias=True)
    else:
        assert told.sizing == "shorter side resized to 91, then the central 80 x 80"
        sized = functional.center_crop(functional.resize(image, [91], antialias=True), [80, 80])
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (told.mean, told.deviation))
    torch.testing.assert_close(data.test[0][0], (sized / 255 - mean) / deviation, atol=0.02, rtol=0)
