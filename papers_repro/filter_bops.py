"""What filter-level configurations of ResNet-20 cost: bit operations, weight bits, multiply-adds, numbers of configurations.

Every number is computed twice. Bit operations of homogeneous networks: by the corrected (31), which is used everywhere, and by
(27) times the output pixels, which (27) omits. Multiply-adds: by the closed formula, and counted on the extracted network's
modules. Expected multiply-adds: in closed form, and summed over all the widths. The tick says that both agree and are the reference
value, to its last printed digit. The references follow the corrected formulas, on CIFAR-10 images: as printed, (27) lacks H W, (29)
a plus sign and log2 k^2, (31) the multiplicities.

The same at every scale, in seconds.

Reference: Zur et al., Eq. 27-31 and Sec. 3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphs import FLOAT, PAPER_OPERATIONS, FilterSpace, FilterTopology, Operation, resnet_filters, resnet_topology
from graphs.costs import BitOperations, MemoryTraffic, SlimmableMacs, count
from graphs.spaces import Shortcut
from papers_repro.filter_level import finish_axes
from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, new_figure, row_of, save_figure, started

SCRIPT = "filter_bops"
_BITS = ((2, 2), (2, 4), (3, 3), (8, 8), (32, 32))
# GBOPs with projection shortcuts (input at the activation bits; input of 8 bits), with identity shortcuts (input at the activation
# bits), and weight bits with projections.
_GBOPS = {
    (2, 2): (0.653924079, 0.661886703, 0.650647279, 540512),
    (2, 4): (0.898799343, 0.904107759, 0.893949679, 540512),
    (3, 3): (0.939611887, 0.948459247, 0.934500079, 810768),
    (8, 8): (3.592427247, 3.592427247, 3.570276079, 2162048),
    (32, 32): (44.731471599, 44.381116143, 44.445079279, 8648192),
}
_MIXED = {"half w2a2, half w8a8": 1845468736.02, "a quarter of each operation": 1388946805.04}
_MACS = {
    "projection": {0.25: 2633728, 0.5: 10313728, 0.75: 23040000, 1.0: 40812544},
    "identity": {0.25: 2617344, 0.5: 10248192, 0.75: 22892544, 1.0: 40550400},
}
_CLASSIFIER = {0.25: 160, 0.5: 320, 0.75: 480, 1.0: 640}
_EXPECTED_MACS = {0.5: 11452704, 0.75: 23881664}
_SIZES = {"4 operations a layer": 71.88, "with shortcuts' own": 80.38, "a width a layer": 28.30}


@dataclass(frozen=True, slots=True)
class Options(ScriptOptions):
    """Costs of ResNet-20's filter-level configurations, each by two routes and against reference values."""

    scale: Scale = "laptop"
    """The same at every scale."""
    seed: int = 0
    """Not used: nothing is drawn."""
    resume: bool = False
    """Not needed: the script takes seconds."""


def preset(scale: Scale) -> Options:
    return Options(scale)


def main() -> None:
    with started(SCRIPT, preset) as script:
        topologies: dict[Shortcut, FilterTopology] = {s: resnet_topology(shortcut=s) for s in ("projection", "identity")}
        projection = topologies["projection"]
        script.show(_bits(topologies), _mixed(projection), _macs(topologies), _expected(projection), _sizes(topologies))
        _draw(projection, script.picture)
        ticks = [row["tick"] for rows in script.tables for row in rows.ours]
        script.say(f"{ticks.count('✓')} of {len(ticks)} agree.")
    if ticks.count("✓") < len(ticks):
        raise SystemExit("some numbers differ from their references: see the rows without a tick")


def equation_27(topology: FilterTopology, weight_bits: int, activation_bits: int, image_bits: int) -> float:
    """Bit operations of a homogeneous network by (27), times the output pixels of each layer."""
    terms = []
    for layer in topology.layers:
        bits = image_bits if layer.source is None else activation_bits
        accumulator = bits + weight_bits + math.log2(layer.channels * layer.window)
        terms.append(layer.positions * layer.filters * layer.channels * layer.window * (bits * weight_bits + accumulator))
    return math.fsum(terms)


