"""A choice of types as files that other programs take: llama.cpp's tensor types, AutoRound's layer configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from constrained_nas.tables.bit_tables import TYPE_BITS, bits_of
from graphs.files import save_text


def tensor_types(choices: Mapping[str, str]) -> str:
    """Lines ``pattern=type`` for ``llama-quantize --tensor-type-file FILE`` (or one ``--tensor-type`` each): exactly these tensors.

    Raises:
        ValueError: a type that llama.cpp does not have; names the tensor.

    Example:
        >>> print(tensor_types({"blk.0.ffn_up.weight": "Q4_K"}), end="")
        ^blk\\.0\\.ffn_up\\.weight$=q4_k
    """
    lines = []
    for name, kind in choices.items():
        if kind.lower() not in TYPE_BITS:
            raise ValueError(f"tensor {name!r}: llama.cpp has no type {kind!r}; it has {', '.join(TYPE_BITS)}")
        lines.append(f"^{re.escape(name)}$={kind.lower()}\n")
    return "".join(lines)


def layer_configuration(choices: Mapping[str, str], group_size: int = 128) -> dict[str, dict[str, Any]]:
    """AutoRound's ``layer_config``: bits, group size and symmetry of every layer; 16 bits and more stay in floating point.

    Raises:
        ValueError: a type that is no whole number of bits; names the layer.

    Example:
        >>> layer_configuration({"model.layers.0.mlp.up_proj": "4"})["model.layers.0.mlp.up_proj"]["bits"]
        4
    """
    found: dict[str, dict[str, Any]] = {}
    for name, kind in choices.items():
        bits = bits_of(kind) if kind.strip().lower() not in TYPE_BITS else 0.5
        if not bits.is_integer():
            raise ValueError(f"layer {name!r}: AutoRound takes whole numbers of bits, got type {kind!r}")
        found[name] = {"bits": int(bits), "data_type": "int" if bits < 16 else "float"}
        if bits < 16:
            found[name] |= {"group_size": group_size, "sym": True}
    return found


def save_choice(choices: Mapping[str, str], path: Path | str, kind: str) -> None:
    """Write ``llama.cpp`` tensor types, an ``autoround`` configuration, or ``json``: ``{tensor: type}``.

    Raises:
        ValueError: see :func:`tensor_types` and :func:`layer_configuration`.
    """
    if kind == "llama.cpp":
        save_text(tensor_types(choices), path)
    else:
        save_text(json.dumps(layer_configuration(choices) if kind == "autoround" else dict(choices), indent=1) + "\n", path)
