"""Table 2 of PruNet at your scale: networks found for several alphas and under hard latency budgets, retrained and measured.

The paper charges ``alpha (ln LAT)^0.6``, searches with three lambdas for every alpha, and takes the network of the least loss. A
hard budget (beyond the paper) names the latency instead. Both are in the table, and so is what it takes to land within 1 % under a
wanted latency: alpha by bisection, a search a guess, against one search whose survivors are projected onto the budget; or onto the
window between 99 % of it and it ("full"), which lands by construction if any surviving network lies there. Hard searches charge
nothing for latency (alpha 0): there is no coefficient to choose. Beside them stands what a search must beat, a random network in
the same window; at the scales on CIFAR-10 soft networks, too, stand beside random and uniform ones of their own latency.
Accuracies are those of networks retrained from fresh weights, compared over seeds with 95 % intervals.

PRUNET-0 to -6 are published rows and stand apart; peers that can be built are counted and timed on this machine.

Reference: PruNet, Table 2 and Fig. 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from constrained_nas.latency import Measurement
from graphs.costs import width_count_cost
from graphs.spaces import GPUNetSpace
from papers_repro.harness import Column, ProgressBars, Row, Rows, Scale, compared, half_width, mean, started
from papers_repro.prunet import (
    Matched,
    MatchOptions,
    Measured,
    Pruned,
    PruNetOptions,
    SearchSpec,
    WidthLatencies,
    check_peers,
    draw_table2,
    fit_remark,
    front_rows,
    match_budgets,
    measure_found,
    measured_space,
    peer_rows,
    random_networks,
    rival_rows,
    rivals_of,
    run_searches,
    setup_preset,
    start_over,
)

SCRIPT = "prunet_table2"


@dataclass(frozen=True)
class Options(PruNetOptions):
    """Networks found for several alphas and under hard latency budgets."""

    seeds: int = 3
    """How many seeds."""
    alphas: tuple[float, ...] = (0.2, 0.6, 1.2, 2.0)
    """Coefficients of the latency in soft searches."""
    scales: tuple[float, ...] = (0.85, 0.55, 0.4)
    """lambdas of every soft search, of which the one with the least loss counts."""
    shares: tuple[float, ...] = (0.1, 0.2)
    """Hard budgets, as shares of the way from the cheapest network's latency to the costliest's."""
    budgets_ms: tuple[float, ...] = ()
    """Hard budgets in ms instead."""
    match: Annotated[MatchOptions, tyro.conf.arg(name="match")] = field(default_factory=MatchOptions)
    """Landing under the same budgets by alpha."""
    rivals: int = 0
    """Random networks of the latency of each soft one, trained like it, and a uniform one; 0: neither."""
    measuring_rounds: int = 40
    """Timed passes of every found network."""
    peers: tuple[str, ...] = ("GPUNet-1", "efficientnet_b0", "efficientnet_b2", "regnety_016", "resnet50", "resnet101")
    """Networks to time: GPUNet-0, -1, -2, or timm's by its names."""
    peer_rounds: int = 5
    """Timed passes of each of them."""

    def __post_init__(self) -> None:
        check_peers(self.peers)  # now, not after the searches
        if self.seeds < 1:
            raise ValueError(f"--seeds: expected at least 1, got {self.seeds}")
        if not 0 <= self.match.seeds <= self.seeds:
            raise ValueError(f"--match.seeds: expected 0 to the {self.seeds} --seeds, got {self.match.seeds}")


