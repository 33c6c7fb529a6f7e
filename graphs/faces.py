"""Faces that load what is asked for: who takes a word from a room's ``__init__.py`` does not load torch for the rest of the room.

The imports stand in the face as everywhere, under ``TYPE_CHECKING``; below them ``__getattr__ = on_demand(__name__)`` carries out
each when its name is first asked for.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def on_demand(face: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a face (PEP 562): imports a name from where the face's own imports say it comes from.

    Args:
        face: the ``__name__`` of the package.
    """

    def get(name: str) -> Any:
        source = _imports(face).get(name)
        if source is None:
            raise AttributeError(f"module {face!r} has no attribute {name!r}")
        value = getattr(import_module(source), name)
        setattr(sys.modules[face], name, value)  # from now on without a detour
        return value

    return get


@cache
def _imports(face: str) -> dict[str, str]:
    """Every name that the face imports, and the module it comes from."""
    spec = find_spec(face)
    text = None if spec is None or spec.loader is None else spec.loader.get_source(face)  # type: ignore[attr-defined]
    if text is None:
        raise ImportError(f"the source of {face} is not there: names are found by the imports in it")
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: str(node.module) for node in nodes for alias in node.names if str(node.module).startswith(f"{face}.")}
