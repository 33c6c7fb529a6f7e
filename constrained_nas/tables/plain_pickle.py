"""Pickled files that hold plain values alone: numbers, texts, lists, tuples, dictionaries. Nothing in the file is ever run.

The opcodes that build such values are carried out here, one by one; any other opcode (a class, a function, a call, an object's
state) ends the reading with its name. There is no ``pickle.load``, so that a file cannot make this program do anything, and its
size and the number of its values are bounded, those that are used several times counted as often: a few hundred bytes of such can
stand for more than fits into memory.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

from graphs.files import require_file, shortened

_MOST_BYTES = 16 * 2**20
_MOST_VALUES = 2_000_000
_MARK = object()
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_plain_pickle(path: Path | str) -> Any:
    """The value of a pickled file.

    Raises:
        ValueError: it is no pickle, too large, or holds anything but plain values; says what.
        FileNotFoundError: there is no such file.
    """
    require_file(path)
    with Path(path).open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{path}: more than {_MOST_BYTES / 2**20:g} MiB; tables have less")
    try:
        return plain_value(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def plain_value(content: bytes) -> Any:
    """The value of a pickle's bytes, see :func:`read_plain_pickle`.

    Example:
        >>> import pickle
        >>> plain_value(pickle.dumps({"block": [1, 2.5], "general": (3,)}))
        {'block': [1, 2.5], 'general': (3,)}
        >>> plain_value(pickle.dumps(print))
        Traceback (most recent call last):
        ValueError: a pickle with more than plain values ('STACK_GLOBAL'): it is not read, for it could run anything
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > _MOST_VALUES:
                raise ValueError(f"a pickle of more than {_MOST_VALUES:,} steps")
            if opcode.name == "STOP":
                return _bounded(_only(stack))
            _step(opcode.name, argument, stack, memo)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no pickle that can be read: {shortened(str(error), 60) or type(error).__name__}") from error
    raise ValueError("no pickle that can be read: it does not end")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in ("PROTO", "FRAME"):
        return
    if name in _NUMBERS or name in _TEXTS:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in _PUTS:
        memo[int(argument)] = stack[-1]
    elif name in _GETS:
        stack.append(memo[int(argument)])
    elif name in _TUPLES:
        size = _TUPLES[name]
        stack[-size:] = [tuple(stack[-size:])]
    elif name in ("TUPLE", "LIST", "DICT"):
        values = _marked(stack)
        stack.append(tuple(values) if name == "TUPLE" else values if name == "LIST" else _pairs(values))
    elif name in ("APPEND", "APPENDS"):
        values = [stack.pop()] if name == "APPEND" else _marked(stack)
        _expect(stack[-1], list).extend(values)
    elif name in ("SETITEM", "SETITEMS"):
        values = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _marked(stack)
        _expect(stack[-1], dict).update(_pairs(values))
    else:
        raise ValueError(f"a pickle with more than plain values ({name!r}): it is not read, for it could run anything")


def _only(stack: list[Any]) -> Any:
    if len(stack) != 1 or stack[0] is _MARK:
        raise ValueError("no pickle that can be read: it does not hold one value")
    return stack[0]


def _bounded(value: Any) -> Any:
    """The value, written out with all that is used several times, must be no larger than a file may be."""
    sizes: dict[int, int] = {}
    within: set[int] = set()
    waiting = [(value, False)]
    while waiting:
        part, counted = waiting.pop()
        if id(part) in sizes:
            continue
        inside = [*part.keys(), *part.values()] if isinstance(part, dict) else part if isinstance(part, list | tuple) else ()
        if counted or not inside:
            within.discard(id(part))
            length = len(part) // 64 if isinstance(part, str) else 0
            sizes[id(part)] = 1 + length + sum(sizes[id(each)] for each in inside)
            if sizes[id(part)] > _MOST_VALUES:
                raise ValueError(f"a pickle that stands for more than {_MOST_VALUES:,} values")
        elif id(part) in within:
            raise ValueError("a pickle of a value that holds itself")
        else:
            within.add(id(part))
            waiting += [(part, True), *((each, False) for each in inside)]
    return value


def _marked(stack: list[Any]) -> list[Any]:
    """What lies above the last mark, taken off with it."""
    place = len(stack) - 1
    while stack[place] is not _MARK:
        place -= 1
        if place < 0:
            raise IndexError
    values = stack[place + 1 :]
    del stack[place:]
    return values


def _pairs(values: list[Any]) -> dict[Any, Any]:
    # Long numbers can be chosen so that all share a hash, and a tuple of tuples so that its own takes for ever.
    if not all(isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**63) for key in values[::2]):
        raise TypeError("keys that are neither texts nor numbers of 64 bits")
    return dict(zip(values[::2], values[1::2], strict=True))


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value
