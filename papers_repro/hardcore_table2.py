"""HardCoRe-NAS, Table 2: what a search's point becomes when it is rounded to a network, and whether that network still fits.

Eq. 13 projects configurations under the latency that the relaxed depths give them, and depths under the latency of the relaxed
configurations. Each half fits beside the other's relaxed point; the network made of both halves need not, and in a measured share
of cases does not. Five schemes are compared on the same points under the same budgets:

- argmax: the likeliest option of every decision;
- separate LP: Eq. 13 as printed, two linear programs, a fractional couple going to its greater share;
- separate exact: the same two programs solved as 0-1 programs, so that rounding couples is not to blame;
- sequential: exact depths beside the relaxed configurations, then exact configurations under those depths;
- joint: both at once, exactly, with a certificate (ours).
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from constrained_nas.search import SearchOptions
from papers_repro.experiment import make_fabric
from papers_repro.hardcore import (
    LEARNED,
    SCHEMES,
    SOFT,
    STEPS,
    Checks,
    Instance,
    Projected,
    SetupOptions,
    check_joint,
    frank_wolfe_point,
    learned_points,
    prepare,
    project_point,
    random_point,
    setup_preset,
    synthetic_space,
    undecided_point,
)
from papers_repro.harness import Column, ProgressBars, Row, Rows, Scale, ScriptOptions, new_figure, save_figure, started

SCRIPT = "hardcore_table2"
PUBLISHED = ((35, 36, 35), (40, 42, 40), (45, 50, 45), (50, 54, 49), (55, 58, 54), (60, 66, 60))  # T, argmax, Eq. 13


@dataclass(frozen=True, slots=True)
class Options(ScriptOptions):
    """What rounding does to a budget: argmax and the paper's projection (Eq. 13) against exact projections of the same points.

    Prints, for several families of points, how often each scheme's network exceeds its latency budget, by how much, what it
    loses in credit and what it takes; then the latencies found under each budget, beside the paper's Table 2. Trains a small
    super-network on digits for the learned points. Writes hardcore_table2.json and hardcore_table2.png.
    """

    seed: int = 0
    """Of every random draw."""
    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    """Budgets, as shares of the way from the cheapest to the costliest network."""
    random_points: int = 200
    """Points a budget of each random family."""
    frank_wolfe_points: int = 60
    """Points a budget from block Frank-Wolfe on made-up losses."""
    frank_wolfe_iterations: int = 100
    """Steps of each of those runs."""
    frank_wolfe_noise: float = 0.3
    """Noise of their gradients, relative to the root mean square of the entries."""
    learned: bool = True
    """Also train a super-network and project the points of searches on it."""
    searches: int = 2
    """Searches a budget and method (HardCoRe as printed, with momentum; soft penalty) on the trained super-network."""
    search_epochs: int = 2
    """Epochs of a search; the paper's number."""
    search_batch: int = 64
    """Images in a step of a search."""
    cross_checks: int = 20
    """Points of each family whose joint projection is solved again by HiGHS as a mixed-integer program."""
    threads: int = 1
    """Torch threads of training and searches; more gain little on small networks, and wait long for one another on busy cores.
    0: as many as torch chooses."""
    setup: Annotated[SetupOptions, tyro.conf.arg(name="")] = field(default_factory=SetupOptions)
    """Data, space, training and measuring."""


def preset(scale: Scale) -> Options:
    """The options of a scale."""
    if scale == "smoke":
        few = Options(scale, random_points=10, frank_wolfe_points=2, searches=1, search_epochs=1, search_batch=16, cross_checks=2)
        return dataclasses.replace(few, shares=(0.2, 0.5), setup=setup_preset(scale))
    if scale == "laptop":  # points matter here, not accuracies: fewer epochs
        return Options(scale, setup=dataclasses.replace(setup_preset(scale), warm_up_epochs=3, multi_path_epochs=6))
    return Options(
        scale, threads=0, random_points=2000, frank_wolfe_points=500, searches=5, cross_checks=200, setup=setup_preset(scale)
    )


