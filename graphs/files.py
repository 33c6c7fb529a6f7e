"""Files to rely on: written whole, durably and never through a link; read with messages that say what is wrong and where."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class Record(BaseModel):
    """What is kept in a JSON file, or a part of it: its values do not change, and a field it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SealedRecord(Record):
    """A record whose numbers nothing else tells: its file holds the sha256 of the rest, and is believed only as it was written."""

    sha256: str = ""

    def seal(self) -> str:
        """The sha256 of all else."""
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()


Kept = TypeVar("Kept", bound=BaseModel)

MOST_BYTES = 64 * 2**20  # of a record: the largest latency tables have a few MiB
_DEEPEST = 64  # records nest less than ten levels
_LONGEST = 20_000  # characters of a text
_LONGEST_NAME = 1_000
_PARTIAL = ".partial"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def _naming(path: Path | str) -> Iterator[None]:
    """Say of what file there was no room for, which a write does not know."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def written_whole(path: Path | str, *, parents: bool = True) -> Iterator[Path]:
    """Give a fresh file in the same folder, and move it to ``path`` at the end: whoever reads sees a whole file or none.

    The fresh file has a name that nobody can guess and the mode that the user's umask asks for. A link at ``path`` is replaced and
    what it points to is left alone. When the block has ended the file is on the disk, and so is its name.

    Args:
        path: of the file.
        parents: make all folders that are missing; else only the file's own, so that a folder that was removed stays removed.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(path)
    if parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(exist_ok=True)
    # The suffix stays: libraries choose the kind of file by it.
    partial = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(8)}{_PARTIAL}{target.suffix[:80]}")
    handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
    try:
        with _naming(target):
            yield partial
            os.chmod(partial, mode)  # libraries that put a file of their own in its place choose their own mode
            _to_disk(partial, os.O_RDWR)
            os.replace(partial, target)
            if hasattr(os, "O_DIRECTORY"):
                _to_disk(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove what processes that were killed had begun to write in ``folder``; nobody may be writing there."""
    for partial in folder.glob(f".*.*{_PARTIAL}*"):
        partial.unlink(missing_ok=True)


def own_folder(folder: Path, name: str) -> Path:
    """The folder of that name inside ``folder``, which is made if it is missing.

    Raises:
        ValueError: it is a link: what is written there would land elsewhere.
        OSError: it cannot be made.
    """
    inside = folder / name
    if inside.is_symlink():
        raise ValueError(f"{inside} is a link: it would lead out of {folder}; put a folder in its place, or name another one")
    inside.mkdir(parents=True, exist_ok=True)
    return inside


def save_text(text: str, path: Path | str) -> None:
    """Write a text file, see :func:`written_whole`."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_text(text: str, path: Path | str, *, durable: bool = False) -> None:
    """Add to the end of a text file, which is made if it is missing.

    A file that has other names too (a hard link, as in folders of backups) is copied first: under those it stays as it was.

    Args:
        durable: have it on the disk at the end.

    Raises:
        OSError: it is a link, a folder or a pipe, or cannot be written.
    """
    with _naming(path), open(path, "a", encoding="utf-8", opener=_appended) as file:
        alone = os.fstat(file.fileno()).st_nlink == 1
        if alone:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    if not alone:
        save_text(read_text(path, "text") + text, path)


def save_json(content: Any, path: Path | str) -> None:
    """Write a record, sealed if it is of that kind, or anything JSON knows, see :func:`written_whole`."""
    if isinstance(content, SealedRecord):
        content = content.model_copy(update={"sha256": content.seal()})
    save_text(content.model_dump_json(indent=1) if isinstance(content, BaseModel) else json.dumps(content, indent=1), path)


def load_json(path: Path | str, model: type[Kept], what: str) -> Kept:
    """Read and validate a record; ``what`` names its kind in messages, e.g. ``latency table``.

    Raises:
        ValueError: the file is not complete JSON or not what ``model`` asks for, or was changed though sealed; says which.
        FileNotFoundError: there is no such file.
    """
    content = read_json(path, what)
    kind = model.model_fields.get("kind")
    told = content.get("kind") if isinstance(content, dict) else None
    if kind is not None and isinstance(told, str) and told not in get_args(kind.annotation):
        raise ValueError(f"{path}: holds a record of kind {shortened(told, 60)!r}, expected {get_args(kind.annotation)[0]!r}")
    try:
        kept = model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ValueError(f"{path}: no valid {what}: {shortened(where, 100)}: {shortened(first['msg'], 200)}{more}") from error
    if any(isinstance(part, float) and not math.isfinite(part) for part, _ in _parts(content)):
        raise ValueError(f"{path}: no valid {what}: a number is not finite")
    if isinstance(kept, SealedRecord) and kept.sha256 != kept.seal():
        raise ValueError(f"{path}: damaged, its content has another sha256 than it had when written; delete it to start over")
    return kept


def read_json(path: Path | str, what: str) -> Any:
    """What a JSON file holds, of tame size, depth and letters.

    Raises:
        ValueError: the file is not complete JSON, or holds what no record does: too much, what is nested too deeply, texts of
            tens of thousands of characters, control characters, several lines in a text, a key twice; says which.
        FileNotFoundError: there is no such file.
    """
    text = read_text(path, f"{what} as JSON")
    try:
        content = json.loads(text, object_pairs_hook=unambiguous)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not complete JSON (line {error.lineno}: {error.msg}); was the file cut off? Then delete it and make it again"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply for a {what}") from error
    except ValueError as error:  # an integer of thousands of digits; a key twice
        raise ValueError(f"{path}: no valid {what}: {shortened(str(error), 100)}") from error
    for part, depth in _parts(content):
        if depth > _DEEPEST:
            raise ValueError(f"{path}: no valid {what}: nested more than {_DEEPEST} levels deep")
        if isinstance(part, str) and len(part) > _LONGEST:
            raise ValueError(f"{path}: no valid {what}: a text of {len(part):,} characters: {shortened(part, 60)!r}")
        if isinstance(part, str) and ("\n" in part or "\r" in part or any(map(_controls, part))):
            raise ValueError(f"{path}: no valid {what}: a control character in '{shortened(visible(part), 100)}'")
    return content


