"""The arrows between the packages, what ``import solvers`` may load, and that nothing is ever unpickled."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support.sources import MODULES, PACKAGES, ROOT, imported, package_of, tree_of

# What graphs may take from solvers: the types of sets and of costs.
SHARED_TYPES = {"Blocks", "BoolArray", "BudgetedBlocks", "FloatArray", "IntArray", "Quadratic", "Stage", "StagedBlocks"}


def test_every_package_was_found() -> None:
    assert {package_of(path) for path in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_a_package_to_its_right(path: Path) -> None:
    later = set(PACKAGES[PACKAGES.index(package_of(path)) + 1 :]) | {"tests", "benchmarks"}
    wrong = [module for module, _ in imported(path) if module.split(".")[0] in later]
    assert not wrong


@pytest.mark.parametrize("path", [path for path in MODULES if package_of(path) == "solvers"], ids=lambda path: path.stem)
def test_solvers_never_import_torch(path: Path) -> None:
    assert not [module for module, _ in imported(path) if module.split(".")[0] in {"torch", "networkx", "pydantic"}]


@pytest.mark.parametrize("path", [path for path in MODULES if package_of(path) == "graphs"], ids=lambda path: path.stem)
def test_graphs_take_only_types_from_solvers(path: Path) -> None:
    taken = {name for module, name in imported(path) if module.split(".")[0] == "solvers"}
    assert taken <= SHARED_TYPES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path: Path) -> None:
    unpicklers = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
    assert not [module for module, _ in imported(path) if module.split(".")[0] in unpicklers]
    # joblib's processes may be used, its files (load, dump, Memory) may not: names are imported, so that no other is at hand.
    of_joblib = {(module, name) for module, name in imported(path) if module.split(".")[0] == "joblib"}
    assert of_joblib <= {("joblib", "Parallel"), ("joblib", "delayed")}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            assert (owner, node.func.attr) not in {("torch", "load"), ("fabric", "load"), ("Fabric", "load")}
            assert not any(word.arg == "allow_pickle" for word in node.keywords)


def test_solvers_import_without_torch_and_leave_the_heavy_libraries_alone() -> None:
    program = """
import sys, time
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is blocked in this test")
sys.meta_path.insert(0, Blocker())
began = time.perf_counter()
import solvers
print(f"import solvers: {time.perf_counter() - began:.3f} s")
heavy = {"torch", "cvxpy", "numba", "highspy"} & set(sys.modules)
assert not heavy, heavy
found = solvers.project_to_budget([[1.0, 2.0], [3.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], 3.0)
assert found.choices == (0, 0), found  # 1 + 3 at cost 1 + 2, against 2 + 1
try:
    import torch
except ImportError:
    pass
else:
    raise AssertionError("the block does not work")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
