"""Sphinx: pages in MyST with executed examples, the reference from docstrings. Built with warnings as errors."""

from __future__ import annotations

import importlib.metadata
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import constrained_nas
import graphs
import solvers

project = "constrained-nas"
copyright = "the constrained-nas authors, Apache-2.0"
release = importlib.metadata.version("constrained-nas")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx-mathjax-offline"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "constrained-nas"

myst_enable_extensions = ["dollarmath", "amsmath"]
nb_execution_mode = "force"  # in the folder of the page: shell_cells.py is found there
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # a first cell may compile
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields of dataclasses are described once, under their class
napoleon_custom_sections = ["Complexity"]
# Fields of different classes share names ("dimension"): a type annotation that says so is no broken reference.
# What a command prints is shown as it is, whatever a lexer makes of it.
suppress_warnings = ["ref.python", "misc.highlighting_failure"]

# Nobody calls these from outside: compiled code behind the solvers, and the commands (their `--help` documents them).
_INTERNAL = re.compile(r"^solvers\.kernels\b|^constrained_nas\.commands\b")


def _page(path: Path, lines: list[str]) -> None:
    """Write a page where it differs: what is unchanged is not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != "\n".join(lines):
        path.write_text("\n".join(lines))


def _section(name: str, mark: str, members: str) -> list[str]:
    return [name, mark * len(name), "", f".. automodule:: {name}", f"   :{members}:", ""]


def _write_reference(packages: list[ModuleType], folder: Path) -> None:
    """A page a package with its files at the top, and a page a room: what its face says, and every file with its public names."""
    for package in packages:
        name = package.__name__
        found = [module for module in pkgutil.walk_packages(package.__path__, f"{name}.") if not _INTERNAL.search(module.name)]
        rooms = sorted(module.name for module in found if module.ispkg)
        contents = ["", ".. toctree::", "   :maxdepth: 1", "", *(f"   {room}" for room in rooms), ""]
        top = sorted(module.name for module in found if not module.ispkg and module.name.count(".") == 1)
        files = [line for module in top for line in _section(module, "-", "members")]
        _page(folder / f"{name}.rst", _section(name, "=", "no-members") + contents + files)
        for room in rooms:
            inside = sorted(module.name for module in found if not module.ispkg and module.name.rpartition(".")[0] == room)
            files = [line for module in inside for line in _section(module, "-", "members")]
            _page(folder / f"{room}.rst", _section(room, "=", "no-members") + files)


def _plain_prose(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain prose: outside of backticks, stars and bars mean themselves."""
    for index, line in enumerate(lines):
        parts = re.split(r"(`+[^`]*`+)", line)
        parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
        lines[index] = "".join(parts)


def setup(app: Any) -> None:
    """Write the reference's pages, and read docstrings as prose (before napoleon, whose priority is 500, adds markup)."""
    _write_reference([solvers, graphs, constrained_nas], Path(__file__).parent / "reference" / "api")
    app.connect("autodoc-process-docstring", _plain_prose, priority=400)
