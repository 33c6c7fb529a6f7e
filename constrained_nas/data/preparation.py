"""What images go through before a network sees them, so that others can be given to it once it is deployed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Preparation:
    """Of the images a network was tested on; what is not known is empty.

    Attributes:
        classes: their names, in the order of the network's outputs.
        mean, deviation: by channel: a pixel from 0 to 1 goes in as (pixel - mean) / deviation.
        sizing: how an image comes to the network's resolution, in words.
    """

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    sizing: str = ""

    def facts(self, channels: int, resolution: int) -> dict[str, Any]:
        """All that is known, JSON-ready, as exported files carry it.

        Example:
            >>> Preparation(classes=("cat", "dog")).facts(3, 32)
            {'classes': ['cat', 'dog'], 'channels': 3, 'resolution': 32}
        """
        known = {"mean": list(self.mean), "deviation": list(self.deviation), "sizing": self.sizing}
        named = {"classes": list(self.classes)} if self.classes else {}
        return {**named, "channels": channels, "resolution": resolution, **{name: value for name, value in known.items() if value}}
