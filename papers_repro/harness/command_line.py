"""The command line of a script: the scale is read first, and its values are the defaults of every other flag.

So a flag that is not given takes the value of its scale, and ``--scale paper --help`` shows the paper's values.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar, get_args

import tyro

from papers_repro.harness.rows import Scale

Options = TypeVar("Options")


def read_options(preset: Callable[[Scale], Options], arguments: Sequence[str] | None = None) -> Options:
    """Options from the command line (or ``arguments``).

    Args:
        preset: the options of a scale, a dataclass with a field ``scale`` that says which.
        arguments: instead of ``sys.argv[1:]``.

    Raises:
        SystemExit: a value that the options refuse, said in one line.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--scale", default="laptop")
    scale = first.parse_known_args(arguments)[0].scale
    if scale not in get_args(Scale):
        scale = "laptop"  # tyro refuses it in a moment, with its own message
    default = preset(scale)
    try:
        return tyro.cli(type(default), default=default, args=arguments)
    except ValueError as error:  # an option's own check: no traceback for a slip on the command line
        raise SystemExit(str(error)) from error
