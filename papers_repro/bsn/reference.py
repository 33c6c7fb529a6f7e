"""What the tables of Budgeted Super Networks say that needs no training: our costs of the reference networks beside the published.

Every cost is computed here from our own definitions (``graphs.costs``) of a network built by our own code; what follows from the
paper's counting convention stands in a column of its own, with a tick where they are equal to the digit. The paper prints fewer
digits, and of the whole fabrics none but the steps of n = 18: only its accuracies and learned networks are called published.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphs.costs import connected_macs
from papers_repro.bsn.networks import Family, cost_model, named_network
from papers_repro.bsn.published import FABRICS, NETWORKS, CostName, DataName, PublishedNetwork, accuracies_of, curves
from papers_repro.harness import Column, Row, Rows

_CLASSES: dict[DataName, int] = {"CIFAR-10": 10, "CIFAR-100": 100, "Part Labels": 3}
_FAMILIES: dict[str, Family] = {"resnet": "ResNet", "resnet-fabric": "ResNet", "cnf": "CNF", "cnf-segmentation": "CNF segmentation"}
_SOURCE = "Véniat & Denoyer"


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table of the paper: its number, what it is about, and the cost it budgets."""

    number: int
    data: DataName
    cost: CostName
    families: tuple[Family, ...]
    title: str


TABLES: dict[int, TableSpec] = {
    spec.number: spec
    for spec in (
        TableSpec(1, "CIFAR-10", "macs", ("ResNet", "CNF"), "CIFAR-10, multiply-adds"),
        TableSpec(2, "CIFAR-100", "macs", ("ResNet",), "CIFAR-100, multiply-adds"),
        TableSpec(3, "CIFAR-10", "parameters", ("ResNet", "CNF"), "CIFAR-10, parameters"),
        TableSpec(4, "Part Labels", "macs", ("CNF segmentation",), "Part Labels, multiply-adds"),
        TableSpec(5, "CIFAR-10", "steps-4", ("ResNet", "CNF"), "CIFAR-10, sequential steps on 4 machines"),
        TableSpec(6, "CIFAR-10", "steps-1", ("ResNet", "CNF"), "CIFAR-10, sequential steps on 1 machine"),
        TableSpec(7, "CIFAR-100", "steps-1", ("ResNet",), "CIFAR-100, sequential steps on 1 machine"),
        TableSpec(8, "CIFAR-10", "steps-2", ("ResNet", "CNF"), "CIFAR-10, sequential steps on 2 machines"),
        TableSpec(9, "CIFAR-100", "steps-2", ("ResNet",), "CIFAR-100, sequential steps on 2 machines"),
    )
}


def reference_rows(table: TableSpec) -> Rows:
    """The reference networks of a table, and the whole ResNet fabrics: our cost, that of the convention, a tick where equal."""
    rows = [_row(network, table) for network in _networks(table)]
    counted = "steps" if table.cost.startswith("steps") else {"macs": "multiply-adds", "parameters": "parameters"}[table.cost]
    columns = [
        Column(
            "network", "network", "ResNets and convolutional neural fabrics (CNF) of the paper's sizes, and whole ResNet fabrics"
        ),
        Column("ours", f"our {counted}", f"{counted} of the network that our code builds, by our own cost"),
        Column(
            "derived",
            "by its convention",
            "worked out from the paper's counting convention; agrees with every digit that it prints, where it prints the cost",
        ),
        Column("equal", "equal", "✓ where the two are equal to the digit, ✗ where not"),
    ]
    if table.cost == "macs":
        meaning = "multiply-adds as they run: the published ones of CNFs count convolutions after up-sampling at a fourth"
        columns.append(Column("exact", "exact", meaning))
    columns += [
        Column("accuracy", "accuracy %", "published: trained by the paper's authors", ".2f"),
        Column("original", "original %", "published: by the authors of the network", ".2f"),
    ]
    equal = sum(row["equal"] == "✓" for row in rows)
    remark = f"{equal} of {len(rows)} costs are equal to those of the paper's convention; accuracies are published, not ours."
    return Rows(f"Table {table.number}: reference networks ({table.title})", columns, rows, remark=remark)


def learned_published_rows(table: TableSpec) -> Rows:
    """The learned networks of a table as published."""
    found = curves(table.data, table.cost)
    unit = found[0].unit
    columns = [
        Column("network", "network", "B-ResNet and B-CNF: learned in a ResNet fabric and in a CNF; others as cited by the paper"),
        Column("cost", unit, "cost, as printed", "g"),
        Column("accuracy", "accuracy %", f"on {table.data}, the paper's protocol on the authors' machines", ".2f"),
    ]
    published: list[Row] = [
        {"network": curve.family, "cost": float(cost), "accuracy": accuracy} for curve in found for cost, accuracy in curve.points
    ]
    title = f"Table {table.number}: learned networks, as published"
    return Rows(title, columns, [], published, f"{_SOURCE}, Table {table.number}")


def _networks(table: TableSpec) -> list[PublishedNetwork]:
    named = [network for network in NETWORKS if _FAMILIES[network.name.rpartition("-")[0]] in table.families]
    with_fabrics = "ResNet" in table.families and (table.data == "CIFAR-10" or table.cost.startswith("steps"))
    return named + (list(FABRICS) if with_fabrics else [])


def _row(network: PublishedNetwork, table: TableSpec) -> Row:
    space = named_network(network.name, _CLASSES[table.data]).space()
    counted: CostName = "macs-published" if table.cost == "macs" else table.cost
    ours, derived = round(cost_model(space, counted).cost(space.whole)), network.cost(table.cost, table.data)
    accuracy, original = accuracies_of(network.name, table.data)
    row: Row = {
        "network": network.name,
        "ours": f"{ours:,}",
        "derived": f"{derived:,}",
        "equal": "✓" if ours == derived else "✗",
        "accuracy": accuracy,
        "original": original,
    }
    if table.cost == "macs":
        row["exact"] = f"{round(connected_macs(space, 'exact').cost(space.whole)):,}"
    return row
