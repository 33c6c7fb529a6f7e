"""The command ``export``: the network that a search found, as files for other programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from constrained_nas.commands.console import PlainConsole
from graphs.files import own_folder, save_text

if TYPE_CHECKING:
    from constrained_nas.runs import RunNetwork


@dataclass(frozen=True)
class Export:
    """Write the network that a search found in formats that need this library no more.

    Every file is checked against the network before it stays, and carries what images it takes: class names, channels, resolution,
    mean, deviation and sizing (INPUT in network.py, metadata of ONNX and .pt2). For example: export runs/x --to python onnx
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished search."""
    to: tuple[Literal["python", "program", "onnx", "timm"], ...] = ("python",)
    """python: a readable file and safetensors weights, for torch alone. program: torch.export. onnx: checked in onnxruntime
    (extra onnx). timm: block strings (HardCoRe's spaces)."""
    out: Path | None = None
    """Folder of the files; export/ in the run's folder by default."""


def export(command: Export) -> None:
    """Write the files and say where they are.

    Raises:
        FileNotFoundError: the folder has no finished run, or its data are gone.
        ValueError: the network cannot be written in that format, or does not come out the same.
        ImportError: an extra is missing; names it.
    """
    if not command.to:
        raise ValueError("--to: expected at least one of python, program, onnx, timm")
    from constrained_nas.runs import load_network

    found, console = load_network(command.run), PlainConsole()
    folder = command.out or own_folder(command.run, "export")
    for kind in dict.fromkeys(command.to):
        console.print(f"{kind}: {_written(found, kind, folder)}", soft_wrap=True)


def _written(found: RunNetwork, kind: str, folder: Path) -> str:
    from constrained_nas.export import export_onnx, export_program, export_python

    if kind == "python":
        files = export_python(found.network, found.images, folder, "network", found.record, found.facts)
        command = f"cd {folder} && python -c \"import network; print(network.load('{files.weights.name}'))\""
        return f"{files.source} and {files.weights}, the same outputs to the bit; try: {command}"
    if kind == "program":
        return f"{export_program(found.network, found.images, folder / 'network.pt2', facts=found.facts)}, for any batch size"
    if kind == "onnx":
        file = export_onnx(found.network, found.images, folder / "network.onnx", facts=found.facts)
        return f"{file.path}, for any batch size; outputs differ by {file.difference:.1g} of the greatest at most"
    import torch

    from constrained_nas.runs.families import HardCoReFamily
    from graphs import architecture_strings

    if not isinstance(found.family, HardCoReFamily):
        raise ValueError(f"timm's block strings are for HardCoRe's spaces, not {found.record.space}: use python or onnx")
    path = folder / "blocks.json"
    with torch.device("meta"):
        strings = architecture_strings(found.family.space, found.architecture)
    save_text(json.dumps(strings, indent=1) + "\n", path)
    return str(path)