def main() -> None:
    """Run at the scale of the command line."""
    with started(SCRIPT, preset) as script:
        options = script.options
        with script.bars() as progress:
            instances = [*_synthetic(options, progress)]
            if options.learned:
                if options.threads:
                    torch.set_num_threads(options.threads)
                fabric = make_fabric(options.setup)
                prepared = prepare(options.setup, options.seed, fabric, progress, script.folder)
                searching = SearchOptions(options.search_epochs, options.search_batch, workers=options.setup.workers)
                seeds = range(options.seed, options.seed + options.searches)
                instances += learned_points(prepared, options.shares, seeds, searching, fabric, progress)
            projected = [
                row for number, each in enumerate(progress.track(instances, "projections")) for row in project_point(number, each)
            ]
            checks = check_joint(instances, options.cross_checks, progress)
        script.show(_summary(projected, checks, instances), _by_budget(projected))
        if options.learned:
            script.show(_found(projected, instances))
        _plot(projected, script.picture)


def _synthetic(options: Options, progress: ProgressBars) -> Iterator[Instance]:
    """The families that need no training, each point with a table of its own."""
    space, generator = synthetic_space(), np.random.default_rng(options.seed)
    draws = [share for share in options.shares for _ in range(options.random_points)]
    for share in progress.track(draws, "random points"):
        yield random_point("random", space.staged, space.draw(generator), share, generator)
        yield random_point("free option", space.staged, space.draw(generator), share, generator, free_option=True)
        yield undecided_point("undecided", space.staged, space.draw(generator), share, generator)
    runs = [share for share in options.shares for _ in range(options.frank_wolfe_points)]
    steps, noise = options.frank_wolfe_iterations, options.frank_wolfe_noise
    for share in progress.track(runs, "block Frank-Wolfe"):
        cost = space.draw(generator)
        yield frank_wolfe_point("Frank-Wolfe", space.staged, cost, share, generator, iterations=steps, noise=noise)


def _summary(projected: Sequence[Projected], checks: Checks, instances: Sequence[Instance]) -> Rows:
    columns = (
        Column(
            "points",
            "points: scheme",
            "random: Dirichlet points, tilted onto the budget; free option: the same where a configuration of each block costs 0; "
            "undecided: each decision between its cheapest and its costliest option, made to be hard; Frank-Wolfe: Algorithm 1 on "
            "made-up losses; learned: where HardCoRe searches end on a super-network trained in this run; steps: their "
            "points on the way; soft penalty: where searches without a hard budget end. argmax: likeliest options; separate LP: "
            "the paper's Eq. 13; separate exact: Eq. 13 by 0-1 programs; sequential: depths, then configurations; joint: ours",
        ),
        Column("count", "n", "number of points, over all budgets"),
        Column("violating", "beyond T %", "share of networks that exceed their budget", ".1f"),
        Column("worst", "worst %", "greatest excess, in per cent of the budget", ".2f"),
        Column("lost", "lost %", "mean credit lost against the joint optimum, over networks that fit", ".2f"),
        Column("time", "time ms", "median of a projection on this machine, input checks included", ".3f"),
    )
    best = {row.instance: row.credit for row in projected if row.scheme == "joint"}
    rows: list[Row] = []
    unanswered = 0
    for family in dict.fromkeys(row.family for row in projected):
        for scheme in SCHEMES:
            chosen = [row for row in projected if row.family == family and row.scheme == scheme]
            unanswered += sum(row.latency is None for row in chosen)
            lost = [
                100.0 * round(1.0 - row.credit / optimum, 12)  # equal credits differ by the order of their sums
                for row in chosen
                if row.fits and row.credit is not None and (optimum := best[row.instance])
            ]
            beyond = [100.0 * row.excess for row in chosen if row.violates and row.excess is not None]
            rows.append(
                {
                    "points": f"{family}: {scheme}",
                    "count": len(chosen),
                    "violating": 100.0 * len(beyond) / len(chosen),
                    "worst": max(beyond, default=0.0),
                    "lost": statistics.fmean(lost) if lost else None,
                    "time": 1e3 * statistics.median(row.seconds for row in chosen),
                }
            )
    outside = ", ".join(f"{count} of {family}" for family, count in checks.outside.items() if count) or "none"
    remark = (
        f"Points that exceed their own budget before any rounding: {outside}. Projections that found no network (a half without "
        f"room): {unanswered}. Joint projections: greatest certified gap {checks.greatest_gap:.1e}; {checks.compared} of them "
        f"solved again by HiGHS, greatest difference of credit {checks.greatest_difference:.1e}."
    )
    return Rows(f"Projections of {len(instances)} points", columns, rows, remark=remark)


