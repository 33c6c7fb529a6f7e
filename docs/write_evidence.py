"""Write README's tables from committed records: the evidence of papers_repro and the sizes of ``benchmarks/limits.py``.

    python docs/write_evidence.py

Every figure there is read from a record; nothing is written by hand. A test holds README to what this script would write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "papers_repro" / "records"
LIMITS = ROOT / "benchmarks" / "results" / "limits.json"
BEGIN, END = "<!-- evidence: written by docs/write_evidence.py -->", "<!-- end of evidence -->"
BEGIN_SIZES, END_SIZES = "<!-- sizes: written by docs/write_evidence.py -->", "<!-- end of sizes -->"
_SIZES = {
    "groups": "groups of 10 options, one budget, solved exactly",
    "options": "options in each of 100 groups, one budget, solved exactly",
    "budgets": "budgets on 100 groups of 10 options, solved exactly",
    "tensors": "tensors of 5 types, `allocate`",
    "edges": "edges of a DAG: its cheapest connected sub-graph",
    "images": "images drawn at 32 pixels and kept in memory",
    "cells": "cells of a sweep, each a projection of one search",
    "processes": "processes for the same steps of training",
}


def _record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
    return found


def _rows(record: dict[str, Any], table: int, key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in record["tables"][table]["ours"]}


def _macro_regret() -> str:
    record = _record("macro_regret")
    rows = _rows(record, 0, "method")
    title = record["tables"][0]["title"]
    said = [f"{name} {rows[name]['regret']:.3f} ± {rows[name]['half']:.3f}" for name in rows]
    ours, others = said[0], ", ".join(sorted(said[1:], key=lambda text: float(text.split(" ± ")[0].rsplit(" ", 1)[1])))
    broken = [f"{name} in {row['violations']:.0f} %" for name, row in rows.items() if row["violations"]]
    return (
        f"| accuracy below the best network that fits, {title}, in % (95 % interval) | `macro_regret.py`, {record['scale']} | "
        f"**{ours}**; {others}. Over budget: {', '.join(broken) or 'none'} |"
    )


def _macro_supernet() -> Iterator[str]:
    record = _record("macro_supernet")
    ranks = _rows(record, 0, "guess")
    best = max(ranks, key=lambda name: ranks[name]["tau"])
    cheap = ranks["multiply-adds"]
    yield (
        f"| Kendall's tau with the truth, {record['tables'][0]['title']} | `macro_supernet.py`, {record['scale']} | "
        f"{best} **{ranks[best]['tau']:.2f} ± {ranks[best]['half']:.2f}**; multiply-adds alone {cheap['tau']:.2f} |"
    )
    found = _rows(record, 1, "method")
    title = record["tables"][1]["title"].lower()
    yield (
        f"| accuracy below the best network that fits, in %: {title} | `macro_supernet.py`, {record['scale']} | "
        + "; ".join(f"{name} {row['regret']:.2f}" for name, row in found.items())
        + " |"
    )


def _hardcore_table1() -> Iterator[str]:
    record = _record("hardcore_table1")
    told = _rows(record, 1, "method")
    about = record["tables"][0]["remark"].split(";")[0]
    over = ", ".join(f"{name} {row['violations']}" for name, row in told.items() if not row["violations"].startswith("0/"))
    said = []
    for name, row in told.items():
        if row["difference"] is not None:
            verdict = " **ours better**" if row["verdict"] == "ours better" else ""
            said.append(f"{name} {row['difference']:+.1f} ± {row['interval']:.1f}{verdict}")
    run = f"`hardcore_table1.py`, {record['scale']}, {record['seconds'] / 60:.0f} min"
    yield (
        f"| test accuracy of ours less another's, in % (95 % interval over seeds): {about}, latency budgets | {run} | "
        f"{'; '.join(said)}. Over budget as measured: {over or 'none'} |"
    )


def _hardcore_paths() -> str:
    record = _record("hardcore_paths")
    table = record["tables"][0]
    said = [
        f"path a {row['path']}, {row['method']} {row['accuracy']:.1f}"
        + (f" (ours less it {row['against'].replace('ours better', '**ours better**')})" if row.get("against") else " (ours)")
        for row in table["ours"]
    ]
    return (
        f"| test accuracy in % of what is found: {table['title']}, training of the same time, {table['remark'].split(';')[0]} | "
        f"`hardcore_paths.py`, {record['scale']}, {record['seconds'] / 60:.0f} min | {'; '.join(said)} |"
    )


def _hardcore_cifar() -> str:
    record = _record("hardcore_cifar")
    table, said = record["tables"][0], []
    ours = table["ours"][0]
    for row in table["ours"]:
        if row.get("against"):
            against = row["against"].replace("ours better", "**ours better**")
            said.append(f"{row['method']} {row['accuracy']:.1f} (ours less it {against})")
    hours = table["remark"].rsplit(" in ", 1)[1].rstrip(".")
    return (
        f"| test accuracy in % of what is found: {table['title']}, budgets on multiply-adds, {record['options']['seeds']} seeds | "
        f"`hardcore_cifar.py`, {hours} | ours {ours['accuracy']:.1f}; {'; '.join(said)} |"
    )


def evidence() -> str:
    """The table, in Markdown."""
    return "\n".join(
        [
            "| what | script, scale | found |",
            "|---|---|---|",
            _macro_regret(),
            *_macro_supernet(),
            *_hardcore_table1(),
            _hardcore_paths(),
            _hardcore_cifar(),
        ]
    )


def sizes() -> str:
    """The largest size of each kind that was tried, in Markdown."""
    record = json.loads(LIMITS.read_text())
    lines = [
        "| what | sizes tried | time at the last, s | peak memory, MiB | growth of the time (exponent) |",
        "|---|--:|--:|--:|---|",
    ]
    for what, said in _SIZES.items():
        rows = [row for row in record["rows"] if row["what"] == what]
        before, last = rows[-2:]
        slope = math.log(last["seconds"] / before["seconds"]) / math.log(last["size"] / before["size"])
        growth = "straight" if abs(slope - 1) <= 0.15 else "steeper" if slope > 1 else "flatter"
        growth = "falls" if slope < 0 else growth
        tried = " / ".join(f"{row['size']:,}" for row in rows)
        lines.append(f"| {said} | {tried} | {last['seconds']:.2g} | {last['mib']:,.0f} | {growth} ({slope:.1f}) |")
    return "\n".join(lines)


def with_evidence(text: str) -> str:
    """README's text with its tables as the records have them."""
    for begin, table, end in ((BEGIN, evidence(), END), (BEGIN_SIZES, sizes(), END_SIZES)):
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_evidence(readme.read_text()))
