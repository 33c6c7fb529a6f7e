"""Choosing without a search: tables, bit widths, linear scores."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.selections.delimited import separator_of, with_point
    from constrained_nas.selections.linear import project_linear
    from constrained_nas.selections.plans import costs_of, greedy_selection, linked, pinned, score_of, uniform_selections
    from constrained_nas.selections.scoring import option_scores
    from constrained_nas.selections.table import (
        SelectionRecord,
        SelectionTable,
        read_selection_table,
        save_selection,
        select,
        select_cheapest,
    )

__getattr__ = on_demand(__name__)