def _by_budget(projected: Sequence[Projected]) -> Rows:
    columns = (
        Column("family", "points", "as above, the families with many points a budget"),
        Column("share", "T at", "the budget, as a share of the way from the cheapest to the costliest network", ".2f"),
        *_scheme_columns("share of networks that exceed the budget, %", ".0f"),
    )
    rows: list[Row] = []
    for family in _many(projected):
        for share in sorted({row.share for row in projected if row.family == family}):
            cells: Row = {"family": family, "share": share}
            for scheme in SCHEMES:
                cells[scheme] = _violations(projected, family, share, scheme)[0]
            rows.append(cells)
    return Rows("Networks beyond their budget, %, by budget", columns, rows)


def _scheme_columns(meaning: str, style: str) -> list[Column]:
    """A column a scheme, all of one meaning."""
    return [Column(scheme, scheme, meaning if scheme == SCHEMES[0] else "likewise", style) for scheme in SCHEMES]


def _many(projected: Sequence[Projected]) -> list[str]:
    """The families with enough points a budget for shares to mean something: a search has many steps but one end."""
    return [family for family in dict.fromkeys(row.family for row in projected) if family not in (LEARNED, SOFT)]


def _violations(projected: Sequence[Projected], family: str, share: float, scheme: str) -> tuple[float, float]:
    """Share of networks beyond the budget and the greatest excess, both in per cent."""
    chosen = [row for row in projected if (row.family, row.share, row.scheme) == (family, share, scheme)]
    worst = max((row.excess for row in chosen if row.excess is not None and row.violates), default=0.0)
    return 100.0 * sum(row.violates for row in chosen) / len(chosen), 100.0 * worst


def _found(projected: Sequence[Projected], instances: Sequence[Instance]) -> Rows:
    columns = (
        Column("budget", "T ms", "the latency constraint", ".3g"),
        *_scheme_columns("latency (ms, by the table) of the network found under T; of several searches the mean", ".3g"),
    )
    rows: list[Row] = []
    for share in dict.fromkeys(row.share for row in projected if row.family == LEARNED):
        numbers = [number for number, each in enumerate(instances) if each.family == LEARNED and each.share == share]
        cells: Row = {"budget": instances[numbers[0]].budget}
        for scheme in SCHEMES:
            found = [row.latency for row in projected if row.instance in numbers and row.scheme == scheme]
            known = [latency for latency in found if latency is not None]
            cells[scheme] = statistics.fmean(known) if known else None
        rows.append(cells)
    published = [{"budget": budget, "argmax": argmax, "separate LP": projection} for budget, argmax, projection in PUBLISHED]
    source = "Table 2; Xeon, batch 1"
    return Rows("Latency found by HardCoRe searches under each constraint", columns, rows, published, source)


def _plot(projected: Sequence[Projected], path: Path) -> None:
    """A column a family: share of violating networks above, greatest excess below, against the budget."""
    families = _many(projected)
    looks = {
        "argmax": ("#d95f02", "s", "-"),
        "separate LP": ("#c51b7d", "v", "-"),
        "separate exact": ("#7570b3", "^", "-"),
        "sequential": ("#1b9e77", "o", "--"),
        "joint": ("#08306b", ".", "-"),
    }
    figure = new_figure(2.7 * len(families) + 0.8, 6.6)
    axes = figure.subplots(2, len(families), sharex=True, sharey="row", squeeze=False)
    for column, family in enumerate(families):
        shares = sorted({row.share for row in projected if row.family == family})
        for scheme, (color, marker, style) in looks.items():
            found = np.array([_violations(projected, family, share, scheme) for share in shares])  # (budgets, 2)
            label = f"{scheme} (ours)" if scheme == "joint" else scheme
            for row in range(2):
                axes[row, column].plot(
                    shares, found[:, row], color=color, marker=marker, ls=style, ms=5, lw=1.5, label=label, clip_on=False
                )
        count = sum(row.family == family and row.scheme == "joint" and row.share == shares[0] for row in projected)
        named = "steps of learned searches" if family == STEPS else family
        axes[0, column].set_title(f"{named}\n{count} points a budget", fontsize=10)
        axes[1, column].set_xlabel("budget (0: cheapest, 1: costliest)", fontsize=9)
    axes[0, 0].set_ylabel("networks beyond their budget, %")
    axes[1, 0].set_ylabel("greatest excess, % of the budget")
    axes[1, 0].set_yscale("symlog", linthresh=1.0)  # shows .2 % beside 130 %, and 0
    axes[1, 0].set_yticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
    for each in axes.flat:
        each.set_ylim(bottom=0)
        each.grid(alpha=0.25)
        each.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("Rounding a search's point to a network: does it still fit its budget? (HardCoRe-NAS, Table 2 and Eq. 13)")
    save_figure(figure, path)


if __name__ == "__main__":
    main()