def preset(scale: Scale) -> Options:
    setup = setup_preset(scale)
    if scale == "smoke":
        match = MatchOptions(seeds=1, runs=2)
        few: tuple[float, ...] = (0.6,)
        return Options(
            scale,
            seeds=1,
            alphas=few,
            scales=(0.55, 0.4),
            shares=(0.1,),
            match=match,
            rivals=1,
            measuring_rounds=5,
            peers=("efficientnet_b0",),
            peer_rounds=1,
            setup=setup,
        )
    if scale == "laptop":
        return Options(scale, setup=setup)
    if scale == "cpu":
        none = MatchOptions(seeds=0)
        return Options(scale, alphas=(0.2, 0.8), shares=(), match=none, rivals=1, measuring_rounds=20, peers=(), setup=setup)
    if scale == "gpu":
        return Options(scale, alphas=(0.2, 0.8, 2.0), rivals=2, peers=(), setup=setup)
    alphas = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 2.0)
    return Options(scale, seeds=1, alphas=alphas, shares=(0.1, 0.2, 0.3, 0.5), peers=(), setup=setup)


def main() -> None:
    with started(SCRIPT, preset) as script:
        options, folder = script.options, script.folder
        start_over(folder, options.setup)
        seeds = range(options.seed, options.seed + options.seeds)
        with script.bars() as progress:
            space, latencies = measured_space(options.setup, options.seed, folder, progress)
            limits = list(options.budgets_ms) or latencies.budgets(options.shares)
            specs = _best_of_scales(options, latencies, folder, progress)
            for kind, least in (("hard", 0.0), ("full", 1 - options.match.tolerance)):
                specs += [
                    SearchSpec(f"{kind}{n}_seed{s}", s, 0.0, limit, least_use=least)
                    for n, limit in enumerate(limits)
                    for s in seeds
                ]
            found = run_searches(specs, options.setup, latencies, folder, progress)
            soft = [entry for entry in found if entry.spec.budget_ms is None and options.rivals]
            rivals = rivals_of(soft, options.rivals, options.setup, latencies, folder, progress)
            found += rivals
            least = 1 - options.match.tolerance
            drawn = [SearchSpec(f"random{n}_seed{s}", s, 0.0, t, least_use=least) for n, t in enumerate(limits) for s in seeds]
            found += random_networks(drawn, options.setup, latencies, folder, progress)
            matched = match_budgets(limits, seeds[: options.match.seeds], options.match, options.setup, latencies, folder, progress)
            best = [entry.best for entry in matched if entry.best is not None]
            measured = measure_found([*found, *best], latencies, space, options.measuring_rounds, options.seed, progress)
            peers = peer_rows(options.peers, options.peer_rounds, options.setup.clock, options.seed, progress)
        script.say(fit_remark(latencies))
        script.show(
            network_rows(options, found, measured, space, limits),
            *([rival_rows(soft, rivals)] if soft else []),
            *([matching_rows(options, found, matched, limits)] if limits else []),
            *([peers] if options.peers else []),
            published_rows(),
            published_rows(distilled=True),
        )
        draw_table2(found, measured.latencies[: len(found)], limits, script.picture, options.setup.title)


def _best_of_scales(options: Options, latencies: WidthLatencies, folder: Path, progress: ProgressBars) -> list[SearchSpec]:
    """The soft searches that count, one for every alpha and seed; none is retrained yet."""
    seeds = range(options.seed, options.seed + options.seeds)
    groups = [
        [SearchSpec(f"alpha{a:g}_lambda{scale:g}_seed{s}", s, a, scale=scale) for scale in options.scales]
        for a in options.alphas
        for s in seeds
    ]
    every = [spec for group in groups for spec in group]
    if not every:
        return []
    losses = {one.spec: one.record.loss for one in run_searches(every, options.setup, latencies, folder, progress, retrain=False)}
    return [min(group, key=lambda spec: losses[spec]) for group in groups]


