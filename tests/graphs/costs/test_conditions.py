"""A table measured under other conditions than are asked for is refused, with both named."""

from __future__ import annotations

import re

import pytest
from support.fakes import true_table
from support.tiny import tiny_space

from graphs.costs import TableConditions, require_conditions


def test_agreement_and_what_is_not_asked() -> None:
    table = true_table(tiny_space())
    require_conditions(table, TableConditions())
    asked = TableConditions(table.device, 1, "ms", 1, table.runtime, 16, "wall")
    require_conditions(table, asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (TableConditions(device="Pixel 6"), "where 'Pixel 6' is asked for"),
        (TableConditions(batch=64), "batch 1 where 64 is asked for"),
        (TableConditions(unit="s"), "unit 'ms' where 's' is asked for"),
        (TableConditions(threads=4, resolution=224), "threads 1 where 4 is asked for, resolution 16 where 224 is asked for"),
        (TableConditions(clock="processor"), "clock 'wall' where 'processor' is asked for"),
    ],
)
def test_differences(asked: TableConditions, said: str) -> None:
    with pytest.raises(ValueError, match=r"^phone\.json: measured with .*" + re.escape(said)):
        require_conditions(true_table(tiny_space()), asked, "phone.json")
