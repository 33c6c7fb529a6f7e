"""Tables as JSON files: written whole or not at all, read with messages that say what is wrong and where."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Table = TypeVar("Table", bound=BaseModel)


def load_table(path: Path | str, model: type[Table], what: str) -> Table:
    """Read and validate a table; ``what`` names its kind in messages, e.g. ``latency table``.

    Raises:
        ValueError: the file is not complete JSON or not what ``model`` asks for; says which and where.
        FileNotFoundError: there is no such file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error.reason}); expected a {what} as JSON") from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not complete JSON (line {error.lineno}: {error.msg}); was the file cut off? Make it again"
        ) from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ValueError(f"{path}: no valid {what}: {where}: {first['msg']}{more}") from error


def save_table(table: BaseModel, path: Path | str) -> None:
    """Write a table whole or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(table.model_dump_json(indent=1), encoding="utf-8")
    os.replace(partial, target)
