"""The six networks that were published with HardCoRe-NAS, as timm block strings, with weights of timm's files.

Reference: Nayman et al., HardCoRe-NAS, Table 1 (CPU); the strings are those of the authors' release as the library timm carries it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from graphs.spaces.block_strings import network_from_strings
from graphs.spaces.timm_weights import load_timm_weights


def _stages(*stages: str) -> tuple[tuple[str, ...], ...]:
    return (("ds_r1_k3_s1_e1_c16_nre",), *(tuple(stage.split()) for stage in stages), ("cn_r1_k1_s1_c960",))


HARDCORE_NETWORKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "A": _stages(
        "ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25",
        "ir_r1_k5_s2_e3_c40_nre ir_r1_k5_s1_e6_c40_nre_se0.25",
        "ir_r1_k5_s2_e6_c80_se0.25 ir_r1_k5_s1_e6_c80_se0.25",
        "ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25",
        "ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25",
    ),
    "B": _stages(
        "ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25 ir_r1_k3_s1_e3_c24_nre",
        "ir_r1_k5_s2_e3_c40_nre ir_r1_k5_s1_e3_c40_nre ir_r1_k5_s1_e3_c40_nre",
        "ir_r1_k5_s2_e3_c80 ir_r1_k5_s1_e3_c80 ir_r1_k3_s1_e3_c80 ir_r1_k3_s1_e3_c80",
        "ir_r1_k5_s1_e3_c112 ir_r1_k3_s1_e3_c112 ir_r1_k3_s1_e3_c112 ir_r1_k3_s1_e3_c112",
        "ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e3_c192_se0.25",
    ),
    "C": _stages(
        "ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25",
        "ir_r1_k5_s2_e3_c40_nre ir_r1_k5_s1_e3_c40_nre ir_r1_k5_s1_e3_c40_nre ir_r1_k5_s1_e3_c40_nre",
        "ir_r1_k5_s2_e4_c80 ir_r1_k5_s1_e6_c80_se0.25 ir_r1_k3_s1_e3_c80 ir_r1_k3_s1_e3_c80",
        "ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k3_s1_e3_c112 ir_r1_k3_s1_e3_c112 ir_r1_k3_s1_e3_c112",
        "ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e3_c192_se0.25",
    ),
    "D": _stages(
        "ir_r1_k5_s2_e3_c24_nre_se0.25 ir_r1_k5_s1_e3_c24_nre_se0.25",
        "ir_r1_k5_s2_e3_c40_nre_se0.25 ir_r1_k5_s1_e4_c40_nre_se0.25 ir_r1_k3_s1_e3_c40_nre_se0.25",
        "ir_r1_k5_s2_e4_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25",
        "ir_r1_k3_s1_e4_c112_se0.25 ir_r1_k5_s1_e4_c112_se0.25 ir_r1_k3_s1_e3_c112_se0.25 ir_r1_k5_s1_e3_c112_se0.25",
        "ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25",
    ),
    "E": _stages(
        "ir_r1_k5_s2_e3_c24_nre_se0.25 ir_r1_k5_s1_e3_c24_nre_se0.25",
        "ir_r1_k5_s2_e6_c40_nre_se0.25 ir_r1_k5_s1_e4_c40_nre_se0.25 ir_r1_k5_s1_e4_c40_nre_se0.25 ir_r1_k3_s1_e3_c40_nre_se0.25",
        "ir_r1_k5_s2_e4_c80_se0.25 ir_r1_k3_s1_e6_c80_se0.25",
        "ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e3_c112_se0.25",
        "ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25",
    ),
    "F": _stages(
        "ir_r1_k5_s2_e3_c24_nre_se0.25 ir_r1_k5_s1_e3_c24_nre_se0.25",
        "ir_r1_k5_s2_e6_c40_nre_se0.25 ir_r1_k5_s1_e6_c40_nre_se0.25",
        "ir_r1_k5_s2_e6_c80_se0.25 ir_r1_k5_s1_e6_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25",
        "ir_r1_k3_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k3_s1_e3_c112_se0.25",
        "ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25",
    ),
}
"""By letter; each is an architecture of ``hardcore_imagenet("release")``, see :func:`graphs.read_architecture_strings`."""


def hardcore_network(
    name: str, weights: Path | str | Mapping[str, Tensor] | None = None, classes: int = 1000, image_channels: int = 3
) -> nn.Sequential:
    """A published network: (B, image channels, H, W) -> (B, classes); made for images of 224 pixels.

    Args:
        name: ``A`` to ``F``, or timm's ``hardcorenas_a`` to ``hardcorenas_f``.
        weights: a file or a state dict of timm's network of that name, see :func:`load_timm_weights`; the network is then in
            evaluation mode. None for fresh weights from torch's global generator.
        classes, image_channels: of the data, and of the weights.

    Raises:
        ValueError: none of the six; weights that cannot be read, or are of another network.
        FileNotFoundError: there is no such file.

    Example:
        >>> network = hardcore_network("hardcorenas_a", classes=10)
        >>> sum(tensor.numel() for tensor in network.parameters())
        3992042
    """
    letter = name.lower().removeprefix("hardcorenas_").upper()
    if letter not in HARDCORE_NETWORKS:
        known = ", ".join(f"hardcorenas_{each.lower()}" for each in HARDCORE_NETWORKS)
        raise ValueError(f"no published network {name!r}; there are {known}")
    network = network_from_strings(HARDCORE_NETWORKS[letter], classes, image_channels)
    if weights is not None:
        load_timm_weights(network, weights)
        network.eval()
    return network
