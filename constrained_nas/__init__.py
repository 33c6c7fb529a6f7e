"""Data, training, searches under hard budgets, latency tables measured on this machine, and the command ``constrained-nas``.

``search_network``, a problem and the protocol of search methods are here; everything else is in its room:
``constrained_nas.methods``, ``.search``, ``.runs`` (``load_network``), ``.latency``, ``.export``. Nothing is imported before it is
asked for.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from constrained_nas.siblings import require_siblings

if TYPE_CHECKING:
    from constrained_nas.ask_tell import Feedback, Proposal, SearchMethod, SearchResult
    from constrained_nas.own_network import FoundNetwork, search_network
    from constrained_nas.problem import Budget, SearchProblem

require_siblings(Path(__file__).parents[1])

__all__ = [
    "Budget",
    "Feedback",
    "FoundNetwork",
    "Proposal",
    "SearchMethod",
    "SearchProblem",
    "SearchResult",
    "search_network",
]
_FILES = {"Budget": "problem", "SearchProblem": "problem", "FoundNetwork": "own_network", "search_network": "own_network"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("constrained-nas")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES.get(name, 'ask_tell')}"), name)
