"""What a named super-network holds: decisions, architectures, and what the whole of it costs. The command ``describe``.

Names are those of the published networks: ResNets and ResNet fabrics on 32x32 images, convolutional neural fabrics (of 6 scales and
128 filters; for segmentation of 9 scales and 64 filters on 256x256 images), and the spaces of HardCoRe-NAS and PruNet. Spaces
called small and those of filters are described as ``search`` has them on digits, its data by default: 10 classes, grey.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro
from rich.console import Console
from rich.table import Table

from constrained_nas.commands.console import PlainConsole
from constrained_nas.data import data_shape
from constrained_nas.runs import RunSettings, SpaceName
from graphs.own_code import is_own

if TYPE_CHECKING:
    import networkx as nx

    from constrained_nas.runs import Family
    from graphs import DagSpace, MBConvSpace

MBConvName = Literal["hardcore-small", "hardcore-imagenet", "hardcore-imagenet-paper", "ofa-mbv3"]
DagName = Literal[
    "resnet-20",
    "resnet-32",
    "resnet-44",
    "resnet-56",
    "resnet-110",
    "resnet-fabric-3",
    "resnet-fabric-5",
    "resnet-fabric-7",
    "resnet-fabric-9",
    "resnet-fabric-18",
    "cnf-1",
    "cnf-2",
    "cnf-4",
    "cnf-8",
    "cnf-segmentation-8",
]
MACHINES = (1, 2, 4)
SHOWN_OPTIONS = 12  # of a decision, in a table for people
DIGITS = 10, 1  # classes and channels: what spaces cost on them is read from a file, as counting all takes half a minute
COUNTED = Path(__file__).with_name("spaces.json")  # python -m constrained_nas.commands.describe writes it anew


@dataclass(frozen=True)
class Describe:
    """Say what a super-network holds: decisions, architectures, parameters, multiply-adds, and steps on 1, 2 and 4 machines.

    For example: describe hardcore-small

    The costs are those of the whole super-network; of a HardCoRe space, those of its heaviest network; of spaces of widths and of
    filters, those of the lightest and the heaviest network, in what search takes budgets on.
    """

    space: Annotated[str, tyro.conf.Positional]
    """A published network (resnet-20 ... -110, cnf-1 ... -8), a space of search (constrained-nas spaces), or FILE.py:CALLABLE, a
    network of your own: the file is run."""
    data: str | None = None
    """What a search will be given as --data: classes, channels and resolution follow from it."""
    classes: int | None = None
    """Of the data, instead of --data."""
    channels: int | None = None
    """Of the images, instead of --data."""
    resolution: int | None = None
    """Side of the images in pixels; by default that of --data, or the space's own."""
    json: bool = False
    """Print JSON instead of a table."""
    draw: Path | None = None
    """Draw the super-network into this file (.png, .pdf, .svg)."""


def describe(command: Describe) -> None:
    """Print what the super-network holds, and draw it if asked to.

    Raises:
        ValueError: a kind of picture that cannot be written, or a space that is not drawn.
        OSError: the picture cannot be written.
    """
    names = (*get_args(DagName), *get_args(MBConvName), *get_args(SpaceName))
    if command.space not in names and not is_own(command.space):
        near = get_close_matches(command.space, names, 3)
        near.sort(key=lambda name: name[:-1] != command.space[:-1])  # for resnet-21 rather resnet-20 than resnet-32
        hint = f"did you mean {near[0]}?" if near else "constrained-nas spaces lists those of search; or FILE.py:CALLABLE"
        raise ValueError(f"no space {command.space!r}: {hint}")
    from constrained_nas.runs.families import DagFamily
    from graphs.spaces import published_dag

    console = PlainConsole()
    published = command.space in get_args(DagName)
    if published and {command.data, command.classes, command.channels, command.resolution} != {None}:
        raise ValueError(f"{command.space} is described as it was published: leave out --data, --classes, --channels, --resolution")
    if command.space in get_args(MBConvName):
        from constrained_nas.reports import staged_positions

        classes, channels = data_shape(command.data, command.classes, command.channels)
        space = mbconv_space(command.space, side_of(command.space, command.data, command.resolution), classes, channels)  # type: ignore[arg-type]
        facts, dag, positions = _mbconv_facts(space), space.dag(), staged_positions(space)
    else:
        made = DagFamily(published_dag(command.space)) if published else _searched(command)
        if not isinstance(made, DagFamily):
            _describe_counted(console, made, command)
            return
        facts, dag, positions = _dag_facts(made.space), made.space.dag, None
        if not published:
            facts["ranges"] = {name: cost_range(made, name) for name in made.counted()}
    if command.draw is not None:
        from constrained_nas.reports import save_picture

        save_picture(command.draw, dag, str(facts["space"]), positions=positions)
    if command.json:
        console.print_json(json.dumps(facts))
    else:
        _print(console, facts, dag)
        if command.draw is not None:
            console.print(f"drawn in {command.draw}")


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


