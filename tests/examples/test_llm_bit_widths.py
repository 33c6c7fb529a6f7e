"""The example of a language model's types: what it chooses fits, and greedy and uniform choices lose no less."""

from __future__ import annotations

import re

import pytest

from examples.llm_bit_widths import main


def test_its_choices_fit_and_none_beside_them_loses_less(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    printed = capsys.readouterr().out
    budgets = re.split(r"\n(?=[\d.]+ bits a weight)", printed)[1:]
    assert len(budgets) == 3
    for text in budgets:
        limit = float(text.split()[0])
        (loss, spent), *others = [tuple(map(float, pair)) for pair in re.findall(r"loss ([\d.]+) at ([\d.]+)", text)]
        assert spent <= limit + 1e-4
        assert others and all(loss <= other for other, _ in others)
