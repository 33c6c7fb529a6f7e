"""Sphinx: pages in MyST with executed examples, the reference from docstrings. Built with warnings as errors."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import re
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.util.nodes import make_refnode

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
# Every reference must lead somewhere (sphinx-build -n says where from), but for the libraries of others, whose pages are not built
# here, for letters that stand for a type, and for prose that napoleon takes for one ("Attributes:" with several names, "Returns:").
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(annotated_types|collections|contextlib|datetime|fractions|highspy|lightning_fabric|matplotlib|networkx|np)\..*"),
    ("py:.*", r"(numpy|pathlib|pydantic|torch|types|typing|tyro)\..*"),
    ("py:(class|obj)", r"(.*\.)?(Answer|Built|Done|Item|Kept|State|Table|Task|Command)"),
    ("py:class", r"[^.]*"),  # also names that only annotations of a class's own file have
    ("py:class", r".*[\[ ~].*|[\d.]+"),
]
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


def _where_it_is_described(app: Any, environment: Any, node: Any, content: Any) -> Any:
    """A name as users import it leads to the file that defines it; a bare name to the only thing of that name."""
    if node.get("refdomain") != "py" or (node["reftype"] == "class" and "." not in node["reftarget"]):
        return None
    domain, target = environment.get_domain("py"), node["reftarget"]
    package, _, name = target.rpartition(".")
    found: Any = None
    if package.partition(".")[0] in ("solvers", "graphs", "constrained_nas"):
        with suppress(ImportError):
            found = getattr(importlib.import_module(package), name, None)
    places = [f"{found.__module__}.{found.__qualname__}"] if hasattr(found, "__qualname__") else []
    places = places or [place for place in domain.objects if place.endswith(f".{target}")]
    if len(places) != 1 or places[0] not in domain.objects:
        return None
    entry = domain.objects[places[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, places[0])


def setup(app: Any) -> None:
    """Write the reference's pages, and read docstrings as prose (before napoleon, whose priority is 500, adds markup)."""
    app.connect("missing-reference", _where_it_is_described)
    _write_reference([solvers, graphs, constrained_nas], Path(__file__).parent / "reference" / "api")
    app.connect("autodoc-process-docstring", _plain_prose, priority=400)
