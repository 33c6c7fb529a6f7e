"""Figure 2 of filter-level compression: what the search proposes, trained and set against the homogeneous networks.

Every algorithm, C.1 to C.5, searches under its budget. Two answers are trained from scratch several times each: the expected
configuration, rounded, which is the paper's and may exceed the budget; and the most probable one that meets it. Both are compared
with the homogeneous line at their own cost, where the homogeneous networks have learned, and with configurations drawn at random
that fit the same budget. What a search proposed on its way, the expected configuration of every iteration, is trained too and drawn
small. A second picture draws the laws: how they moved, and what they came to.

Laptop scale: a ResNet-8 on digits drawn at 16x16, some dozens of steps of the law where the paper has thousands. How far the laws
have moved by then the table says: ``likeliest`` is the mean probability of the likeliest option. Scale cpu: CIFAR-10 at 16x16,
C.3 and C.4 with the small lambda of Fig. B.9, under which the budget binds.

Appendix B changes one thing at a time: ``--operations`` (B.4), ``--widths layer`` (the binomial law), ``--samples``
(B.8), ``--coefficient`` (B.9), ``--rate`` and ``--start`` (B.10).

Reference: Zur et al., Fig. 2, A.2, B.3 to B.10.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.ticker import MaxNLocator

from papers_repro.filter_level import (
    CONFIDENCE,
    KINDS,
    UNITS,
    Answers,
    Comparison,
    ContrastOptions,
    Kind,
    SearchChanges,
    Trained,
    at_chance,
    bars,
    candidate,
    compare_with_line,
    draw_accuracies,
    draw_laws,
    finish_axes,
    homogeneous_candidates,
    minus_others,
    new_panels,
    plans,
    random_configurations,
    run_searches,
    setup_preset,
    side_by_side,
    train_candidates,
)
from papers_repro.harness import Column, Row, Rows, Scale, half_width, row_of, save_figure, started
from solvers.arrays import IntArray

SCRIPT = "filter_figure2"
_COLOURS = ("#1f6fb2", "#d9741a", "#1a7f5a", "#8e44ad", "#b5472f")


@dataclass(frozen=True)
class Options(ContrastOptions):
    """What C.1 to C.5 propose, expected and within the budget, against the line of the homogeneous networks."""

    searches: Annotated[SearchChanges, tyro.conf.arg(name="")] = field(default_factory=SearchChanges)
    """Which searches, and what of them is changed."""
    on_the_way: int = 1
    """Trainings of what a search proposed after every iteration; 0: none."""
    random: int = 3
    """Configurations drawn at random that fit a budget, for each, trained as answers are; 0: none."""

    def __post_init__(self) -> None:
        if 0.5 not in self.line_shares:
            raise ValueError("--line-shares: .5 must be among them, it sets the budget")
        missing = sorted(set(self.searches.targets) - set(self.setup.operations))
        if missing:
            raise ValueError(f"--targets: {', '.join(missing)} not among --operations {' '.join(self.setup.operations)}")


def preset(scale: Scale) -> Options:
    options = Options(scale, setup=setup_preset(scale))
    if scale == "smoke":
        return replace(options, repeats=2, line_shares=(0.5, 1.0), random=2)
    if scale == "cpu":
        searches = SearchChanges(("C.3", "C.4"), coefficient=0.01)
        return replace(options, line_shares=(0.25, 0.5, 0.75), random=4, on_the_way=0, searches=searches)
    return replace(options, repeats=10) if scale == "gpu" else options


def main() -> None:
    with started(SCRIPT, preset) as script:
        options, folder, setup = script.options, script.folder, script.options.setup
        wanted = plans(options.scale, setup, options.seed, options.searches)
        kinds = [kind for kind in KINDS if any(plan.kind == kind for plan in wanted)]
        line = [each for kind in kinds for each in homogeneous_candidates(setup, kind, options.line_shares)]
        limits = {each.name: each.cost for each in line}
        targets = {plan.target: plan.kind for plan in wanted} if options.random else {}
        drawn = {
            target: random_configurations(setup, kind, target, limits[target], options.random, options.seed)
            for target, kind in targets.items()
        }
        with script.bars() as progress:
            found = run_searches(wanted, limits, setup, options.seed, folder, progress)
            proposed = [
                candidate(setup, each.plan.kind, f"{each.plan.name}, {which}", np.array(getattr(each, which)))
                for each in found
                for which in ("expected", "hard")
            ]
            every = [*line, *proposed, *(each for group in drawn.values() for each in group)]
            whole = train_candidates(every, options.repeats, setup, options.seed, folder, progress)
            trained, others = whole[: len(line) + len(proposed)], whole[len(line) + len(proposed) :]
            passed = [
                candidate(setup, each.plan.kind, f"{each.plan.name} {number}", np.array(counts))
                for each in found
                for number, counts in enumerate(each.proposals if options.on_the_way else (), start=1)
            ]
            passing = train_candidates(passed, options.on_the_way, setup, options.seed, folder, progress, more=True)
        lines = (_line(kind, options, trained) for kind in kinds)
        script.show(_proposals(options, found, trained, others), _random(options, others, trained))
        script.show(*([_passing(options, passing)] if passing else []), *lines, _configurations(found))
        _draw(found, trained, others, passing, options, script.picture)
        draw_laws(found, setup, folder / f"{SCRIPT}_laws.png")


def _proposals(options: Options, found: Sequence[Answers], trained: Sequence[Trained], others: Sequence[Trained]) -> Rows:
    columns = [
        Column("name", "search", "algorithm, and of its two answers: expected (the paper's) or hard (most probable that fits)"),
        Column("cost", "cost/budget", "what the answer costs as a share of the budget", ".4f"),
        Column("fits", "fits", "whether it meets the budget, by the exact sum of its cost"),
        Column(
            "likeliest", "likeliest", "mean probability of the likeliest option at the end; C.1 begins at .25, others at .5", ".3f"
        ),
        Column("accuracy", "acc. %", f"test accuracy, mean of {options.repeats} trainings", ".2f"),
        Column("difference", "minus line", "accuracy minus that of the homogeneous line at the same cost", "+.2f"),
        Column("half", "± 0.6827", "half the interval of the difference", ".2f"),
        Column("wide", "± 95 %", "half the 95 % interval of the same", ".2f"),
        Column("verdict", "verdict", "whether the interval of 0.6827 leaves out 0; for one comparison alone"),
        Column("random", "minus random", "accuracy minus the mean of the random configurations of the same budget", "+.2f"),
        Column("besides", "random ± 95 %", "half the 95 % interval of that; how the random ones vary counts", ".2f"),
    ]
    homogeneous = {(c.kind, c.counts): c.name for c in (each.candidate for each in trained) if c.homogeneous}
    by_name = {each.candidate.name: each for each in trained}
    compared = {each.trained.candidate.name: each for each in _compare(trained, options.setup.classes)}
    rows: list[Row] = []
    for search in found:
        for which, answer in (("expected", search.record.expected), ("hard", search.record.result)):
            each = by_name[f"{search.plan.name}, {which}"]
            ours, (budget, *_) = each.candidate, answer.budgets
            likeliest = search.record.history[-1]["likeliest"]
            row = row_of(columns, ours.name, budget.value / search.limit, budget.fits, likeliest, each.mean)
            itself = homogeneous.get((ours.kind, ours.counts))
            if itself is not None:  # the same trainings: there is nothing to compare
                row |= {"verdict": f"is {itself}"}
            elif ours.name in compared:
                gain = compared[ours.name].gain
                row |= {"difference": gain.difference, "half": gain.half(CONFIDENCE), "wide": gain.half(0.95)}
                row |= {"verdict": gain.verdict(CONFIDENCE)}
            rivals = [other for other in others if other.candidate.name.endswith(f" to {search.plan.target}")]
            if rivals and not at_chance([other for other in trained if other.candidate.kind == ours.kind], options.setup.classes):
                against = minus_others(each, rivals)
                row |= {"random": against.difference, "besides": against.half(0.95)}
            rows.append(row)
    seconds = sum(each.seconds for each in [*trained, *others])
    remark = f"{at_chance(trained, options.setup.classes)} {seconds:.0f} s of training, the searches not counted."
    return Rows("What the searches propose", columns, rows, remark=remark.strip())


def _random(options: Options, others: Sequence[Trained], trained: Sequence[Trained]) -> Rows:
    columns = [
        Column("name", "random", "drawn, and the most probable that fits the budget of that homogeneous network"),
        Column("cost", "cost/budget", "as a share of the budget", ".4f"),
        Column("accuracy", "acc. %", f"test accuracy, mean of {options.repeats} trainings", ".2f"),
        Column("difference", "minus line", "accuracy minus that of the homogeneous line at the same cost", "+.2f"),
        Column("wide", "± 95 %", "half the 95 % interval of the difference", ".2f"),
        Column("counts", "configuration", "widths of the stages, or filters of all layers at each operation"),
    ]
    limits = {each.candidate.name: each.candidate.cost for each in trained if each.candidate.homogeneous}
    gains = {each.trained.candidate.name: each.gain for each in _compare([*trained, *others], options.setup.classes)}
    rows: list[Row] = []
    for each in others:
        ours = each.candidate
        row = row_of(columns, ours.name, ours.cost / limits[ours.name.rpartition(" to ")[2]], each.mean)
        if (gain := gains.get(ours.name)) is not None:
            row |= {"difference": gain.difference, "wide": gain.half(0.95)}
        rows.append(row | {"counts": _written(ours.kind, np.array(ours.counts))})
    return Rows("Random configurations that fit", columns, rows)


def _passing(options: Options, passing: Sequence[Trained]) -> Rows:
    columns = [
        Column("name", "search, iteration", "the expected configuration after it"),
        Column("cost", "millions", "bit operations or multiply-adds of an image", ".4f"),
        Column("accuracy", "acc. %", f"test accuracy, mean of {options.on_the_way} training(s)", ".2f"),
    ]
    rows = [row_of(columns, each.candidate.name, each.candidate.cost / 1e6, each.mean) for each in passing]
    return Rows("On the way", columns, rows)


def _compare(trained: Sequence[Trained], classes: int) -> list[Comparison]:
    """The comparisons of both kinds, each with the line of its own; none with a line that has not learned."""
    kinds = ([each for each in trained if each.candidate.kind == kind] for kind in KINDS)
    return [each for ours in kinds if ours and not at_chance(ours, classes) for each in compare_with_line(ours)]


def _line(kind: Kind, options: Options, trained: Sequence[Trained]) -> Rows:
    columns = [
        Column("name", "homogeneous", "one operation, or one share of the filters, everywhere"),
        Column("cost", "millions", "bit operations or multiply-adds of an image", ".4f"),
        Column("accuracy", "acc. %", f"test accuracy, mean of {options.repeats} trainings", ".2f"),
        Column("half", "0.6827", "half the interval of that mean", ".2f"),
    ]
    rows = [
        row_of(columns, each.candidate.name, each.candidate.cost / 1e6, each.mean, half_width(each.test, CONFIDENCE))
        for each in trained
        if each.candidate.kind == kind and each.candidate.homogeneous
    ]
    return Rows(f"Homogeneous line, {kind}", columns, rows)


def _configurations(found: Sequence[Answers]) -> Rows:
    columns = [
        Column("name", "search", "as above"),
        Column("expected", "expected", "widths of the stages, or filters of all layers at each operation"),
        Column("hard", "hard", "the same of the answer that meets the budget"),
    ]
    rows: list[Row] = []
    for each in found:
        expected, hard = (_written(each.plan.kind, np.array(counts)) for counts in (each.expected, each.hard))
        rows.append({"name": each.plan.name, "expected": expected, "hard": hard})
    return Rows("The configurations", columns, rows, remark="Whole configurations: architectures/*.json.")


def _written(kind: Kind, counts: IntArray) -> str:
    return "/".join(map(str, counts[:, 0] if kind == "pruning" else counts.sum(0)))


def _draw(
    found: Sequence[Answers],
    trained: Sequence[Trained],
    others: Sequence[Trained],
    passing: Sequence[Trained],
    options: Options,
    path: Path,
) -> None:
    kinds = [kind for kind in KINDS if any(each.plan.kind == kind for each in found)]
    figure, axes = new_panels(2, len(kinds), 4.6)
    for column, kind in enumerate(kinds):
        ours = [each for each in trained if each.candidate.kind == kind]
        searches = [each for each in found if each.plan.kind == kind]
        draw_accuracies(axes[0, column], kind, [each for each in ours if each.candidate.homogeneous], [])
        _draw_passing(axes[0, column], kind, searches, passing)
        _draw_random(axes[0, column], kind, [each for each in others if each.candidate.kind == kind])
        _draw_answers(axes[0, column], kind, searches, {each.candidate.name: each for each in ours})
        _draw_costs(axes[1, column], kind, searches)
    title = (
        f"What the searches propose, {options.setup.title}, {options.repeats} trainings each (Zur et al., Fig. 2). Answers of one "
        f"cost stand side by side{'; dots: proposals on the way, the later the darker' if passing else ''}"
    )
    figure.suptitle(textwrap.fill(title, 58 * len(kinds)))
    save_figure(figure, path)


def _draw_passing(panel: Any, kind: Kind, searches: Sequence[Answers], passing: Sequence[Trained]) -> None:
    """What every search proposed on its way, small, the later the darker."""
    for search, colour in zip(searches, _COLOURS, strict=False):
        ours = [each for each in passing if each.candidate.name.rsplit(" ", 1)[0] == search.plan.name]
        for number, each in enumerate(ours, start=1):
            fading = 0.2 + 0.6 * number / len(ours)
            panel.plot(each.candidate.cost / UNITS[kind][1], each.mean, ".", color=colour, alpha=fading, ms=6, zorder=2)


def _draw_random(panel: Any, kind: Kind, others: Sequence[Trained]) -> None:
    """Configurations drawn at random, grey."""
    if others:
        costs, means = [each.candidate.cost / UNITS[kind][1] for each in others], np.array([each.mean for each in others])
        lengths = bars(means, np.nan_to_num([half_width(each.test, CONFIDENCE) for each in others]))
        panel.errorbar(
            costs, means, yerr=lengths, fmt="D", color="0.55", ms=4, lw=0.9, capsize=2, label="random that fits", zorder=1
        )


def _draw_answers(panel: Any, kind: Kind, searches: Sequence[Answers], by_name: dict[str, Trained]) -> None:
    """Accuracy and 0.6827 interval of both answers of every search; those of one cost stand side by side around it."""
    drawn = [
        (search.plan.name, which, colour, by_name[f"{search.plan.name}, {which}"])
        for search, colour in zip(searches, _COLOURS, strict=False)
        for which in ("expected", "hard")
    ]
    costs = [each.candidate.cost / UNITS[kind][1] for *_, each in drawn]
    low, high = panel.get_xlim()
    shifts = side_by_side(costs, high - low, 0.02 * (high - low))
    for (name, which, colour, each), cost, shift in zip(drawn, costs, shifts, strict=True):
        panel.errorbar(
            cost + shift,
            each.mean,
            yerr=bars(np.array([each.mean]), np.nan_to_num([half_width(each.test, CONFIDENCE)])),
            fmt="o" if which == "expected" else "s",
            mfc=colour if which == "expected" else "white",
            color=colour,
            capsize=2,
            ms=5.5,
            lw=1.1,
            label=f"{name}: {'expected' if which == 'expected' else 'within the budget'}",
            zorder=4,
        )
    panel.margins(y=0.12)
    finish_axes(panel, UNITS[kind][0], "test accuracy, %", kind, legend_columns=3 if len(searches) > 2 else 2)


def _draw_costs(panel: Any, kind: Kind, searches: Sequence[Answers]) -> None:
    """The expected configuration's cost by iteration, and at the end, apart, that of the answer within the budget."""
    longest, drawn = max(len(search.record.history) for search in searches), dict[str, list[float]]()
    for index, (search, colour) in enumerate(zip(searches, _COLOURS, strict=False)):
        costs = [next(iter(entry["costs"].values())) / search.limit for entry in search.record.history]
        style = ("-", "--", "-.", ":")[index % 4]
        same = next((name for name, other in drawn.items() if other == costs), None)
        drawn[search.plan.name] = costs
        label = search.plan.name if same is None else f"{search.plan.name} (on the line of {same})"
        panel.plot(np.arange(1, len(costs) + 1), costs, style, marker="o", ms=4, color=colour, label=label)
        hard = search.record.result.budgets[0].value / search.limit
        panel.plot(longest * (1.05 + 0.035 * index), hard, "s", mfc="white", color=colour, ms=6)
    panel.axhline(1.0, color="0.4", lw=0.8, ls="--", label="budget")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"{kind}: the expected configuration; squares: within the budget"
    finish_axes(panel, "iteration", "cost / budget", title, legend_columns=3)


if __name__ == "__main__":
    main()
