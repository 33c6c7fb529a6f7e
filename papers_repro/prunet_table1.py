"""Tables 1 and 5 of PruNet, and the sizes of its search spaces: the plan of every stage, and how many networks there are.

Sizes are exact integers, counted from the space that the search uses and, beside them, from the paper's formulas (its Table 3 and
Sec. 3.1). The formulas assume depths 2, 3, 2, 5, 5 of stages 2 to 6; Table 1 as printed sums to 19 inverted residuals, Table 5 to
18. Nothing is trained, so the scale changes nothing.

Reference: PruNet, Tables 1, 3 and 5, Sec. 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphs.blocks import BlockChoice
from graphs.spaces import GPUNetSpace, gpunet_imagenet, gpunet_imagewoof, gpunet_small
from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, row_of, started
from papers_repro.prunet import TABLE3

SCRIPT = "prunet_table1"

_FORMULA_DEPTHS = (2, 3, 2, 5, 5)
_SIZES = {
    "FBNet": ("fbnet", "2^2 8^17"),
    "Prunode alone": ("prunode", "2^2 24 64 64 96^2 96 160 160 288^4 288 448^4"),
    "block pruning alone": ("fbnet", "2^2 8^17"),
    "layer skipping alone": ("layer_skipping", "3^2 9^17"),
    "all": ("all", "3^2 24 65 64 97^2 96 161 160 289^4 288 449^4"),
}


@dataclass(frozen=True)
class Options(ScriptOptions):
    """The search spaces: stages, choices and numbers of networks."""

    scale: Scale = "laptop"
    """Of no consequence here: nothing is trained or measured."""
    seed: int = 0
    """Of no consequence either: nothing is drawn."""
    resume: bool = False
    """There is nothing to resume; accepted because every script has it."""
    depths: tuple[int, int, int, int, int] = (3, 3, 2, 5, 5)
    """Inverted residuals of stages 2 to 6 of the ImageNet space."""
    granularity: int = 32
    """Step between permissible hidden widths, in channels."""


def preset(scale: Scale) -> Options:
    return Options(scale)


def main() -> None:
    with started(SCRIPT, preset) as script:
        searched = gpunet_imagenet(depths=script.options.depths, granularity=script.options.granularity)
        spaces = [
            ("Table 1", searched),
            ("Table 1 as printed, 19 IRBs", gpunet_imagenet(depths=(3, 3, 2, 5, 6))),
            ("Table 1 at the depths of its formulas", gpunet_imagenet(depths=_FORMULA_DEPTHS)),
            ("Table 5, Imagewoof", gpunet_imagewoof()),
            ("laptop scale", gpunet_small(resolution=16)),
        ]
        script.show(
            stage_rows("Table 1: the ImageNet space", searched),
            stage_rows("Table 5: the Imagewoof space", gpunet_imagewoof()),
            formula_rows(),
            size_rows(spaces),
        )


def stage_rows(title: str, space: GPUNetSpace) -> Rows:
    """The plan of a space, a row a stage."""
    s = space.settings
    columns = [
        Column("stage", "stage", "number and operator; IRB: inverted residual, fused: with one full convolution in front"),
        Column("depth", "layers", "of the stage"),
        Column("stride", "stride", "of the stage's first layer"),
        Column("channels", "channels", "after every layer of the stage"),
        Column("blocks", "blocks", "candidates of a layer: activation, kernels, x2: with and without squeeze-and-excitation"),
        Column("widths", "widths", "hidden widths of the first / of the other layers, narrowest-widest"),
        Column("choices", "choices", "options of the first / of the other layers, the skip included where the shape is kept"),
    ]
    ours = [row_of(columns, "0 conv k3", 1, s.stem_stride, s.stem_channels, s.stem_activation, None, "1")]
    names = {"convolution": "conv", "fused": "fused IRB", "inverted": "IRB"}
    for number, stage in enumerate(s.stages, start=1):
        layers = [shape for name, shape in space.layers.items() if name.startswith(f"stage{number}.")]
        kept = dict.fromkeys(layers)  # the first layer and, where they differ, the others
        name, candidates = f"{number} {names[stage.operator]}", _candidates(stage.blocks)
        widths = " / ".join(f"{shape.widths[0]}-{shape.widths[-1]}" if shape.widths else "-" for shape in kept)
        choices = " / ".join(str(len(shape.options)) for shape in kept)
        ours.append(row_of(columns, name, stage.depth, stage.stride, stage.channels, candidates, widths, choices))
    ours.append(row_of(columns, "head: conv k1", 1, 1, s.head_channels, s.head_activation, None, "1"))
    remark = (
        f"Resolution {s.resolution}, expansion up to {s.expansion}, granularity {s.granularity} channels; "
        f"{len(space.layers)} searched layers, {len(space.unique_blocks)} different blocks for a latency table."
    )
    return Rows(title, columns, ours, remark=remark)


def _candidates(blocks: Sequence[BlockChoice]) -> str:
    """``swish k3,5 x2``: every kernel with and without squeeze-and-excitation."""
    parts = []
    for activation in dict.fromkeys(block.activation for block in blocks):
        some = [block for block in blocks if block.activation == activation]
        kernels = ",".join(map(str, dict.fromkeys(block.kernel for block in some)))
        parts.append(f"{activation} k{kernels}" + (" x2" if any(block.squeeze_excite for block in some) else ""))
    return "; ".join(parts)


def formula_rows() -> Rows:
    """The paper's formulas against the space, to the digit."""
    space = gpunet_imagenet(depths=_FORMULA_DEPTHS)
    columns = [
        Column("optimization", "optimization: formula", "columns of the paper's Table 3; the formula's factors are multiplied"),
        Column("size", "networks", "counted from the space at depths 2, 3, 2, 5, 5, an exact integer"),
        Column("equal", "=", "whether the formula, multiplied out, is the same integer"),
    ]
    ours: list[Row] = []
    for name, _, value in TABLE3:
        attribute, formula = _SIZES[name]
        counted = int(getattr(space.sizes, attribute))
        ours.append({"optimization": f"{name}: {formula}", "size": str(counted), "equal": counted == value})
    sizes = space.sizes
    ratio = f"All over FBNet: {sizes.all / sizes.fbnet:.4g}."
    remark = f"{ratio} A layer that changes the shape has no skip, except in the formula 3^2 9^17."
    return Rows("Sizes by the paper's formulas", columns, ours, remark=remark)


def size_rows(spaces: Sequence[tuple[str, GPUNetSpace]]) -> Rows:
    """The sizes of several spaces, to four digits and exactly in the record."""
    columns = [
        Column("space", "space", "which"),
        Column("depths", "depths", "layers of its stages"),
        Column("blocks", "blocks", "different (layer shape, block, width) that a latency table must know"),
        Column("fbnet", "FBNet", "networks of two widths a block; block pruning does not change it"),
        Column("prunode", "Prunode", "networks of every width"),
        Column("skipping", "skipping", "FBNet with a skip in every layer, as in the paper's formula"),
        Column("all", "all", "every width, and a skip where the shape is kept: what is searched"),
    ]
    ours: list[Row] = [
        {
            "space": name,
            "depths": ",".join(str(stage.depth) for stage in space.settings.stages),
            "blocks": len(space.unique_blocks),
            "fbnet": f"{space.sizes.fbnet:.4g}",
            "prunode": f"{space.sizes.prunode:.4g}",
            "skipping": f"{space.sizes.layer_skipping:.4g}",
            "all": f"{space.sizes.all:.4g}",
        }
        for name, space in spaces
    ]
    return Rows("Sizes of the spaces here", columns, ours)


if __name__ == "__main__":
    main()
