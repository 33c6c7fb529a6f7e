"""What can be imported from the top of the package, and that the top by itself loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import constrained_nas


def test_the_problem_and_the_protocol_are_at_the_top() -> None:
    for name in constrained_nas.__all__:
        assert getattr(constrained_nas, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'search_problem'"):
        _ = constrained_nas.search_problem


def test_importing_the_top_loads_nothing_heavy() -> None:
    program = "import sys, constrained_nas; assert not {'torch', 'numpy', 'scipy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
