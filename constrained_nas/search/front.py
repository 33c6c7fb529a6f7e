"""Which of the networks that a search passed through to keep: the front of score over cost, on validation data.

Every epoch's deterministic network is a candidate (``SearchRun.history``), and several of one run may lie on the front. The choice
uses a validation score; what is reported is then measured on test data.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 5.1 (model selection).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers import non_dominated

Entry = Mapping[str, Any]


def front(entries: Sequence[Entry], cost: str, by: str = "validation") -> NDArray[np.bool_]:
    """Which of the scored entries, of one search or of several, no other beats in both ``cost`` and score: (entries,).

    Of entries equal in both the first is kept.

    Raises:
        ValueError: an entry without that cost or score: was ``score`` given to the search?
    """
    points = [(_number(entry, "costs", cost), _number(entry, "scores", by)) for entry in entries]
    return non_dominated(np.array(points).reshape(-1, 2), [False, True], keep_duplicates=False)


def select(entries: Sequence[Entry], by: str = "validation") -> Entry:
    """The entry of the best score among those that fit every budget; of equals the earliest.

    Raises:
        ValueError: no entry fits, or an entry without that score.
    """
    fitting = [entry for entry in entries if entry.get("fits")]
    if not fitting:
        raise ValueError(
            f"none of the {len(entries)} networks fits: raise the penalty's coefficient, search longer, or use hard=True"
        )
    return max(fitting, key=lambda entry: _number(entry, "scores", by))


def _number(entry: Entry, group: str, name: str) -> float:
    try:
        return float(entry[group][name])
    except KeyError as error:
        raise ValueError(f"epoch {entry.get('epoch')}: no {group} called {name!r}; was `score` given to the search?") from error
