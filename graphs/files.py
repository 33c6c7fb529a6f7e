"""Records as JSON files: written whole or not at all, read with messages that say what is wrong and where."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Record(BaseModel):
    """What is kept in a JSON file, or a part of it: its values do not change, and a field it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kept = TypeVar("Kept", bound=BaseModel)


@contextmanager
def written_whole(path: Path | str, *, shared: bool = True) -> Iterator[Path]:
    """Give the path of a partial file to write, and move it to ``path`` at the end: whoever reads sees a whole file or none.

    Folders that are missing are made. A ``shared`` file may be written by several processes, each by a partial file of its own;
    large ones are not, so that what a killed process leaves behind is written over by the next.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial" if shared else f"{target.name}.partial")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def save_json(content: Any, path: Path | str) -> None:
    """Write a record, or anything JSON knows, whole or not at all."""
    with written_whole(path) as partial:
        text = content.model_dump_json(indent=1) if isinstance(content, BaseModel) else json.dumps(content, indent=1)
        partial.write_text(text, encoding="utf-8")


def load_json(path: Path | str, model: type[Kept], what: str) -> Kept:
    """Read and validate a record; ``what`` names its kind in messages, e.g. ``latency table``.

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
            f"{path}: not complete JSON (line {error.lineno}: {error.msg}); was the file cut off? Then delete it and make it again"
        ) from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ValueError(f"{path}: no valid {what}: {where}: {first['msg']}{more}") from error
