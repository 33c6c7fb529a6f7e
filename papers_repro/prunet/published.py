"""The published rows of PruNet that the scripts print beside ours, labelled as published.

Accuracies are ImageNet top-1 in %, latencies milliseconds of a V100 at half precision, sizes millions of parameters and GFLOPs, as
printed. PRUNET-0 to -6 cannot be rebuilt, the figure that draws them being unavailable: they are quoted and never ours. The
published 28.09 M parameters of ResNet-50 are a slip: the network has 25.56 M (``COUNTS``).

Reference: PruNet, Tables 2, 3 and 6, Fig. 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from papers_repro.harness import Row


@dataclass(frozen=True, slots=True)
class Network:
    """A published row: top-1 in %, latency in ms, millions of parameters, GFLOPs."""

    name: str
    top1: float
    latency_ms: float
    parameters: float
    gflops: float


FRONT: tuple[Network, ...] = (
    Network("EfficientNet-B0", 77.1, 0.94, 5.28, 0.38),
    Network("EfficientNetX-B0-GPU", 77.3, 0.96, 7.6, 0.91),
    Network("REGNETY-1.6GF", 78.0, 2.55, 11.2, 1.6),
    Network("PRUNET-0", 78.4, 0.48, 11.3, 2.10),
    Network("OFA 389", 79.1, 0.94, 8.4, 0.39),
    Network("EfficientNetX-B1-GPU", 79.4, 1.37, 9.6, 1.58),
    Network("OFA 482", 79.6, 1.06, 9.1, 0.48),
    Network("PRUNET-1", 79.6, 0.56, 14.8, 2.57),
    Network("FBNetV3-B", 79.8, 1.5, 8.6, 0.46),
    Network("EfficientNetX-B2-GPU", 80.0, 1.46, 10.0, 2.3),
    Network("OFA 595", 80.0, 1.09, 9.1, 0.6),
    Network("EfficientNet-B2", 80.3, 1.65, 9.2, 1.0),
    Network("ResNet-50", 80.3, 1.1, 28.09, 4.0),
    Network("GPUNet-1", 80.5, 0.69, 12.7, 3.3),
    Network("PRUNET-2", 80.7, 0.66, 18.6, 3.31),
    Network("REGNETY-32GF", 81.0, 4.97, 145.0, 32.3),
    Network("PRUNET-3", 81.2, 0.77, 20.8, 4.05),
    Network("EfficientNetX-B3-GPU", 81.4, 1.9, 13.3, 4.3),
    Network("PRUNET-4", 81.5, 0.91, 24.0, 4.25),
    Network("EfficientNet-B3", 81.6, 2.04, 12.0, 1.8),
    Network("PRUNET-5", 81.9, 1.07, 27.5, 5.29),
    Network("ResNet-101", 82.0, 1.7, 45.0, 7.6),
    Network("FBNetV3-F", 82.1, 1.97, 13.9, 1.18),
    Network("GPUNet-2", 82.2, 1.57, 25.8, 8.38),
    Network("PRUNET-6", 82.3, 1.28, 31.1, 7.36),
)
"""Table 2 without distillation."""

DISTILLED: tuple[Network, ...] = (
    Network("PRUNET-0", 80.0, 0.48, 11.3, 2.10),
    Network("GPUNet-0", 80.7, 0.61, 11.9, 3.25),
    Network("PRUNET-1", 81.0, 0.56, 14.8, 2.57),
    Network("GPUNet-1", 81.9, 0.69, 12.7, 3.3),
    Network("PRUNET-2", 82.2, 0.66, 18.6, 3.31),
    Network("PRUNET-3", 82.6, 0.77, 20.8, 4.05),
    Network("PRUNET-4", 83.1, 0.91, 24.0, 4.25),
    Network("PRUNET-5", 83.4, 1.07, 27.5, 5.29),
    Network("GPUNet-2", 83.5, 1.57, 25.8, 8.38),
    Network("EfficientNetV2-S", 83.9, 2.67, 22.0, 8.8),
    Network("PRUNET-6", 84.0, 1.28, 31.1, 7.36),
)
"""Table 2 with distillation."""

COUNTS: dict[str, tuple[str, int, int, int]] = {
    "efficientnet_b0": ("EfficientNet-B0", 224, 5_288_548, 385_814_752),
    "efficientnet_b2": ("EfficientNet-B2", 260, 9_109_994, 993_561_872),
    "efficientnet_b3": ("EfficientNet-B3", 300, 12_233_232, 1_827_141_392),
    "regnety_016": ("REGNETY-1.6GF", 224, 11_202_430, 1_612_076_160),
    "regnety_320": ("REGNETY-32GF", 224, 145_046_770, 32_279_552_832),
    "resnet50": ("ResNet-50", 224, 25_557_032, 4_089_184_256),
    "resnet101": ("ResNet-101", 224, 44_549_160, 7_801_405_440),
}
"""What rows of Table 2 stand for, by their names in timm: (name there, resolution, parameters, multiply-adds)."""

TABLE3: tuple[tuple[str, str, int], ...] = (
    ("FBNet", "140", 2**2 * 8**17),
    ("Prunode alone", "140", 2**2 * 24 * 64 * 64 * 96**2 * 96 * 160 * 160 * 288**4 * 288 * 448**4),
    ("block pruning alone", "62", 2**2 * 8**17),
    ("layer skipping alone", "140", 3**2 * 9**17),
    ("all", "62", 3**2 * 24 * 65 * 64 * 97**2 * 96 * 161 * 160 * 289**4 * 288 * 449**4),
)
"""Table 3: (optimization, hours of training, size of the search space by the paper's formula)."""

SKIP_SETTINGS: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.1, 0.85), (1.1, 0.55), (1.1, 0.4))
"""(phi, lambda) of Table 6's columns."""