def network_rows(
    options: Options, found: Sequence[Pruned], measured: Measured, space: GPUNetSpace, limits: Sequence[float]
) -> Rows:
    """A row a search setting, means over its seeds."""
    columns = [
        Column(
            "search",
            "search",
            "soft: by alpha, as in the paper. hard: projected onto a budget of T ms, alpha 0. full: and using most of it. random: "
            "drawn, and using most of it. as alpha: of the latencies of the soft networks of that alpha",
        ),
        Column("scale", "lambda", f"of every seed, the one of least loss among {', '.join(f'{s:g}' for s in options.scales)}"),
        Column("estimated", "est. ms", "latency by the table, mean over seeds", ".3f"),
        Column("measured", "meas. ms", "latency measured on this device now, median over rounds, mean over seeds", ".3f"),
        Column("fits", "fits", "seeds whose estimated latency is within T; - without a budget"),
        Column("parameters", "params", "mean over seeds", ".0f"),
        Column("macs", "MMACs", "millions of multiply-adds, mean over seeds", ".3f"),
        Column("blocks", "IRBs", "inverted residuals that are left, mean over seeds", ".1f"),
        Column("accuracy", "acc. %", "test accuracy after retraining from scratch, mean over seeds", ".2f"),
        Column("interval", "95 %", "half the 95 % interval of that mean", ".2f"),
        Column("seconds", "search s", "wall time of a search while others ran beside it, mean over seeds", ".0f"),
    ]
    macs, parameters = width_count_cost(space, "macs"), width_count_cost(space, "parameters")
    ours: list[Row] = []
    for label, group in _groups(found, limits):
        entries = [entry for entry, _ in group]
        times: list[Measurement] = [measured.latencies[place] for _, place in group]
        architectures = [space.architecture(dict(entry.record.choices)) for entry in entries]
        limit = None if ", as alpha" in label else entries[0].spec.budget_ms
        accuracies = [entry.accuracy for entry in entries]
        ours.append(
            {
                "search": label,
                "scale": ", ".join(f"{entry.spec.scale:g}" for entry in entries) if label.startswith("soft") else None,
                "estimated": mean([entry.record.latency_ms for entry in entries]),
                "measured": mean([one.median for one in times]),
                "fits": None if limit is None else f"{sum(e.record.latency_ms <= limit for e in entries)}/{len(entries)}",
                "parameters": mean([parameters.cost(a) for a in architectures]),
                "macs": mean([macs.cost(a) for a in architectures]) / 1e6,
                "blocks": mean([entry.record.blocks for entry in entries]),
                "accuracy": mean(accuracies),
                "interval": half_width(accuracies),
                "seconds": mean([entry.record.seconds for entry in entries]),
            }
        )
    searched = [entry for entry in found if entry.record.history]
    undecided = sum(entry.record.undecided > 0 for entry in searched)
    remark = (
        f"{options.setup.title}, {len(space.layers)} searched layers, {options.seeds} seed(s). "
        f"Batch {options.setup.latency_batch}; {len(searched) - undecided} of {len(searched)} searches ended with one option "
        f"in every layer. {measured.remark}"
    )
    return Rows("Networks found here", columns, ours, remark=remark)


