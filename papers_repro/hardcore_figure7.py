"""HardCoRe-NAS, Figure 7: where a search starts. Heat maps of configurations and depths for three starts at several budgets.

A search must begin inside its budget. The cheapest network does, and shows the search one network. The paper's balanced start (27)
spreads the shares of neighbouring configurations, sorted by latency, as evenly as the budget allows: depths first, then
configurations, in turn; what the depths take, the configurations lack. The maximum-entropy start spreads both at once. The paper
publishes heat maps without numbers; here each map comes with its slack, the share of configurations that are still alive, and the
time it took.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm

from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, new_figure, save_figure, started
from solvers.arrays import FloatArray
from solvers.quadratic import Quadratic
from solvers.results import Result, SolverError
from solvers.staged import Stage, StagedBlocks, balanced_start, cheapest_start, maximum_entropy_start

SCRIPT = "hardcore_figure7"
ALIVE = 1e-3  # a configuration with a smaller share is drawn less than once in a thousand networks
# Rounding of a sum of some hundred latencies, relative: what "fits" means here.
ROUND_OFF = 1e-12

Start = Callable[[StagedBlocks, Quadratic, float], Result]
STARTS: tuple[tuple[str, Start], ...] = (
    ("cheapest", cheapest_start),
    ("balanced", balanced_start),
    ("maximum entropy", maximum_entropy_start),
)
REFERENCES: tuple[tuple[str, Start], ...] = (
    ("balanced by HiGHS", lambda space, cost, budget: balanced_start(space, cost, budget, backend="highs")),
    ("balanced by Clarabel", lambda space, cost, budget: balanced_start(space, cost, budget, backend="cvxpy")),
)


@dataclass(frozen=True, slots=True)
class Options(ScriptOptions):
    """Heat maps of the feasible points a search can start from: cheapest, balanced (quadratic program), maximum entropy.

    Prints slack, share of configurations alive and time of each start at each budget; writes hardcore_figure7.json and
    hardcore_figure7.png. Without --table the latencies are made up: computed from operation counts of the paper's ImageNet space,
    not measured on anything.
    """

    scale: Scale = "laptop"
    """smoke: two budgets, few repetitions. laptop: the default. paper: more repetitions for the times."""
    seed: int = 0
    """Of the noise on the made-up latencies."""
    table: Path | None = None
    """A measured latency table (JSON, milliseconds) instead of the made-up one."""
    depths: tuple[int, ...] = (2, 3, 4)
    """Numbers of blocks a stage may run."""
    budgets_ms: tuple[float, ...] | None = None
    """Latency budgets in milliseconds; if not given, --shares decides."""
    shares: tuple[float, ...] = (0.05, 0.15, 0.3, 0.45)
    """Budgets as shares of the way from the cheapest to the costliest network. Smoke takes the first two."""
    references: bool = True
    """Also solve the quadratic programs by HiGHS and Clarabel, for their times."""


@dataclass(frozen=True, slots=True, eq=False)
class StagedLatencies:
    """A staged space with its latencies."""

    space: StagedBlocks
    cost: Quadratic
    blocks: tuple[str, ...]
    configurations: tuple[str, ...]
    origin: str


def preset(scale: Scale) -> Options:
    """The options of a scale."""
    return Options(scale)


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        options = script.options
        latencies = _made_up(options) if options.table is None else _measured(options.table, options.depths)
        budgets = _budgets(latencies, options)
        repeats = {"smoke": 3, "laptop": 20, "paper": 100}[options.scale]
        methods = STARTS + (REFERENCES if options.references else ())
        rows: list[Row] = []
        points: dict[tuple[str, float], FloatArray] = {}
        for budget in budgets:
            for name, start in methods:
                row, point = _measure(name, start, latencies, budget, repeats)
                rows.append(row)
                if point is not None:
                    points[name, budget] = point
        script.show(_table(latencies, rows, repeats))
        _plot(latencies, budgets, points, script.picture)


def _made_up(options: Options) -> StagedLatencies:
    """Latencies of the paper's ImageNet space from operation counts: 12 GMAC/s point-wise, 3 GMAC/s depthwise, 20 us a layer.

    The rates are those of a slow single core. Noise of 3 % stands for what counts do not explain.
    """
    generator = np.random.default_rng(options.seed)
    channels = ((24, 2), (40, 2), (80, 2), (112, 1), (192, 2))  # Table 3: output channels and stride of the five stages
    kinds = [(expansion, kernel, excite) for expansion in (3, 4, 6) for kernel in (3, 5) for excite in (False, True)]
    names = tuple(f"e{expansion} {kernel}x{kernel}{' SE' if excite else ''}" for expansion, kernel, excite in kinds)
    inputs, side, times, blocks = 16, 112, [], []
    for stage, (outputs, stride) in enumerate(channels):
        for block in range(4):
            step = stride if block == 0 else 1
            for expansion, kernel, excite in kinds:
                hidden, pixels = expansion * inputs, (side // step) ** 2
                pointwise = side**2 * inputs * hidden + pixels * hidden * outputs
                depthwise = pixels * hidden * kernel**2
                squeeze = 0.04 + pixels * hidden / 2e6 if excite else 0.0  # two tiny layers and two passes over the map
                milliseconds = pointwise / 12e6 + depthwise / 3e6 + squeeze + 3 * 0.02
                times.append(milliseconds * generator.normal(1.0, 0.03))
            blocks.append(f"{stage + 1}.{block + 1}")
            inputs, side = outputs, side // step
    space = StagedBlocks.of([Stage((len(kinds),) * 4, options.depths)] * len(channels))
    fixed = 9.0  # stem, first separable block, last convolutions, classifier
    return StagedLatencies(space, space.cost(fixed, times), tuple(blocks), names, "made up from operation counts, not measured")


def _measured(path: Path, depths: tuple[int, ...]) -> StagedLatencies:
    """A latency table of any staged space whose blocks are named stageS.blockB.

    Raises:
        ValueError: a file that is no latency table in milliseconds, other block names, configurations missing in a block.
    """
    from graphs.costs import load_latency_table

    table = load_latency_table(path)
    times: dict[tuple[int, int], dict[str, float]] = {}
    for entry in table.entries:
        place = re.fullmatch(r"stage(\d+)\.block(\d+)", entry.block)
        if place is None:
            raise ValueError(f"{path}: expected blocks named like 'stage1.block2', got {entry.block!r}")
        times.setdefault((int(place[1]), int(place[2])), {})[entry.configuration] = entry.median
    ordered = sorted(times)
    configurations = tuple(times[ordered[0]])
    flat = []
    for place_of in ordered:
        if times[place_of].keys() != set(configurations):
            raise ValueError(f"{path}: stage{place_of[0]}.block{place_of[1]} does not have the configurations of the first block")
        flat += [times[place_of][configuration] for configuration in configurations]
    sizes = [sum(1 for stage, _ in ordered if stage == wanted) for wanted in sorted({stage for stage, _ in ordered})]
    space = StagedBlocks.of([Stage((len(configurations),) * size, depths) for size in sizes])
    names = tuple(f"{stage}.{block}" for stage, block in ordered)
    origin = f"measured: {table.device}, {table.runtime}, {table.threads} threads, batch {table.batch}, {table.space}"
    return StagedLatencies(space, space.cost(table.fixed, flat), names, configurations, origin)


def _budgets(latencies: StagedLatencies, options: Options) -> tuple[float, ...]:
    if options.budgets_ms is not None:
        return options.budgets_ms
    times = latencies.space.per_configuration(latencies.cost).reshape(len(latencies.blocks), -1)
    least = _value(cheapest_start(latencies.space, latencies.cost, np.inf))
    greatest = latencies.cost.offset + float(times.max(axis=1).sum())
    shares = options.shares[:2] if options.scale == "smoke" else options.shares
    return tuple(round(least + share * (greatest - least), 2) for share in shares)


def _value(result: Result) -> float:
    if result.certificate is None:
        raise RuntimeError(result.message)
    return result.certificate.primal


def _measure(name: str, start: Start, latencies: StagedLatencies, budget: float, repeats: int) -> tuple[Row, FloatArray | None]:
    """One row of the table, and the point if there is one."""
    seconds = []
    try:
        for _ in range(repeats + 1):  # the first call pays for imports
            began = time.perf_counter()
            result = start(latencies.space, latencies.cost, budget)
            seconds.append(time.perf_counter() - began)
    except SolverError as error:
        return {"budget": budget, "start": name, "note": f"failed: {error}"}, None
    if result.x is None:
        return {"budget": budget, "start": name, "note": result.message}, None
    x, latency = result.x, latencies.cost.value(result.x)
    alpha, beta = x[latencies.space.alpha], x[latencies.space.beta]
    depths = np.tile([float(depth) for depth in latencies.space.stages[0].depths], len(latencies.space.stages))
    row: Row = {
        "budget": budget,
        "start": name,
        "latency": latency,
        "slack": budget - latency,
        "fits": bool(latency <= budget * (1 + ROUND_OFF)),
        "residual": latencies.space.blocks.residual(x),
        "alive": float((alpha > ALIVE).mean()) * 100,
        "depth": float(beta @ depths) / len(latencies.space.stages),
        "rounds": result.iterations,
        "time": statistics.median(seconds[1:]) * 1e3,
    }
    return row, x


def _table(latencies: StagedLatencies, rows: Sequence[Row], repeats: int) -> Rows:
    columns = (
        Column("start", "start", "cheapest network; balanced (27), here in closed form; maximum entropy; (27) by general solvers"),
        Column("budget", "T ms", "the latency budget", ".2f"),
        Column("latency", "latency ms", "expected latency of the start, LAT(alpha, beta)", ".2f"),
        Column("slack", "slack ms", "budget less latency; 0 means the budget is used up", ".1e"),
        Column("fits", "fits", "latency <= budget, to the rounding of the sum (1e-12 relative)"),
        Column("residual", "residual", "greatest error of a simplex: its sum, or a negative share", ".0e"),
        Column("alive", "alive %", f"share of alpha's entries above {ALIVE:g}", ".0f"),
        Column("depth", "depth", "mean number of blocks a stage runs", ".2f"),
        Column("rounds", "rounds", "pairs of quadratic programs, or evaluations of the root"),
        Column("time", "time ms", f"median of {repeats} calls on this machine", ".2f"),
        Column("note", "note", "why there is no point"),
    )
    noted = any("note" in row for row in rows)
    title = f"Feasible starts at {len({row['budget'] for row in rows})} budgets"
    remark = f"Latencies: {latencies.origin}. The paper publishes heat maps, no numbers: no published rows."
    return Rows(title, columns if noted else columns[:-1], rows, remark=remark)


def _plot(latencies: StagedLatencies, budgets: Sequence[float], points: dict[tuple[str, float], FloatArray], path: Path) -> None:
    """A row a start, two maps a budget: alpha (blocks x configurations) and beta (stages x depths)."""
    space, options = latencies.space, len(latencies.configurations)
    by_latency = np.argsort(space.per_configuration(latencies.cost).reshape(-1, options).mean(axis=0), kind="stable")
    norm = PowerNorm(0.5, vmin=0.0, vmax=1.0)  # the square root shows shares of 1/12 beside shares of 1
    figure = new_figure(3.6 * len(budgets) + 1.6, 3.6 * len(STARTS))
    axes = figure.subplots(len(STARTS), 2 * len(budgets), squeeze=False, width_ratios=[4.0, 1.2] * len(budgets))
    image: Any = None
    for row, (name, _) in enumerate(STARTS):
        for place, budget in enumerate(budgets):
            left, right = axes[row, 2 * place], axes[row, 2 * place + 1]
            point = points.get((name, budget))
            if point is None:
                left.axis("off")
                right.axis("off")
                continue
            alpha = point[space.alpha].reshape(-1, options)[:, by_latency]
            beta = point[space.beta].reshape(len(space.stages), -1)
            image = left.imshow(alpha, norm=norm, cmap="viridis", aspect="auto")
            right.imshow(beta, norm=norm, cmap="viridis", aspect="auto")
            _label(left, right, latencies, by_latency, bottom=row == len(STARTS) - 1, first=place == 0)
            alive = (alpha > ALIVE).mean() * 100
            budget_line = f"T = {budget:.1f} ms\n" if row == 0 else ""
            left.set_title(f"{budget_line}alpha: {alive:.0f} % alive", fontsize=9)
            right.set_title("beta", fontsize=9)
            if place == 0:
                left.set_ylabel(f"{name}\nstage.block", fontsize=10)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
        bar.set_label("share (square-root scale)")
    figure.suptitle("Feasible starts under a latency budget T (HardCoRe-NAS, Fig. 7); configurations by rising latency")
    save_figure(figure, path)


def _label(left: Any, right: Any, latencies: StagedLatencies, by_latency: np.ndarray, *, bottom: bool, first: bool) -> None:
    """Ticks: blocks at the left of a row, configurations and depths at the bottom of a column."""
    left.set_xticks(range(len(by_latency)))
    left.set_xticklabels([latencies.configurations[index] for index in by_latency] if bottom else [], rotation=90, fontsize=7)
    left.set_yticks(range(len(latencies.blocks)))
    left.set_yticklabels(latencies.blocks if first else [], fontsize=7)
    depths = latencies.space.stages[0].depths
    right.set_xticks(range(len(depths)))
    right.set_xticklabels(depths if bottom else [], fontsize=8)
    right.set_yticks(range(len(latencies.space.stages)))
    right.set_yticklabels([f"s{stage + 1}" for stage in range(len(latencies.space.stages))], fontsize=7)
    for border in np.cumsum([len(stage.configurations) for stage in latencies.space.stages])[:-1]:
        left.axhline(border - 0.5, color="white", lw=0.7)
    for axes in (left, right):
        axes.tick_params(length=0)
    if bottom:
        left.set_xlabel("configuration", fontsize=8)
        right.set_xlabel("depth", fontsize=8)


if __name__ == "__main__":
    main()
