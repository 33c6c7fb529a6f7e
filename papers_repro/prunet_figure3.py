"""Figure 3 of PruNet at your scale: the networks that were found, drawn.

A row a network, a box a layer: as wide as its expansion, darker for a larger kernel, with a thick border where it has
squeeze-and-excitation; a skipped layer is a thin line. Dashed outlines show the widest that the layer could be.

Searches with several alphas and under a hard budget are run for it; or give ``--networks`` files of architectures that earlier
scripts wrote (``architectures/*.json`` in their folders; at the same scale, as they are of the same space).

Reference: PruNet, Fig. 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from constrained_nas.records import load_architecture
from graphs import Architecture
from graphs.spaces import GPUNetSpace
from papers_repro.harness import Column, Row, Rows, Scale, Script, new_figure, save_figure, started
from papers_repro.prunet import (
    PruNetOptions,
    SearchSpec,
    load_data,
    make_space,
    measure_latencies,
    run_searches,
    setup_preset,
    start_over,
)

SCRIPT = "prunet_figure3"

_SHADES = {3: "#c6dbef", 5: "#6baed6", 7: "#2171b5"}  # by kernel, told apart in greyscale


@dataclass(frozen=True)
class Options(PruNetOptions):
    """Found networks as pictures."""

    seed: int = 0
    """Of the searches."""
    alphas: tuple[float, ...] = (0.2, 0.8, 2.0)
    """Searches by alpha."""
    shares: tuple[float, ...] = (0.2,)
    """Searches under hard budgets, as shares of the way from the cheapest network's latency to the costliest's."""
    networks: tuple[Path, ...] = ()
    """Draw these architectures instead of searching."""


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(scale, alphas=(0.6,), shares=(), setup=setup_preset(scale))
    alphas = (0.2, 0.8, 2.0) if scale in ("laptop", "gpu") else (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 2.0)
    return Options(scale, alphas=alphas, setup=setup_preset(scale))


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        data = load_data(options.setup, options.seed)
        space = make_space(options.setup, data.classes, data.image_channels)
        if options.networks:
            named = {path.stem: load_architecture(path, space.space) for path in options.networks}
        else:
            named = _search(script, space)
        script.show(layer_rows(named, space))
        draw_networks_of(named, space, options.setup.title, script.picture)


def _search(script: Script[Options], space: GPUNetSpace) -> dict[str, Architecture]:
    options, folder = script.options, script.folder
    start_over(folder, options.setup)
    with script.bars() as progress:
        latencies = measure_latencies(space, options.setup, options.seed, progress, folder)
        specs = [SearchSpec(f"alpha{alpha:g}", options.seed, alpha) for alpha in options.alphas]
        limits = latencies.budgets(options.shares)
        specs += [SearchSpec(f"hard{number}", options.seed, 0.0, limit) for number, limit in enumerate(limits)]
        found = run_searches(specs, options.setup, latencies, folder, progress, retrain=False)
    named = {}
    for entry in sorted(found, key=lambda one: one.record.latency_ms):
        limit = entry.spec.budget_ms
        how = f"α = {entry.spec.alpha:g}" if limit is None else f"T = {limit:.2f} ms"
        named[f"{how}: {entry.record.latency_ms:.2f} ms"] = space.architecture(dict(entry.record.choices))
    return named


def layer_rows(named: dict[str, Architecture], space: GPUNetSpace) -> Rows:
    """A row a layer, a column a network."""
    columns = [Column("layer", "layer", "in order; channels in - out")]
    columns += [
        Column(f"network{n}", str(n + 1), f"{name}: kernel, x hidden width / inputs, SE and activation; - for a skip")
        for n, name in enumerate(named)
    ]
    ours: list[Row] = []
    for name, shape in space.layers.items():
        row: Row = {"layer": f"{name} {shape.inputs}-{shape.outputs}"}
        for number, architecture in enumerate(named.values()):
            option = space.chosen(architecture)[name]
            if option.block is not None:
                block = shape.blocks[option.block]
                expansion = f" x{option.width / shape.inputs:g}" if option.width else ""
                row[f"network{number}"] = f"k{block.kernel}{expansion}{' SE' if block.squeeze_excite else ''} {block.activation}"
            else:
                row[f"network{number}"] = None
        ours.append(row)
    return Rows("Found networks", columns, ours)


def draw_networks_of(named: dict[str, Architecture], space: GPUNetSpace, data: str, path: Path) -> None:
    """Write the picture; ``data`` in words."""
    figure = new_figure(2.4 + 0.95 * len(space.layers), 1.9 + 1.15 * len(named))
    axes: Axes = figure.subplots()
    widest = {name: shape.widths[-1] / shape.inputs if shape.widths else 1.0 for name, shape in space.layers.items()}
    most = max(widest.values())
    for row, architecture in enumerate(named.values()):
        chosen = space.chosen(architecture)
        for place, (name, shape) in enumerate(space.layers.items()):
            option, y = chosen[name], -float(row)
            full = 0.86 * widest[name] / most
            axes.add_patch(Rectangle((place - full / 2, y - 0.3), full, 0.6, fill=False, edgecolor="0.8", linestyle="--"))
            if option.block is None:
                axes.plot([place - 0.43, place + 0.43], [y, y], color="0.4", linewidth=1.2)
                continue
            block = shape.blocks[option.block]
            expansion = option.width / shape.inputs if option.width else 1.0
            width = 0.86 * expansion / most
            edge, thickness = ("#b0305c", 2.6) if block.squeeze_excite else ("0.25", 0.8)
            shade = _SHADES.get(block.kernel, "0.5")
            box = Rectangle((place - width / 2, y - 0.3), width, 0.6, facecolor=shade, edgecolor=edge, linewidth=thickness)
            axes.add_patch(box)
            text = f"x{expansion:g}" if option.width else "conv"
            axes.annotate(text, (place, y - 0.33), ha="center", va="top", fontsize=7, color="0.25")
    numbers = [
        f"{n.removeprefix('stage').replace('.layer', '.')}\n{s.outputs}" + ("↓" if s.stride > 1 else "")
        for n, s in space.layers.items()
    ]
    axes.set_xticks(range(len(space.layers)), numbers, fontsize=8)
    axes.set_yticks([-float(row) for row in range(len(named))], [f"({n}) {name}" for n, name in enumerate(named, 1)], fontsize=9)
    axes.set_xlim(-0.6, len(space.layers) - 0.4)
    axes.set_ylim(-len(named) + 0.35, 0.5)
    axes.set_xlabel("layer: stage.place, and its channels (↓: halves the side)")
    kernels = sorted({block.kernel for shape in space.layers.values() for block in shape.blocks})
    handles: list[Patch | Line2D] = [
        Patch(facecolor=_SHADES.get(kernel, "0.5"), edgecolor="0.25", label=f"kernel {kernel}") for kernel in kernels
    ]
    handles.append(Patch(facecolor="white", edgecolor="#b0305c", linewidth=2.6, label="squeeze-and-excitation"))
    handles.append(Patch(facecolor="white", edgecolor="0.8", linestyle="--", label="widest possible"))
    handles.append(Line2D([], [], color="0.4", linewidth=1.2, label="skipped"))
    axes.set_title(f"Networks found on {data}: a box a layer, as wide as its hidden channels", fontsize=10)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
