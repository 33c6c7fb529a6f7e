"""A selection in words and as a table: what is spent, what binds, what one unit more would buy, which groups are near to change.

Prices are the multipliers of the relaxation: at them every option is worth its score less what it costs, and each group by itself
would take the option that is worth most. How far the next one is behind says how near the group is to change.
"""

from __future__ import annotations

import html
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import BoolArray, FloatArray, IntArray
from solvers.knapsack import fitting
from solvers.selection.constraints import Rules, constrained_program
from solvers.tables import ScoreTable

_STOPPED = {"gap": "it is as near as was asked", "callback": "the callback ended the search"}
_NEAREST = 3  # groups that are named
_TIED = 1e-9  # relative: prices are accurate to about that
_SHOWN = 12  # groups of a text; a frame has all


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What a selection was chosen from.

    Attributes:
        table: the data as they were read.
        flat: (groups,) the chosen options.
        rules: links, needs and forbids; None where there are none.
        minimize: the objective is to be small.
        objective: what is summed: "score", "loss" or "cost".
    """

    table: ScoreTable
    flat: IntArray
    rules: Rules | None
    minimize: bool
    objective: str

    def fitting(self) -> BoolArray:
        """(n,) which options fit, all other groups at their cheapest."""
        rules = Rules.read(self.table, None, None, None) if self.rules is None else self.rules
        wide = constrained_program(self.table, rules, minimize=self.minimize)
        kept = fitting(wide.program.costs, wide.program.budgets, wide.program.offsets)
        return np.isin(wide.owner, [] if kept is None else kept)

    def only_one_fits(self) -> bool:
        """Whether no group has an option beside the chosen one that fits."""
        return int(self.fitting().sum()) == len(self.flat)


def columns(context: Context, groups: Sequence[Hashable], choices: Sequence[Any]) -> dict[str, list[Any]]:
    """The chosen options as columns: group, option, the objective and every cost."""
    table, flat = context.table, context.flat
    names = ["cost"] if table.budget_names is None else [str(name) for name in table.budget_names]
    found: dict[str, list[Any]] = {"group": list(groups), "option": list(choices), context.objective: table.scores[flat].tolist()}
    return found | {name: row[flat].tolist() for name, row in zip(names, table.costs, strict=True)}


def frame(found: dict[str, list[Any]]) -> Any:
    """The columns as a pandas data frame.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_frame needs pandas, which is not installed: pip install pandas") from error
    return pandas.DataFrame(found)


def sentences(
    context: Context, status: str, primal: float, gap: float | None, duals: FloatArray | None, stopped: str = ""
) -> list[str]:
    """What ``Selection.explain`` says, a sentence each."""
    table, word = context.table, context.objective
    better = "smaller" if context.minimize else "greater"
    size = f"The summed {word} is {_number(primal)}"
    if status == "violated":
        said = [f"{size}, and the budgets are exceeded: this method does not hold them."]
    elif status == "optimal":
        said = [f"{size}; it is proven that no selection that fits has a {better} one."]
    else:
        room = "how much better others may be is unknown" if gap is None else f"others may be better by {_number(gap)} at most"
        said = [f"{size}; it fits, but is not proven best ({_STOPPED.get(stopped, status)}): {room}."]
    for row in range(len(table.budgets)):
        said.append(_budget(context, row, 0.0 if duals is None else float(duals[row])))
    if status != "violated" and context.only_one_fits():
        said.append("Only one selection fits: every other option exceeds a bound even with all others at their cheapest.")
    elif duals is not None:
        said += _nearest(context, duals)
    return said


def text(head: str, groups: Sequence[Hashable], choices: Sequence[Any]) -> str:
    """A selection as text: its head, then a line a group."""
    shown = [(str(group), str(option)) for group, option in zip(groups[:_SHOWN], choices[:_SHOWN], strict=True)]
    width = max(len(group) for group, _ in shown)
    lines = [head, *(f"  {group:<{width}}  {option}" for group, option in shown)]
    return "\n".join(lines + [f"  ... and {len(groups) - _SHOWN} more groups"] * (len(groups) > _SHOWN))