def short(value: float) -> str:
    """A count as a budget may be given: ``1.99M``."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def cost_range(family: Family, name: str) -> tuple[float, float]:
    """The least and the greatest of a counted cost, over the networks of the space."""
    cost = family.counted()[name]
    return cost.cost(family.cheapest(cost)), cost.cost(family.largest(cost))


def mbconv_space(
    name: MBConvName, resolution: int | None = None, classes: int | None = None, channels: int | None = None
) -> MBConvSpace:
    """The space of that name (HardCoRe-NAS, once-for-all), for images of that side and so many classes and channels (its own if
    None)."""
    from graphs import hardcore_imagenet, hardcore_small, ofa_mbv3

    if resolution is not None and resolution < 1:
        raise ValueError(f"resolution: expected at least one pixel, got {resolution}")
    asked = {"resolution": resolution, "classes": classes, "image_channels": channels}
    size: Any = {key: value for key, value in asked.items() if value is not None}
    if name == "hardcore-small":
        return hardcore_small(**size)
    if name == "ofa-mbv3":
        return ofa_mbv3(**size)
    return hardcore_imagenet("paper" if name.endswith("paper") else "release", **size)


def side_of(space: str, data: str | None, resolution: int | None) -> int | None:
    """In pixels, as a search on the same data has it where none is given; None for the space's own."""
    if resolution is not None or data is None:
        return resolution
    from constrained_nas.runs import plan_of

    return plan_of(RunSettings(space=space, data=data)).resolution


def _searched(command: Describe) -> Family:
    """A space of search: PruNet's published ones as they are, others on digits."""
    from constrained_nas.runs import make_space, plan_of
    from constrained_nas.runs.families import GPUNetFamily
    from graphs import gpunet_imagenet, gpunet_imagewoof

    name = command.space
    if name == "gpunet-imagenet":
        return GPUNetFamily(gpunet_imagenet())
    if name == "gpunet-imagewoof":
        return GPUNetFamily(gpunet_imagewoof())
    classes, channels = data_shape(command.data, command.classes, command.channels)
    plan = plan_of(RunSettings(space=name, data=command.data or "digits", resolution=command.resolution))
    return make_space(plan.settings.space, classes or DIGITS[0], channels or DIGITS[1], plan.resolution)


def _describe_counted(console: Console, family: Family, command: Describe) -> None:
    """Spaces of widths and of filters: their decisions, and the least and the greatest of every cost."""
    if command.draw is not None:
        raise ValueError(f"--draw: {command.space} decides on widths or filters, there are no switches to draw; leave it out")
    decisions, costs = family.decisions, family.counted()
    lightest = {name: round(cost.cost(family.cheapest(cost))) for name, cost in costs.items()}
    heaviest = {name: round(cost.cost(family.largest(cost))) for name, cost in costs.items()}
    architectures = family.networks
    if command.json:
        options = {decision.name: list(decision.options) for decision in decisions.decisions}
        facts = {"space": decisions.name, "decisions": options, "architectures": architectures}
        console.print_json(json.dumps({**facts, "lightest": lightest, "heaviest": heaviest}))
        return
    console.print(f"{decisions.name}: {architectures:.4g} architectures")
    table, shares = Table(), any(decision.units > 1 for decision in decisions.decisions)
    for column in ("decision", "options", "of")[: 2 + shares]:
        table.add_column(column)
    for decision in decisions.decisions:
        shown = " ".join(decision.options)
        if len(decision.options) > SHOWN_OPTIONS:
            shown = f"{' '.join(decision.options[:3])} ... {decision.options[-1]} ({len(decision.options)} in all)"
        table.add_row(decision.name, shown, *([f"each of {decision.units} filters"] if decision.units > 1 else []))
    console.print(table)
    for end, priced in (("lightest", lightest), ("heaviest", heaviest)):
        said = ", ".join(f"{value:,} {_counted_in(name, costs[name].unit)}" for name, value in priced.items())
        console.print(f"{end}: {said}")
    console.print(suggested({name: (lightest[name], heaviest[name]) for name in costs}))


