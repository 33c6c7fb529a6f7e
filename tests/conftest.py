"""What every process of the tests runs under: set before torch is imported, and handed on to the scripts that tests start."""

import os
import sys
from pathlib import Path

import pytest

# Tests run side by side, and on networks this small a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where Python may keep no bytecode beside the sources, it is kept with pytest's own files: compiling torch's sources again in every
# process that a test starts would take longer than what the test is about.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much the longest of the slow tests do; a part of them is asked for with other seeds and smaller numbers."""
    parser.addoption("--kills", type=int, default=20, help="of every case that is killed at random moments")
    parser.addoption("--mutations", type=int, default=4000, help="files that are changed at random")
    parser.addoption("--mutation-seed", type=int, default=0, help="of those")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The papers' scripts first: a file goes to one process, and none should be alone with the longest at the end."""
    items.sort(key=lambda item: "papers_repro" not in item.path.parts)
