"""The spaces of search at a glance: how many decisions and networks, what they cost, which methods. The command ``spaces``.

To build them all takes a minute on a small machine, and a first look should not: those for digits are read from ``spaces.json``,
which a test compares with what is counted; ``python -m constrained_nas.commands.spaces`` writes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from constrained_nas.commands.console import PlainConsole
from constrained_nas.commands.describe import cost_range, short
from constrained_nas.runs import RunSettings, SpaceName

DIGITS = 10, 1  # classes, and channels of the images
COUNTED = Path(__file__).with_name("spaces.json")


@dataclass(frozen=True)
class Spaces:
    """List the spaces of search: decisions, networks, the least and the greatest cost, methods; as on digits, or as given.

    For example: spaces --classes 3 --channels 3
    """

    classes: int = 10
    """Of the data."""
    channels: int = 1
    """Of the images."""
    json: bool = False
    """Print JSON instead of a table."""


def spaces(command: Spaces) -> None:
    """Print the list."""
    classes, channels = command.classes, command.channels
    if classes < 1 or channels < 1:
        raise ValueError(f"expected at least one class and channel, got {classes} and {channels}")
    known = (classes, channels) == DIGITS
    facts = json.loads(COUNTED.read_text()) if known else counted(get_args(SpaceName), classes, channels)
    console = PlainConsole()
    if command.json:
        console.print_json(json.dumps(list(facts)))
        return
    for fact in facts:
        ranges = ", ".join(f"{cost} {short(least)} to {short(most)}" for cost, (least, most) in fact["costs"].items())
        console.print(
            f"{fact['space']}: {fact['decisions']} decisions, {fact['networks']:.2g} networks, {fact['resolution']} pixels"
        )
        console.print(f"    {ranges}; --method {', '.join(fact['methods'])}", soft_wrap=True)
    console.print("or a network of your own: FILE.py:CALLABLE (see describe --help)")


def counted(names: tuple[str, ...], classes: int, channels: int) -> Iterator[dict[str, Any]]:
    """What is said of each of the spaces, JSON-ready, one after the other as it is built."""
    from constrained_nas.runs import make_space, plan_of

    for name in names:
        resolution = plan_of(RunSettings(space=name)).resolution
        family = make_space(name, classes, channels, resolution)
        yield {
            "space": name,
            "decisions": len(family.decisions.decisions),
            "networks": family.networks,
            "resolution": resolution,
            "costs": {cost: cost_range(family, cost) for cost in family.counted()},
            "methods": list(family.methods),
        }


if __name__ == "__main__":
    COUNTED.write_text("[\n" + ",\n".join(map(json.dumps, counted(get_args(SpaceName), *DIGITS))) + "\n]\n")