def _bits(topologies: dict[Shortcut, FilterTopology]) -> Rows:
    columns = [
        Column("name", "network", "shortcuts between stages; bits of weights and activations; bits of the image"),
        Column("ours", "GBOPs", "by the corrected (31), 10^9 bit operations of an image", ".9f"),
        Column("other", "(27) x HW", "by the corrected (27)", ".9f"),
        Column("reference", "reference", "to nine decimals", ".9f"),
        Column("memory", "weight bits", "bits of all convolution weights"),
        Column("tick", "✓", "all agree: the two formulas to rounding, the reference to its last digit"),
    ]
    rows: list[Row] = []
    cases: list[tuple[Shortcut, bool, int]] = [("projection", False, 0), ("projection", True, 1), ("identity", False, 2)]
    for shortcut, eight, place in cases:
        for weight_bits, activation_bits in _BITS:
            space = topologies[shortcut].quantization_space((Operation(weight_bits, activation_bits),))
            image = 8 if eight else activation_bits
            ours = BitOperations(space, image).cost(space.homogeneous())
            other = equation_27(topologies[shortcut], weight_bits, activation_bits, image)
            reference = _GBOPS[weight_bits, activation_bits][place]
            memory = int(MemoryTraffic(space).cost(space.homogeneous()))
            good = abs(ours - other) <= 1e-12 * ours and round(ours / 1e9, 9) == reference
            good &= shortcut == "identity" or memory == _GBOPS[weight_bits, activation_bits][3]
            name = f"{shortcut}, w{weight_bits}a{activation_bits}, {image}-bit image"
            rows.append(row_of(columns, name, ours / 1e9, other / 1e9, reference, memory, _tick(good)))
    return Rows("Bit operations of homogeneous ResNet-20", columns, rows)


def _mixed(topology: FilterTopology) -> Rows:
    columns = [
        Column("name", "network", "what every layer gives to the operations; projections, 8-bit image"),
        Column("ours", "BOPs", "by the corrected (31)", ".2f"),
        Column("reference", "reference", "to two decimals", ".2f"),
        Column("tick", "✓", "they agree"),
    ]
    space = topology.quantization_space(PAPER_OPERATIONS)
    cost = BitOperations(space)
    counts = (space.units[:, None] * np.array([0.5, 0, 0, 0.5]), space.units[:, None] * np.full(4, 0.25))
    rows: list[Row] = []
    for (name, reference), each in zip(_MIXED.items(), counts, strict=True):
        ours = cost.cost(space.architecture(each))
        rows.append({"name": name, "ours": ours, "reference": reference, "tick": _tick(round(ours, 2) == reference)})
    return Rows("Bit operations of heterogeneous ResNet-20", columns, rows)


def _macs(topologies: dict[Shortcut, FilterTopology]) -> Rows:
    columns = [
        Column("name", "network", "shortcuts between stages, share of the filters kept everywhere"),
        Column("ours", "MACs", "multiply-adds of the convolutions, by the formula"),
        Column("other", "counted", "on the modules of the network that is extracted"),
        Column("reference", "reference", "a whole number"),
        Column("classifier", "classifier", "multiply-adds of the fully connected layer, besides"),
        Column("tick", "✓", "all agree"),
    ]
    rows: list[Row] = []
    for shortcut, topology in topologies.items():
        space, network = topology.width_space(), resnet_filters(shortcut=shortcut, operations=(FLOAT,))
        for share, reference in _MACS[shortcut].items():
            architecture = space.homogeneous(share=share)
            ours = int(SlimmableMacs(space).cost(architecture))
            network.configure(space.layer_counts(architecture))
            with_classifier = int(SlimmableMacs(space, classes=10).cost(architecture))
            counted = count(network.extract(), (3, 32, 32)).macs
            good = ours == reference and counted == with_classifier and with_classifier - ours == _CLASSIFIER[share]
            last = with_classifier - ours
            rows.append(row_of(columns, f"{shortcut}, x{share:g}", ours, counted - last, reference, last, _tick(good)))
    return Rows("Multiply-adds of slimmable ResNet-20", columns, rows)


