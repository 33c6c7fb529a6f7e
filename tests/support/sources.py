"""The source files of the packages, and what each imports from where."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("solvers", "graphs", "constrained_nas", "papers_repro")  # each may import those before it, none after it
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def tree_of(path: Path) -> ast.Module:
    """The file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> list[tuple[str, str | None]]:
    """(module, name taken from it) for every absolute import anywhere in a file."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            found += [(str(node.module), alias.name) for alias in node.names]
    return found


def package_of(path: Path) -> str:
    """Name of the package that a file belongs to."""
    return path.relative_to(ROOT).parts[0]


def name_of(path: Path) -> str:
    """Dotted name of a file's module; a face has the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in MODULES}  # by dotted name
FACES = {name: path for name, path in FILES.items() if path.name == "__init__.py"}


@cache
def names_of(face: str) -> dict[str, str]:
    """What a face exports of the packages: every name, and the module it has it from."""
    return {
        str(name): module for module, name in imported(FACES[face]) if module.split(".")[0] in PACKAGES and module != "graphs.faces"
    }


def imported_file(module: str, name: str | None) -> str:
    """The module that ``from module import name`` enters: a face where it exports the name, otherwise the file of that name."""
    exported = module in FACES and name in names_of(module)
    return f"{module}.{name}" if not exported and f"{module}.{name}" in FILES else module


def defining_file(module: str, name: str | None) -> str:
    """The module that an import leads to in the end: where a face exports the name, the file that the face has it from."""
    if name is not None and module in FACES and name in names_of(module):
        return defining_file(names_of(module)[name], name)
    return imported_file(module, name)


def face_of(module: str) -> str:
    """The face of the folder that a module is in."""
    return module if module in FACES else module.rpartition(".")[0]


@cache
def room_of(module: str) -> str:
    """The room of a module: its folder. A file of a folder that holds rooms is a room of its own: they may be built on it."""
    folder = face_of(module)
    return module if any(face.startswith(f"{folder}.") for face in FACES) else folder
