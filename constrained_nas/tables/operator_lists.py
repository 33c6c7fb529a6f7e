"""Lists of operators' latencies by place or shape, without keys: what FBNet's and NNI's programs write. DenseNAS's are refused.

**Rows**: the first line names the operators, each further line has their latencies in one layer, from the first to the last::

    ir_k3_e1 ir_k3_e6 skip
    513.0 846.9 1.6
    244.9 583.7 1.6

They come out under the keys ``1 ir_k3_e1``, ``1 ir_k3_e6`` ... ``2 skip``, layers counted from 1.

**Records** of NNI's FBNet, one a line, with the shape (width, height, channels in, channels out, stride)::

    {'op_name': 'ir_k3_e6', 'op_data_shape': (56, 56, 24, 40, 2), 'op_dtype': 'float', 'op_latency': 846.9}

They come out under the keys ``ir_k3_e6 56x56x24 40 2``.

**DenseNAS's lists** hold numbers alone, nested as its own densely connected super-network is: no space here has such places.

Reference: Wu et al., FBNet; the library NNI; Fang et al., DenseNAS.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs.files import shortened

if TYPE_CHECKING:
    from graphs.blocks import Configuration
    from graphs.spaces import BlockShape

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_NESTED = re.compile(r"\[\s*[-+\d.]+\s*,\s*\[")


def read_rows(lines: Sequence[str]) -> dict[str, str] | None:
    """Numbers by layer and operator; None where the lines are no such rows."""
    table = [re.split(r"[\s,;]+", line.strip(" ,;")) for line in lines]
    names = table[0] if table else []
    if len(names) < 2 or len(table) < 2 or len(set(names)) < len(names) or any(_NUMBER.fullmatch(name) for name in names):
        return None
    if any(len(row) != len(names) or not all(_NUMBER.fullmatch(cell) for cell in row) for row in table[1:]):
        return None
    return {f"{layer} {name}": cell for layer, row in enumerate(table[1:], start=1) for name, cell in zip(names, row, strict=True)}


def read_records(lines: Sequence[str], path: Path | str) -> dict[str, Any] | None:
    """Latencies by operator and shape; None where the lines are no such records.

    Raises:
        ValueError: a record that cannot be read, or the same one twice; says which line.
    """
    if not lines or "op_latency" not in lines[0]:
        return None
    found: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}, record {number}"
        try:
            record: Any = ast.literal_eval(line.strip().rstrip(",")) if len(line) < 1000 else None
            width, height, inputs, outputs, stride = (int(each) for each in record["op_data_shape"])
            key = f"{record['op_name']} {height}x{width}x{inputs} {outputs} {stride}"
            value = record["op_latency"]
        except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
            what = "op_name, op_data_shape (five numbers) and op_latency"
            raise ValueError(f"{where}: expected {what}: {shortened(line, 60)}") from error
        if key in found:
            raise ValueError(f"{where}: {shortened(key, 100)} is there twice")
        found[key] = value
    return found


def refuse_nested(text: str, path: Path | str) -> None:
    """
    Raises:
        ValueError: the text is one of DenseNAS's lists.
    """
    if _NESTED.match(text.lstrip()):
        raise ValueError(
            f"{path}: numbers by their place in a nested list, as DenseNAS writes for its own super-network: no space here has "
            "such places; write lines OPTION: NUMBER, or rows under a line of operators"
        )


def operator_names(option: Configuration) -> list[str]:
    """What these programs may call an inverted residual: ``ir_k3_e6``, ``mb_k3_e6_se`` or as it is called here, ``e6_k3_se``.

    Example:
        >>> from graphs.blocks import Configuration
        >>> operator_names(Configuration(6, 3, True))[:2]
        ['e6_k3_se', 'ir_k3_e6_se']
    """
    end = "_se" if option.squeeze_excite else ""
    return [option.name, *(f"{kind}k{option.kernel}_e{option.expansion}{end}" for kind in ("ir_", "mb_", ""))]


def record_keys(shape: BlockShape, option: Configuration) -> list[str]:
    """The keys of :func:`read_records` under which an option of a block may be."""
    end = f" {shape.side}x{shape.side}x{shape.inputs} {shape.outputs} {shape.stride}"
    return [name + end for name in operator_names(option)]