def read_text(path: Path | str, what: str, most: int = MOST_BYTES) -> str:
    """The text of a file of at most so many bytes.

    Raises:
        ValueError: no file, or larger, or not text.
        FileNotFoundError: there is no such file.
    """
    with open(path, "rb", opener=_opened) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path}: not a file; expected a {what}")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path}: more than {most / 2**20:g} MiB; expected a {what}, which has less")
    try:
        return content.decode("utf-8-sig")  # editors put a mark before the text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error.reason}); expected a {what}") from error


def shortened(text: str, most: int = 400) -> str:
    """The text, or its beginning and its end where it has more than so many characters."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} ... {text[-(most // 3) :]}"


def visible(text: str) -> str:
    """The text with control characters, and those that turn the direction of reading, written as escapes."""
    return "".join(f"\\x{ord(letter):02x}" if _controls(letter) else letter for letter in text)


def unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object in JSON from its pairs (``object_pairs_hook``): of a key that is there twice, readers differ in what they take.

    Raises:
        ValueError: one is.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"'{shortened(visible(twice), 60)}' is there twice")
    return found


def require_printable(name: str, what: str) -> None:
    """Check that a name is of one line, without control characters, and not long: records and tables must be able to hold it.

    Raises:
        ValueError: it is not; ``what`` says what has the name.
    """
    if name.isprintable() and len(name) <= _LONGEST_NAME:  # most are, and a table may hold a million
        return
    if "\n" in name or "\r" in name or len(name) > _LONGEST_NAME or visible(name) != name:
        told = shortened(visible(name).replace("\n", "\\n").replace("\r", "\\r"), 60)
        raise ValueError(f"{what} '{told}': names have one line of at most {_LONGEST_NAME:,} characters, and no control characters")


def require_file(path: Path | str) -> None:
    """Check that a path is a file, not a pipe or a device that would be waited for.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: it is something else.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path}: not a file")


def require_unicode(path: Path | str) -> None:
    """Check that a path is text, as safetensors, which keeps weights, can read no other.

    Raises:
        ValueError: it has bytes that are no UTF-8.
    """
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in str(path)):  # what os.fsdecode makes of such bytes
        raise ValueError(f"{visible(str(path))}: weights cannot be read from there, the name is not UTF-8: rename the folder")


def require_size(path: Path | str, most: int) -> None:
    """:func:`require_file`, of at most so many bytes: sizes cost nothing to claim, and what is read costs time and memory.

    Raises:
        ValueError: it is larger, or no file.
        FileNotFoundError: there is nothing.
    """
    require_file(path)
    if (size := os.stat(path).st_size) > most:
        raise ValueError(f"{path}: {size / 2**20:,.0f} MiB, and at most {most / 2**20:,.0f} MiB are read")


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins like one is quoted by an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was exhausted: torch says so by a ``RuntimeError``, as it says that shapes do not meet."""
    words = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "DefaultCPUAllocator")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe must not be waited for


def _appended(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _to_disk(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _controls(letter: str) -> bool:
    """C0 and C1 but tabs and ends of lines; marks that reverse what is read; halves of pairs, which nothing can write."""
    code = ord(letter)
    reversing = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return (code < 32 and letter not in "\t\n\r") or 127 <= code < 160 or reversing or 0xD800 <= code <= 0xDFFF


def _parts(content: Any) -> Iterator[tuple[Any, int]]:
    """Everything in what JSON gave, keys too, and how deep it lies."""
    waiting: list[tuple[Any, int]] = [(content, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict):
            waiting += [(entry, depth + 1) for pair in part.items() for entry in pair]
        elif isinstance(part, list):
            waiting += [(entry, depth + 1) for entry in part]
