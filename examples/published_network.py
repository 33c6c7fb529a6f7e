"""A network that was published with HardCoRe-NAS, with the weights that timm keeps for it, as files that need torch alone.

timm's weights are safetensors files; nothing is downloaded here, and timm is not needed:

    python examples/published_network.py hardcorenas_a --weights hardcorenas_a.safetensors

The network is built from its block strings by this library, so that what works on found networks works on it: it can be exported,
put behind a detector (``graphs.feature_backbone``) or fine-tuned (``constrained_nas.training.fine_tune``). Where timm is installed
its layers are given their own bits by ``constrained-nas quantise hardcorenas_a --weights FILE --data IMAGES --budget size=4MB``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from constrained_nas.export import export_python
from graphs import hardcore_imagenet, hardcore_network, read_architecture_strings
from graphs.costs import count
from graphs.spaces import HARDCORE_NETWORKS

SIDE = 224  # pixels


@dataclass(frozen=True)
class Options:
    """A published network as files that need torch alone."""

    name: Annotated[str, tyro.conf.Positional] = "hardcorenas_a"
    """hardcorenas_a to hardcorenas_f."""
    weights: Path | None = None
    """timm's file of that network; fresh weights without it."""
    out: Path = Path("runs/published_network")
    """Folder of network.py and network.safetensors."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, count and write the network."""
    options = tyro.cli(Options, args=arguments)
    torch.manual_seed(0)
    try:
        network = hardcore_network(options.name, options.weights).eval()
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error
    counted = count(network, (3, SIDE, SIDE))
    print(f"{options.name}: {counted.parameters:,} parameters, {counted.macs:,} multiply-adds at {SIDE} x {SIDE} pixels")
    space = hardcore_imagenet()
    architecture = read_architecture_strings(space, HARDCORE_NETWORKS[options.name[-1].upper()])
    chosen = space.space.describe(architecture)
    depths = [chosen[f"stage{stage + 1}.depth"] for stage in range(len(space.settings.stages))]
    print(f"one of {space.architectures:.1e} networks of {space.space.name}; blocks a stage: {', '.join(depths)}")
    files = export_python(network, torch.randn(2, 3, 64, 64), options.out)
    print(f"{files.source} and {files.weights}: the same outputs to the bit, with torch alone")


if __name__ == "__main__":
    main()