@dataclass(frozen=True, slots=True)
class PublishedSearch:
    """A cell of Table 6: total loss and number of inverted residuals at (alpha, phi, lambda)."""

    alpha: float
    phi: float
    scale: float
    loss: float
    depth: int


_TABLE6: dict[float, tuple[tuple[float, int], ...]] = {
    2.0: ((6.7149, 6), (6.6316, 7), (6.5968, 9), (6.6241, 11)),
    1.2: ((4.2938, 9), (4.1876, 10), (4.2139, 12), (4.2039, 13)),
    1.0: ((3.6352, 11), (3.6015, 13), (3.6074, 13), (3.6138, 14)),
    0.8: ((3.0027, 13), (2.9932, 14), (2.9762, 14), (2.9692, 15)),
    0.6: ((2.3528, 15), (2.3394, 15), (2.316, 15), (2.3723, 15)),
    0.4: ((1.7154, 16), (1.7201, 17), (1.7296, 16), (1.6946, 16)),
    0.2: ((1.0573, 18), (1.0573, 18), (1.0687, 18), (1.0531, 18)),
}
TABLE6: tuple[PublishedSearch, ...] = tuple(
    PublishedSearch(alpha, *setting, *cell)
    for alpha, cells in _TABLE6.items()
    for setting, cell in zip(SKIP_SETTINGS, cells, strict=True)
)

CONSTANT_THRESHOLD = 0.133
"""Fig. 5, on Imagewoof: searches at this threshold, instead of the rising one, take 15 to 45 % longer for an equal front."""

RISING_THRESHOLDS = (0.133, 0.55)
"""Fig. 5: the threshold on Imagewoof; on ImageNet it rises from 0.15."""

TEACHERS: dict[int, tuple[str, int, float]] = {
    288: ("efficientnet_b3", 300, 0.904),
    320: ("efficientnet_b4", 380, 0.922),
    384: ("efficientnet_b5", 456, 0.934),
}
"""Table 4, by the students' resolution: the teacher, its resolution and crop."""


def front_rows(distilled: bool = False) -> list[Row]:
    """Table 2's rows for the columns ``network``, ``top1``, ``latency``, ``speedup``, ``parameters`` and ``gflops``.

    The speed-up is that of the fastest PRUNET that is at least as accurate over the row's network, from the published latencies.
    """
    table, rows = DISTILLED if distilled else FRONT, list[Row]()
    for row in table:
        better = [one.latency_ms for one in table if one.name.startswith("PRUNET") and one.top1 >= row.top1]
        faster = None if row.name.startswith("PRUNET") or not better else row.latency_ms / min(better)
        numbers = {"top1": row.top1, "latency": row.latency_ms, "parameters": row.parameters, "gflops": row.gflops}
        rows.append({"network": row.name, **numbers, "speedup": faster})
    return rows
