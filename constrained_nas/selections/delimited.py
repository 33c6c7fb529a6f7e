"""CSV as spreadsheets write it: semicolons, tabs or bars for commas, commas for points."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")


def separator_of(header: str, names: Collection[str]) -> str:
    """Of the columns: a comma unless the line of their names has another in its place.

    Example:
        >>> separator_of("group;option;score", ("group", "option"))
        ';'
    """
    if "," in header and set(names) & {cell.strip().strip('"\ufeff') for cell in header.split(",")}:
        return ","
    try:
        return csv.Sniffer().sniff(header, "".join(SEPARATORS)).delimiter
    except csv.Error:
        return ","


def with_point(cell: str, separator: str) -> str:
    """The number with a decimal point, where columns are not separated by commas.

    Example:
        >>> with_point("1,5", ";"), with_point("1,5", ",")
        ('1.5', '1,5')
    """
    return cell.replace(",", ".") if separator != "," and _DECIMAL_COMMA.fullmatch(cell) else cell
