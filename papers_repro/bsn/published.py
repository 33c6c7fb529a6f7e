"""The published rows of Budgeted Super Networks that the scripts print and draw beside ours, labelled as published.

Reference networks (ResNets, convolutional neural fabrics) have exact costs: they follow from the paper's counting convention and
agree with every digit it prints, which are fewer than stand here. Of the whole ResNet fabrics it prints nothing but the steps of
the one with 18 blocks a group (320, 179 and 110). Learned networks are results on the authors' data and seeds, quoted as printed;
some of their costs match no choice of modules. MSDNet's points were read off a plot.

Reference: Véniat & Denoyer, Learning Time/Memory-Efficient Deep Architectures with Budgeted Super Networks, Tables 1-9, Fig. 2, 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CostName = Literal["macs", "macs-published", "parameters", "steps-1", "steps-2", "steps-4"]
DataName = Literal["CIFAR-10", "CIFAR-100", "Part Labels"]
Points = tuple[tuple[float, float], ...]

MACHINES = (1, 2, 4)  # of the paper's distributed costs
COST_UNITS: dict[CostName, tuple[str, float]] = {  # unit of printed costs, and how many of ours make one
    "macs": ("M multiply-adds", 1e6),  # as they run
    "macs-published": ("M multiply-adds as published", 1e6),  # convolutions after up-sampling at a fourth
    "parameters": ("M parameters", 1e6),
    "steps-1": ("steps on 1 machine", 1.0),
    "steps-2": ("steps on 2 machines", 1.0),
    "steps-4": ("steps on 4 machines", 1.0),
}


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """A reference network and what the whole of it costs on CIFAR-10 (Part Labels for segmentation), by the paper's convention.

    Attributes:
        name: as ``constrained_nas.commands.describe`` names it.
        parameters, macs: exact.
        steps: sequential steps on 1, 2 and 4 machines.
    """

    name: str
    parameters: int
    macs: int
    steps: tuple[int, int, int]

    def cost(self, cost: CostName, data: DataName = "CIFAR-10") -> int:
        """Its cost; 100 classes take 90 more outputs of 64 inputs each in the head of a ResNet.

        Raises:
            ValueError: a cost that the paper does not give for CIFAR-100.
        """
        if data == "CIFAR-100" and cost in ("macs", "macs-published", "parameters"):
            if cost == "parameters" or not self.name.startswith("resnet"):
                raise ValueError(f"the paper gives no {cost} of {self.name} on CIFAR-100")
            return self.macs + 90 * 64
        if cost == "parameters":
            return self.parameters
        return self.macs if cost in ("macs", "macs-published") else self.steps[MACHINES.index(int(cost.removeprefix("steps-")))]


NETWORKS: tuple[PublishedNetwork, ...] = (
    PublishedNetwork("resnet-20", 273_258, 40_899_200, (22, 20, 20)),
    PublishedNetwork("resnet-32", 468_138, 69_268_096, (34, 32, 32)),
    PublishedNetwork("resnet-44", 663_018, 97_636_992, (46, 44, 44)),
    PublishedNetwork("resnet-56", 857_898, 126_005_888, (58, 56, 56)),
    PublishedNetwork("resnet-110", 1_734_858, 253_665_920, (112, 110, 110)),
    PublishedNetwork("cnf-1", 744_330, 53_822_720, (12, 12, 12)),
    PublishedNetwork("cnf-2", 3_848_970, 406_209_536, (39, 26, 19)),
    PublishedNetwork("cnf-4", 8_579_850, 1_010_330_880, (83, 47, 31)),
    PublishedNetwork("cnf-8", 18_041_610, 2_218_573_568, (171, 90, 53)),
    PublishedNetwork("cnf-segmentation-8", 7_079_811, 35_613_551_808, (264, 145, 83)),
)

FABRICS: tuple[PublishedNetwork, ...] = (
    PublishedNetwork("resnet-fabric-3", 760_586, 91_140_736, (50, 29, 20)),
    PublishedNetwork("resnet-fabric-5", 1_390_730, 163_697_280, (86, 49, 32)),
    PublishedNetwork("resnet-fabric-7", 2_020_874, 236_253_824, (122, 69, 44)),
    PublishedNetwork("resnet-fabric-9", 2_651_018, 308_810_368, (158, 89, 56)),
    PublishedNetwork("resnet-fabric-18", 5_486_666, 635_314_816, (320, 179, 110)),
)

# Accuracy % of the reference networks: (trained by the authors of the paper, as originally published)
_REFERENCE_ACCURACIES: dict[DataName, dict[str, tuple[float, float | None]]] = {
    "CIFAR-10": {
        "resnet-110": (94.09, 93.57),
        "resnet-56": (93.61, 93.03),
        "resnet-44": (93.21, 92.83),
        "resnet-32": (92.91, 92.49),
        "resnet-20": (92.19, 91.25),
        "cnf-8": (94.83, 90.58),
        "cnf-4": (93.75, 87.91),
        "cnf-2": (92.54, 86.21),
        "cnf-1": (89.91, None),
    },
    "CIFAR-100": {
        "resnet-110": (71.85, None),
        "resnet-56": (70.57, None),
        "resnet-44": (70.28, None),
        "resnet-32": (69.28, None),
        "resnet-20": (67.14, None),
    },
    "Part Labels": {"cnf-segmentation-8": (95.06, 95.39)},
}


@dataclass(frozen=True, slots=True)
class PublishedCurve:
    """Published networks of one family: (cost, accuracy in %) points.

    ``unit`` is that of the points' costs: millions (macs and parameters; thousands of millions for Part Labels) or steps.
    """

    data: DataName
    cost: CostName
    family: str
    points: Points

    @property
    def unit(self) -> str:
        """Of the costs."""
        return "G multiply-adds" if self.data == "Part Labels" else COST_UNITS[self.cost][0]


def _curve(data: DataName, cost: CostName, family: str, points: str) -> PublishedCurve:
    """From ``cost:accuracy`` points, as the paper orders them."""
    pairs = [point.split(":") for point in points.split()]
    return PublishedCurve(data, cost, family, tuple((float(x), float(y)) for x, y in pairs))


CURVES: tuple[PublishedCurve, ...] = (
    _curve("CIFAR-10", "macs", "LCCL", "166:93.44 65:92.71 49:92.56 26:91.68"),
    _curve("CIFAR-10", "macs", "MSDNet", "255:94.1 225:94.0 205:94.0 180:94.0 145:93.8 119:93.7 97:93.3 80:92.8 45:91.8 25:90.0"),
    _curve(
        "CIFAR-10", "macs", "B-ResNet", "407.51:94.29 258.20:94.15 152.60:94.01 120.20:93.71 56.47:92.92 42.69:92.48 39.25:92.39"
    ),
    _curve("CIFAR-10", "macs", "B-CNF", "2150:94.92 1407:94.85 1144:94.69 103:93.14 85:92.17"),
    _curve("CIFAR-100", "macs", "MSDNet", "215:76.0 180:75.0 150:74.0 109:72.5 80:71.0 45:67.5 15:62.5"),
    _curve("CIFAR-100", "macs", "B-ResNet", "349.5:73.28 115.09:71.46 69.84:70.27 64.96:70.12 46.29:69.02 39.22:68.45"),
    _curve("CIFAR-10", "parameters", "B-ResNet", "4.38:94.35 2.27:94.20 1.29:93.85 0.48:93.42 0.34:92.72 0.30:92.52 0.29:92.17"),
    _curve("CIFAR-10", "parameters", "B-CNF", "7.56:94.88 4.98:94.58 4.28:94.55 3.67:94.42 2.65:94.00 1.19:93.53"),
    _curve("Part Labels", "macs", "B-CNF", "28.49:95.21 21.37:95.43"),
    _curve("CIFAR-10", "steps-1", "B-ResNet", "184:94.42 110:94.12 94:94.01 22:93.06 20:92.29"),
    _curve("CIFAR-10", "steps-1", "B-CNF", "98:95.02 50:94.62 45:94.55 39:94.35 33:93.00 26:92.91 18:92.87"),
    _curve("CIFAR-10", "steps-2", "B-ResNet", "179:94.36 112:94.42 56:94.31 20:93.20 18:92.81"),
    _curve("CIFAR-10", "steps-2", "B-CNF", "47:94.67 30:94.68 28:94.58 24:94.41 20:94.35 18:92.86"),
    _curve("CIFAR-10", "steps-4", "B-ResNet", "110:94.36 58:94.01 20:93.24 18:92.93 16:92.75"),
    _curve("CIFAR-10", "steps-4", "B-CNF", "31:94.96 25:94.72 21:94.36 18:93.86"),
    _curve("CIFAR-100", "steps-1", "B-ResNet", "320:74.35 184:73.85 110:72.88 67:72.02 32:69.60 20:68.48"),
    _curve("CIFAR-100", "steps-2", "B-ResNet", "179:74.35 112:73.85 49:71.84 29:69.94 22:69.09"),
)


def networks_of(data: DataName, cost: CostName) -> list[PublishedNetwork]:
    """The reference networks whose cost and accuracy the paper gives on a data set."""
    known = _REFERENCE_ACCURACIES[data]
    without = ("parameters",) if data == "CIFAR-100" else ()
    return [network for network in NETWORKS if network.name in known and cost not in without]


def curves(data: DataName, cost: CostName) -> list[PublishedCurve]:
    """The published learned curves of a data set under a cost."""
    return [curve for curve in CURVES if (curve.data, curve.cost) == (data, cost)]


def accuracies_of(network: str, data: DataName) -> tuple[float | None, float | None]:
    """Published accuracies in % of a reference network: (trained by the paper's authors, as originally published)."""
    return _REFERENCE_ACCURACIES[data].get(network, (None, None))
