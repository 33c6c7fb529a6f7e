"""Published networks through our counter: parameters and multiply-adds of timm's models to the digit (PruNet, Table 2).

The published ResNet-50 row says 28.09 M parameters; the network has 25.56 M.
"""

from __future__ import annotations

import pytest
import torch

from graphs.costs import Counts, count

PUBLISHED = {
    "efficientnet_b0": (224, Counts(macs=385_814_752, parameters=5_288_548)),
    "efficientnet_b2": (260, Counts(macs=993_561_872, parameters=9_109_994)),
    "efficientnet_b3": (300, Counts(macs=1_827_141_392, parameters=12_233_232)),
    "regnety_016": (224, Counts(macs=1_612_076_160, parameters=11_202_430)),
    "regnety_320": (224, Counts(macs=32_279_552_832, parameters=145_046_770)),
    "resnet50": (224, Counts(macs=4_089_184_256, parameters=25_557_032)),
    "resnet101": (224, Counts(macs=7_801_405_440, parameters=44_549_160)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_timm_models(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is an optional peer: install it to check its models' counts")
    resolution, expected = PUBLISHED[name]
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
        assert count(network, (3, resolution, resolution)) == expected