def matching_rows(options: Options, found: Sequence[Pruned], matched: Sequence[Matched], limits: Sequence[float]) -> Rows:
    """Same latency: soft alpha against hard budget."""
    columns = [
        Column("budget", "T ms", "the wanted latency"),
        Column("method", "method", "soft: bisection over alpha. hard: one search, projected. full: projected onto the window"),
        Column("runs", "runs", "searches made, of every seed"),
        Column("landed", "landed", f"seeds whose network lies within {options.match.tolerance:.0%} under T"),
        Column(
            "latency", "est. ms", "estimated latency of the network that landed or, where none did, of the nearest under T", ".3f"
        ),
        Column("share", "of T", "the same as a share of T, the least and the greatest of the seeds"),
        Column("accuracy", "acc. %", "test accuracy of these networks, mean over seeds", ".2f"),
        Column("versus", "minus soft", "accuracy, over the seeds that have both: mean difference, half its 95 % interval, verdict"),
        Column("random", "minus random", "the same, minus a random network that uses most of T"),
        Column(
            "alpha",
            "alpha",
            "soft: of these networks. hard: what the projection would have needed, in its scores; - where the window decided",
        ),
    ]
    ours: list[Row] = []
    for number, limit in enumerate(limits):
        soft = [entry for entry in matched if entry.budget == number]
        reached = [(entry.seed, entry.best) for entry in soft if entry.best is not None]
        drawn = [entry.accuracy for entry in found if entry.spec.name.startswith(f"random{number}_")]
        for kind in ("hard", "full"):
            hard = [entry for entry in found if entry.spec.name.startswith(f"{kind}{number}_")]
            both = [(h.accuracy, b.accuracy) for seed, b in reached for h in hard if h.spec.seed == seed]
            alphas = [entry.record.needed_alpha for entry in hard]
            shares = [entry.record.latency_ms / limit for entry in hard]
            landed = sum(1 - options.match.tolerance <= share <= 1 for share in shares)
            ours.append(
                {
                    "budget": f"{limit:.3f}",
                    "method": kind,
                    "runs": ", ".join("1" for _ in hard),
                    "landed": f"{landed}/{len(hard)}",
                    "latency": mean([entry.record.latency_ms for entry in hard]),
                    "share": _range(shares),
                    "accuracy": mean([entry.accuracy for entry in hard]),
                    "versus": compared([h for h, _ in both], [s for _, s in both], kind) if both else None,
                    "random": compared([entry.accuracy for entry in hard], drawn, kind),
                    "alpha": ", ".join("-" if value is None else f"{value:.3g}" for value in alphas),
                }
            )
        ours.append(
            {
                "budget": f"{limit:.3f}",
                "method": "soft",
                "runs": ", ".join(str(len(entry.tried)) for entry in soft),
                "landed": f"{sum(entry.landed for entry in soft)}/{len(soft)}",
                "latency": mean([b.record.latency_ms for _, b in reached]) if reached else None,
                "share": _range([b.record.latency_ms / limit for _, b in reached]),
                "accuracy": mean([b.accuracy for _, b in reached]) if reached else None,
                "alpha": ", ".join(f"{b.spec.alpha:.3g}" for _, b in reached) or None,
            }
        )
    tried = "; ".join(
        f"T {limits[entry.budget]:.3f}, seed {entry.seed}: " + ", ".join(f"{a:.3g} -> {ms:.3f} ms" for a, ms in entry.tried)
        for entry in matched
    )
    return Rows("Same latency: soft alpha against hard budget", columns, ours, remark=f"Bisections, alpha -> latency: {tried}.")


def published_rows(distilled: bool = False) -> Rows:
    """Table 2 as published, a table of its own."""
    columns = [
        Column("network", "network", "as published; PRUNET-0 to -6 cannot be rebuilt from what was published"),
        Column("top1", "top-1 %", "on ImageNet", ".1f"),
        Column("latency", "ms", "on a V100 at half precision, batch 1, not on this machine", ".2f"),
        Column(
            "speedup", "speed-up", "its latency over that of the fastest PRUNET that is at least as accurate, as published", ".2f"
        ),
        Column("parameters", "params M", "millions, as printed (28.09 of ResNet-50 is a slip for 25.56)", ".4g"),
        Column("gflops", "GFLOPs", "as printed", ".4g"),
    ]
    how = "with distillation" if distilled else "without distillation"
    return Rows(f"Published, {how}: another task, another device", columns, [], front_rows(distilled), f"PruNet, Table 2, {how}")


def _groups(found: Sequence[Pruned], limits: Sequence[float]) -> list[tuple[str, list[tuple[Pruned, int]]]]:
    """The searches of every setting with their places, soft ones first."""
    groups: dict[str, list[tuple[Pruned, int]]] = {}
    for place, entry in enumerate(found):
        limit = entry.spec.budget_ms
        kind = entry.spec.name.split("_")[0].rstrip("0123456789")
        label = f"soft, alpha {entry.spec.alpha:g}" if limit is None else f"{kind}, T {limit:.3f} ms"
        if "_alpha" in entry.spec.name:
            label = f"{kind}, as alpha {entry.spec.alpha:g}"
        groups.setdefault(label, []).append((entry, place))
    return list(groups.items())


def _range(values: Sequence[float]) -> str | None:
    return f"{min(values):.4f}-{max(values):.4f}" if values else None


if __name__ == "__main__":
    main()
