"""The rules of the tree: no circles, libraries that one room alone may import, scripts that are scripts, faces that are used."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import networkx as nx
from support.sources import (
    FACES,
    FILES,
    MODULES,
    PACKAGES,
    ROOT,
    defining_file,
    face_of,
    imported,
    imported_file,
    names_of,
    room_of,
    tree_of,
)

# Who may import what: a library, or a part of one, and the folders that may.
LIBRARIES = {
    "numba": ("solvers/kernels/",),
    "highspy": ("solvers/backends/",),
    "cvxpy": ("solvers/backends/",),
    "scipy.optimize": ("solvers/backends/",),
    "rich": ("constrained_nas/commands/", "papers_repro/"),
}
NOT_A_SOLVER = ("graphs/costs/width_latency.py", "scipy.optimize.isotonic_regression")  # a fit by least squares
MOST_FILES = 15  # of a folder
PAPERS = {
    "bsn": "bsn",
    "filter": "filter_level",
    "hardcore": "hardcore",
    "macro": "macro",
    "prunet": "prunet",
}  # prefix of scripts: their folder
SHARED = {"harness", "experiment"}  # folders for every paper
SCRIPTS = [path for path in sorted((ROOT / "papers_repro").glob("*.py")) if path.name != "__init__.py"]
BELOW_SCRIPTS = sorted((ROOT / "papers_repro").glob("*/*.py"))
OPEN_ROOMS = ("solvers.kernels", "solvers.kernels.budgets")  # whose files are imported one by one, each where it is needed
PUBLIC = (*PACKAGES, "graphs.costs", "constrained_nas.methods")  # faces for those who use the library, who may take all


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def circles(arrows: Iterable[tuple[str, str]]) -> list[set[str]]:
    return [found for found in nx.strongly_connected_components(nx.DiGraph(list(arrows))) if len(found) > 1]


def arrows() -> list[tuple[str, str]]:
    """Who imports whom, file by file. Faces are looked through: they only hand names on."""
    files = [(name, path) for name, path in FILES.items() if name not in FACES]
    found = [(name, defining_file(*each)) for name, path in files for each in imported(path)]
    return [(name, target) for name, target in found if target in FILES and target != name]


def test_no_circle_of_files() -> None:
    assert not circles(arrows())


def test_no_circle_of_rooms() -> None:
    assert not circles((room_of(a), room_of(b)) for a, b in arrows() if room_of(a) != room_of(b))


def test_libraries_stay_in_their_rooms() -> None:
    wrong = []
    for path in MODULES:
        for full in (f"{module}.{name}" for module, name in imported(path)):
            rooms = [rooms for library, rooms in LIBRARIES.items() if f"{full}.".startswith(f"{library}.")]
            if rooms and not relative(path).startswith(rooms[0]) and (relative(path), full) != NOT_A_SOLVER:
                wrong.append((relative(path), full))
    assert not wrong


def test_no_folder_holds_many_files() -> None:
    count = Counter(relative(path.parent) for path in MODULES)
    assert not {folder: n for folder, n in count.items() if n > MOST_FILES and folder != "papers_repro"}


def test_scripts_stand_at_the_top_and_nothing_else_does() -> None:
    started = [
        path
        for path in SCRIPTS + BELOW_SCRIPTS
        if any(isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in tree_of(path).body)
    ]
    assert started == SCRIPTS


def test_a_paper_imports_its_own_and_what_all_share() -> None:
    wrong = []
    for path in SCRIPTS + BELOW_SCRIPTS:
        prefix = path.name.split("_")[0]
        own = SHARED | {PAPERS[prefix] if path in SCRIPTS else path.parent.name}
        for module in (module for module, _ in imported(path) if module.startswith("papers_repro.")):
            part = module.split(".")[1]
            if part not in own and not (path in SCRIPTS and part.startswith(f"{prefix}_")):
                wrong.append((relative(path), module))
    assert not wrong


def test_runs_ask_a_family_and_not_what_kind_of_space_it_has() -> None:
    wrong = []
    for path in sorted((ROOT / "constrained_nas" / "runs").rglob("*.py")):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
                kinds = re.findall(r"\w*Space\b|\w*Family\b", ast.unparse(node.args[1]))
                wrong += [(relative(path), kind) for kind in kinds]
    assert not wrong


def test_another_room_is_entered_by_its_face() -> None:
    wrong = []
    for name, path in FILES.items():
        for target in (imported_file(*each) for each in imported(path)):
            face = face_of(target)
            inside = f"{name}.".startswith(f"{face}.")  # of the room, or of one within it, which may be built on its files
            hands_on = name in FACES and face.startswith(f"{name}.")
            if target in FILES and target not in FACES and face not in (*PACKAGES, *OPEN_ROOMS) and not inside and not hands_on:
                wrong.append(f"{name} imports {target} instead of {face}")
    assert not wrong


def taken_from(room: str) -> set[str]:
    """The names that are taken from a face outside of its room: in the packages, in tests and in the programs of the pages."""
    places = [path for place in ("tests", "examples", "benchmarks", "docs") for path in (ROOT / place).rglob("*.py")]
    outside = [path for path in MODULES + places if FACES[room].parent not in path.parents]
    names = {str(name) for path in outside for module, name in imported(path) if module == room}
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for program in re.findall(rf"from {re.escape(room)} import ([^(\n]+|\([^)]*\))", path.read_text(encoding="utf-8")):
            names.update(re.findall(r"\w+", program))
    return names


def test_faces_export_what_others_take() -> None:
    unused = {room: names_of(room).keys() - taken_from(room) for room in FACES if room not in PUBLIC}
    assert not {room: names for room, names in unused.items() if names}