def _expected(topology: FilterTopology) -> Rows:
    columns = [
        Column("name", "law", "block-binomial: 1 + Binomial(C - 1, p) filters a stage"),
        Column("ours", "E[MACs]", "in closed form", ".2f"),
        Column("other", "summed", "over all 16 x 32 x 64 configurations", ".2f"),
        Column("reference", "reference", "a whole number"),
        Column("tick", "✓", "all agree"),
    ]
    space = topology.width_space(per="stage")
    cost = SlimmableMacs(space)
    rows: list[Row] = []
    for p, reference in _EXPECTED_MACS.items():
        ours = cost.expectation(np.full(len(space.units), p))
        other = _enumerated(space, cost, p)
        good = abs(ours - other) <= 1e-9 * ours and round(ours) == reference
        rows.append({"name": f"p = {p:g}", "ours": ours, "other": other, "reference": reference, "tick": _tick(good)})
    return Rows("Expected multiply-adds", columns, rows)


def _enumerated(space: FilterSpace, cost: SlimmableMacs, p: float) -> float:
    laws = []
    for units in space.units.tolist():
        kept = range(units)
        laws.append([math.comb(units - 1, k) * p**k * (1 - p) ** (units - 1 - k) for k in kept])
    widths = np.array(list(itertools.product(*(range(1, units + 1) for units in space.units.tolist()))))
    weights = np.prod([np.array(law)[widths[:, d] - 1] for d, law in enumerate(laws)], axis=0)
    return float(weights @ cost.of_widths(widths))


def _sizes(topologies: dict[Shortcut, FilterTopology]) -> Rows:
    columns = [
        Column("name", "space", "what is decided, ResNet-20"),
        Column("ours", "log10", "of the number of configurations", ".2f"),
        Column("other", "counted", "the same by exact whole numbers", ".2f"),
        Column("reference", "reference", "to two decimals", ".2f"),
        Column("tick", "✓", "all agree"),
    ]
    topology = topologies["projection"]
    spaces = (topology.quantization_space(), topology.quantization_space(shortcuts="own"), topology.width_space())
    exact = [math.prod(math.comb(int(n) + 3, 3) for n in space.units) for space in spaces[:2]]
    exact.append(math.prod(int(n) for n in spaces[2].units))
    rows: list[Row] = []
    for (name, reference), space, number in zip(_SIZES.items(), spaces, exact, strict=True):
        ours, other = space.log10_size, math.log10(number)
        good = abs(ours - other) < 1e-9 and round(ours, 2) == reference
        rows.append({"name": name, "ours": ours, "other": other, "reference": reference, "tick": _tick(good)})
    stages = topology.width_space(per="stage")
    number = math.prod(stages.units.tolist())
    good = number == 32768 == round(10**stages.log10_size)
    sizes = stages.log10_size, math.log10(number), math.log10(32768)
    rows.append(row_of(columns, "a width a stage (32768)", *sizes, _tick(good)))
    return Rows("Numbers of configurations", columns, rows)


def _tick(good: bool) -> str:
    return "✓" if good else "differs"


def _draw(topology: FilterTopology, path: Path) -> None:
    figure = new_figure(10.0, 4.4)
    panel = figure.subplots()
    places = np.arange(len(topology.layers))
    colours: Sequence[str] = ("#9fc5e8", "#5b9bd5", "#f0a35e", "#33475b")
    for index, (operation, colour) in enumerate(zip(PAPER_OPERATIONS, colours, strict=True)):
        space = topology.quantization_space((operation,))
        cost = BitOperations(space)
        layers = cost.layers(space.layer_counts(space.homogeneous())) / 1e6
        label = f"{operation.name}: {cost.cost(space.homogeneous()) / 1e9:.3f} GBOPs"
        panel.bar(places + 0.2 * (index - 1.5), layers, 0.2, color=colour, label=label)
    names = [layer.name.replace("stages.", "").replace("shortcut.conv", "shortcut") for layer in topology.layers]
    panel.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    panel.set_ylim(0, 300)  # room for the legend
    finish_axes(panel, "", "bit operations, millions", "ResNet-20 layer by layer, 8-bit image, one operation everywhere")
    panel.legend(fontsize=9, frameon=False, ncols=2, loc="upper center")  # above the bars: the names of layers stand below
    save_figure(figure, path)


if __name__ == "__main__":
    main()
