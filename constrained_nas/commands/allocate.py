"""The command ``allocate``: a type for every tensor of a language model, from a table of losses, within bits a weight."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table

from constrained_nas.commands.console import PlainConsole

if TYPE_CHECKING:
    from constrained_nas.tables import BitTable


@dataclass(frozen=True)
class Allocate:
    """Choose a quantization type for every tensor of a language model, so that the summed loss is least at so many bits a weight.

    For example: allocate losses.csv --bits-per-weight 3.5 --link '(blk[.][0-9]+)[.]ffn_(?:up|gate).*' --to llama.cpp

    The choice is exact: it comes with a bound that says nothing of that size loses less. Needs neither torch nor the model.
    """

    table: Annotated[Path, tyro.conf.Positional]
    """CSV or JSON: tensor, type, loss, and weights or bytes; importances (imatrix) with --types; exllamav2's measurement.json."""
    bits_per_weight: tyro.conf.UseAppendAction[tuple[float, ...]] = ()
    """Budgets, one or several; the first is written to --out."""
    size: str | None = None
    """Instead: of all tensors together, such as 4.2GB."""
    at_least: float | None = None
    """Bits a weight from below, for a choice that must not be smaller."""
    types: str = ""
    """Types to choose from, with commas: q3_K,q4_K,q6_K."""
    link: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """REGEX: tensors whose whole name it matches with the same captures share their type."""
    pin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """REGEX=TYPE: tensors whose whole name it matches have this type, e.g. 'output.weight=q6_K'."""
    to: Literal["llama.cpp", "autoround", "json"] = "json"
    """llama.cpp: a file for llama-quantize --tensor-type-file. autoround: its layer_config. json: {tensor: type}."""
    out: Path | None = None
    """Where to write it."""


def allocate(command: Allocate) -> None:
    """Read, choose, compare, write.

    Raises:
        ValueError: a malformed table, or nothing fits.
        OSError: a file cannot be read or written.
    """
    from constrained_nas.budgets import read_amount
    from constrained_nas.selections import greedy_selection, linked, pinned, score_of, select, uniform_selections
    from constrained_nas.tables import BITS, read_bit_table, save_choice

    if not command.bits_per_weight and command.size is None:
        raise ValueError("expected --bits-per-weight or --size")
    read = read_bit_table(command.table, [each.strip() for each in command.types.split(",") if each.strip()])
    table = pinned(read.table, command.pin)
    links = linked(table.scores, command.link)
    count = _weights(read, bool(command.bits_per_weight) or command.at_least is not None)
    budgets = [(f"{each:g} bits a weight", each * count) for each in command.bits_per_weight]
    if command.size is not None:
        budgets.append((command.size, 8 * read_amount(command.size, "size")))
    floor = None if command.at_least is None else command.at_least * count
    console = PlainConsole()
    uniform = uniform_selections(table)
    for number, (name, limit) in enumerate(budgets):
        began = time.perf_counter()
        found = select(table, {BITS: (floor, limit)}, links=links, minimize=True, backend="numpy")
        seconds = time.perf_counter() - began
        shown = Table(title=f"{name}: {len(table.scores)} tensors, {seconds * 1e3:.1f} ms", title_justify="left")
        for column in ("choice", "loss", "GB", "bits a weight"):
            shown.add_column(column, justify="left" if column == "choice" else "right")
        greedy = greedy_selection(table, {BITS: limit}, links)
        rivals = {"chosen": found.choices} | ({} if greedy is None else {"greedy": greedy})
        rivals |= {f"uniform {option}": choices for option, choices in uniform.items()}
        for rival, choices in rivals.items():
            bits = math.fsum(table.costs[BITS][group][option] for group, option in choices.items())
            fits = "" if bits <= limit else " (does not fit)"
            each = "-" if math.isnan(count) else f"{bits / count:.3f}"
            shown.add_row(f"{rival}{fits}", f"{score_of(table, choices):.6g}", f"{bits / 8e9:.3f}", each)
        console.print(shown)
        bound = "no bound known" if found.bound is None else f"nothing that fits loses less than {found.bound:.9g}"
        console.print(f"{found.status}: {bound}")
        if number == 0 and command.out is not None:
            save_choice(found.choices, command.out, command.to)
            console.print(f"written to {command.out}")


def _weights(read: BitTable, needed: bool) -> float:
    count = read.total_weights
    if needed and math.isnan(count):
        raise ValueError("the table does not say how many weights tensors have: give --size instead of bits a weight")
    return count