def markup(head: str, found: dict[str, list[Any]]) -> str:
    """A selection as a table in HTML."""
    rows = list(zip(*(column[:_SHOWN] for column in found.values()), strict=True))
    cells = "".join(f"<tr>{''.join(f'<td>{html.escape(_cell(value))}</td>' for value in row)}</tr>" for row in rows)
    more = len(next(iter(found.values()))) - _SHOWN
    rest = f"<tr><td colspan={len(found)}>... and {more} more groups</td></tr>" if more > 0 else ""
    names = "".join(f"<th>{html.escape(name)}</th>" for name in found)
    return f"<p>{html.escape(head)}</p><table><tr>{names}</tr>{cells}{rest}</table>"


def _budget(context: Context, row: int, dual: float) -> str:
    """What is spent of a budget, whether it binds, and what one unit more would buy."""
    table, word = context.table, context.objective
    spent, upper = table.cost(row, context.flat), float(table.budgets[row])
    lower = -math.inf if table.floors is None else float(table.floors[row])
    name = table.budget_label(row).capitalize() if table.budget_names is None else f"Budget {table.budget_names[row]!r}"
    if upper < math.inf:
        share = f" ({100.0 * spent / upper:.3g} %)" if upper > 0.0 else ""
        said = f"{name}: {_number(spent)} of {_number(upper)} used{share}, {_number(upper - spent)} left"
    else:
        said = f"{name}: {_number(spent)} used"
    if lower > -math.inf:
        said += f", at least {_number(lower)} asked"
    if upper == math.inf and lower == -math.inf:
        return f"{said}; there is no limit."
    if dual == 0.0:
        return f"{said}; it does not bind at the margin."
    gain = "takes off" if context.minimize else "buys"
    if dual > 0.0:
        return f"{said}; it binds: at the margin one unit more {gain} about {_number(dual)} of {word}."
    return f"{said}; the lower bound binds: at the margin one unit less {gain} about {_number(-dual)} of {word}."


def _nearest(context: Context, duals: FloatArray) -> list[str]:
    """The groups whose next option is least behind the chosen one at the prices."""
    table = context.table
    sign = -1.0 if context.minimize else 1.0
    leader = np.arange(len(table.scores)) if context.rules is None else context.rules.leader
    allowed = table.allowed()
    reduced = np.where(allowed, sign * table.scores, 0.0) - duals @ np.where(allowed, table.costs, 0.0)
    worth = np.zeros(len(reduced))
    np.add.at(worth, leader, np.where(allowed, reduced, -np.inf))
    behind, fits = [], context.fitting()
    for group, chosen in enumerate(context.flat.tolist()):
        first, last = int(table.offsets[group]), int(table.offsets[group + 1])
        if leader[chosen] != chosen or last - first < 2:
            continue
        others = worth[first:last].copy()
        others[chosen - first] = -np.inf
        others[~fits[first:last]] = -np.inf
        other = first + int(np.argmax(others))
        if worth[other] > -np.inf:
            behind.append((float(worth[chosen] - worth[other]), group, chosen, other))
    said = []
    for margin, group, chosen, other in sorted(behind)[:_NEAREST]:
        held, next_best = (
            repr(position - int(table.offsets[group]) if table.options is None else table.options[position])
            for position in (chosen, other)
        )
        label = table.group_label(group).capitalize() if table.groups is None else f"Group {table.groups[group]!r}"
        if abs(margin) <= _TIED * max(1e-300, abs(float(worth[chosen])), abs(float(table.scores[chosen]))):
            said.append(f"{label} is at the margin: at these prices {held} and {next_best} are worth the same.")
        elif margin > 0.0:
            change = "smaller" if context.minimize else "greater"
            how = f"if that {context.objective} were {_number(margin)} {change}"
            said.append(f"{label} would change from {held} to {next_best} {how}.")
        else:
            said.append(f"{label} takes {held} to fill the budget; at these prices {next_best} is worth more.")
    return said


def _number(value: float) -> str:
    return f"{value:.6g}"


def _cell(value: Any) -> str:
    return _number(value) if isinstance(value, float) else str(value)