def _counted_in(name: str, unit: str) -> str:
    """``parameters``, ``MACs``; and ``bytes of activation_memory`` where the unit does not say what is counted."""
    return f"{unit} of {name}" if unit in ("bytes", "mJ") else unit


def suggested(ranges: Mapping[str, tuple[float, float]]) -> str:
    """Budgets that a search of the space may be given: half-way from the least to the greatest cost."""
    halves = (f"--budget {name}={short((least + most) / 2)}" for name, (least, most) in ranges.items())
    return f"for example: {' or '.join(halves)}"


def _dag_facts(space: DagSpace) -> dict[str, Any]:
    from graphs.costs import connected_macs, connected_parameters, makespan_cost

    whole = space.whole
    return {
        "space": space.name,
        "decisions": {decision.name: list(decision.options) for decision in space.space.decisions},
        "architectures": 2 ** len(space.space.decisions),  # states of the switches; modules on no path make some of them equal
        "params": round(connected_parameters(space).cost(whole)),
        "mult_adds": round(connected_macs(space, "published").cost(whole)),
        "mult_adds_exact": round(connected_macs(space, "exact").cost(whole)),
        "sequential_ops": {str(machines): round(makespan_cost(space, machines).cost(whole)) for machines in MACHINES},
    }


def _mbconv_facts(space: MBConvSpace) -> dict[str, Any]:
    from constrained_nas.latency import uniform_architecture
    from graphs.costs import mac_cost, parameter_cost

    macs, parameters = mac_cost(space), parameter_cost(space)
    lightest = space.space.architecture(space.staged.blocks.vertex([0] * len(space.space.decisions)))
    heaviest = uniform_architecture(space, len(space.configurations) - 1)
    priced = {
        name: {"params": round(parameters.cost(network)), "mult_adds": round(macs.cost(network))}
        for name, network in (("lightest", lightest), ("heaviest", heaviest))
    }
    chain = len(space.fixed_modules()) + len(space.block_names)  # one after the other, on however many machines
    return {
        "space": space.space.name,
        "decisions": {decision.name: list(decision.options) for decision in space.space.decisions},
        "architectures": space.architectures,
        **priced["heaviest"],
        "mult_adds_exact": priced["heaviest"]["mult_adds"],
        "sequential_ops": {str(machines): chain for machines in MACHINES},
        **priced,
    }


def _print(console: Console, facts: dict[str, Any], dag: nx.MultiDiGraph) -> None:
    decisions: dict[str, list[str]] = facts["decisions"]
    staged = "heaviest" in facts
    if staged:
        table = Table(title=f"{facts['space']}: {facts['architectures']:.4g} architectures", title_justify="left")
        table.add_column("decision")
        table.add_column("options")
        for decision, options in decisions.items():
            table.add_row(decision, " ".join(options))
        console.print(table)
        for name in ("lightest", "heaviest"):
            priced = facts[name]
            console.print(f"{name}: {priced['params']:,} parameters, {priced['mult_adds']:,} multiply-adds")
        ends = [facts["lightest"], facts["heaviest"]]
        ranges = {budget: (ends[0][counted], ends[1][counted]) for budget, counted in (("params", "params"), ("macs", "mult_adds"))}
        console.print(suggested(ranges))
    else:
        table = Table(title=f"{facts['space']}: 2^{len(decisions)} architectures", title_justify="left", show_header=False)
        table.add_row("layers", f"{len(dag):,}")
        table.add_row("modules", f"{dag.number_of_edges():,}, of which {len(decisions):,} can be switched off")
        table.add_row("parameters", f"{facts['params']:,}")
        table.add_row("multiply-adds", f"{facts['mult_adds']:,} as published")
        table.add_row("", f"{facts['mult_adds_exact']:,} exact")
        console.print(table)
        if "ranges" in facts:
            told = ", ".join(f"{name} {short(least)} to {short(most)}" for name, (least, most) in facts["ranges"].items())
            console.print(f"connected networks: {told}\n{suggested(facts['ranges'])}")
        else:
            console.print("constrained-nas spaces lists the range of every budget, for those that search takes")
    steps = ", ".join(f"{count} on {machines}" for machines, count in facts["sequential_ops"].items())
    console.print(f"sequential steps of the {'heaviest' if staged else 'whole'} network: {steps} machines")


if __name__ == "__main__":
    COUNTED.write_text("[\n" + ",\n".join(map(json.dumps, counted(get_args(SpaceName), *DIGITS))) + "\n]\n")
