"""What a sweep can be asked for, by name; nothing here needs torch."""

from __future__ import annotations

from typing import Literal

SearchMode = Literal["once", "every"]
