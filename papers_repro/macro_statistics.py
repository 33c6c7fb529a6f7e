"""Which statistics should batch normalization use while a super-network is searched: the batch's, or those of training?

Small steps of HardCoRe-NAS search several super-networks of NAS-Bench-Macro, each trained from a seed of its own, under budgets on
the benchmark's multiply-adds, both ways from the same seeds on the same images. What is found is looked up in the truth: regret is
the accuracy of the best network within the budget less the answer's. A super-network is what is drawn, so the interval is over
super-networks, in pairs; random networks that fit stand beside.

Reference: Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021 (NAS-Bench-Macro); Nayman et al.,
HardCoRe-NAS, Sec. 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from constrained_nas.search import JudgeOptions
from papers_repro.experiment import DeviceOptions, make_fabric, one_thread
from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, compared, mean, started
from papers_repro.macro import (
    LINEAR,
    LINEAR_TRAINED,
    RANDOM,
    REGRET,
    USE,
    Found,
    SearchChoices,
    TrainingChoices,
    benchmark_path,
    budget_columns,
    read_benchmark,
    searched,
    trained,
)

SCRIPT = "macro_statistics"


@dataclass(frozen=True)
class Options(TrainingChoices, DeviceOptions, ScriptOptions):
    """Small steps by the statistics of the batch against those of training, on several super-networks of NAS-Bench-Macro.

    Writes macro_statistics.json. Needs the benchmark's file, --benchmark nas-bench-macro_cifar10.json
    (github.com/xiusu/NAS-Bench-Macro), and CIFAR-10 as macro_supernet.py does.
    """

    benchmark: Path | None = None
    """The benchmark's file."""
    supernets: int = 3
    """Super-networks, of seeds that follow one another."""
    budgets: tuple[float, ...] = (0.2, 0.35, 0.5, 0.65, 0.8)
    """As shares of the way from the multiply-adds of the cheapest network to those of the costliest."""
    search_seeds: int = 3
    """Searches of either kind under every budget."""
    search: SearchChoices = field(default_factory=lambda: SearchChoices(methods=(LINEAR, LINEAR_TRAINED, RANDOM)))


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        quick = SearchChoices(64, search_batch=16, judged=JudgeOptions(12, 40, 4), methods=(LINEAR, LINEAR_TRAINED, RANDOM))
        return Options(
            scale,
            data="digits",
            training_digits=200,
            width=0.125,
            path_epochs=1,
            batch_size=32,
            supernets=2,
            budgets=(0.4,),
            search_seeds=1,
            search=quick,
        )
    if scale == "laptop":
        return Options(scale, data="cifar10", path_epochs=4)
    whole = SearchChoices(10_000, search_epochs=2, methods=(LINEAR, LINEAR_TRAINED, RANDOM))
    return Options(  # on a GPU, as macro_supernet.py
        scale,
        data="cifar10",
        device="auto",
        resolution=32,
        width=1.0,
        warm_up_epochs=30,
        path_epochs=150,
        search=whole,
        workers=4,
    )


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        benchmark = benchmark_path(options.benchmark)
        fabric, found = make_fabric(options), dict[int, list[Found]]()
        try:
            table = read_benchmark(benchmark)
            with one_thread(options.device), script.bars() as progress:
                for seed in range(options.seed, options.seed + options.supernets):
                    made = trained(options, seed, fabric, script.folder / "checkpoints", progress, options.resume)
                    seeds = range(seed * 100, seed * 100 + options.search_seeds)
                    found[seed] = searched(made, table, options.budgets, {}, options.search, seeds, fabric, progress)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
        script.show(_table(found, options))


def _table(found: dict[int, list[Found]], options: Options) -> Rows:
    def regret(seed: int, method: str, budget: int | None = None) -> float:
        return mean(a.regret for a in found[seed] if a.method == method and budget in (None, a.budget))

    rows: list[Row] = []
    for method in options.search.methods:
        by_seed = [regret(seed, method) for seed in found]
        row: Row = {"method": method, "regret": mean(by_seed)}
        row |= {f"s{seed}": value for seed, value in zip(found, by_seed, strict=True)}
        row |= {f"b{budget}": mean(regret(seed, method, budget) for seed in found) for budget in range(len(options.budgets))}
        row["use"] = mean(a.use for answers in found.values() for a in answers if a.method == method)
        if method != LINEAR:
            row["against"] = compared([regret(seed, LINEAR) for seed in found], by_seed, "it")
        rows.append(row)
    columns = (
        Column("method", "method", "of search; random: the mean of 200 networks a budget"),
        REGRET,
        *(Column(f"s{seed}", f"net {seed}", f"the same on the super-network of seed {seed}", ".2f") for seed in found),
        *budget_columns(options.budgets),
        USE,
        Column(
            "against", "gain on the batch's", "regret by the batch's statistics less its own, paired by super-network, with 95 %"
        ),
    )
    remark = (
        f"{len(found)} super-networks ({options.warm_up_epochs} epochs of the heaviest network, {options.path_epochs} of paths), "
        f"{options.search_seeds} searches a budget of each."
    )
    return Rows("Statistics of batch normalization in the search, by the truth of NAS-Bench-Macro", columns, rows, remark=remark)


if __name__ == "__main__":
    main()
