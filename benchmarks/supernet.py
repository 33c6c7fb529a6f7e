"""What a training step of a super-network costs, beside the networks it holds; how fast images are read. Writes a table and JSON.

    python benchmarks/supernet.py --quick           a minute, to see that it runs
    python benchmarks/supernet.py                   some minutes, one thread
    python benchmarks/supernet.py --device cuda     on a GPU

A step is forward, backward and SGD with momentum. The variants take turns within one run, each round in another order, so that what
else the machine does falls on all of them alike; medians are compared. On a CPU with one thread the processor's clock counts only
what the thread ran. Peak memory is what torch allocates in a step beyond weights
and images: measured by CUDA on a GPU, by the profiler elsewhere.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

_ROOT = Path(__file__).resolve().parent.parent
if sys.path and Path(sys.path[0]).resolve() == _ROOT / "benchmarks":
    sys.path[0] = str(_ROOT)  # started as a script: its siblings must not hide packages

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.machine import machine, versions
from constrained_nas.data import loader
from constrained_nas.data.pixels import PixelDataset, auto_augmented, cropped_and_flipped, scaled_pixels
from constrained_nas.training import uniform_rows
from graphs import MBConvSpace, hardcore_imagenet, hardcore_small

_TARGET = 1.3  # how many times the step of the extracted heaviest network a path per example may take
_HEAVIEST, _CHEAPEST = "heaviest network, extracted", "cheapest network, extracted"
_WHOLE, _SINGLE, _PATHS, _SEARCH = (
    "heaviest network, in it",
    "a path a batch",
    "a path an example",
    "mixture, with gates' gradients",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    variant: str
    compiled: bool
    milliseconds: float  # median
    quartiles: tuple[float, float]
    times_the_heaviest: float
    peak_megabytes: float
    steps: int

    @property
    def verdict(self) -> str:
        if self.variant != _PATHS or self.compiled:
            return ""
        return "met" if self.times_the_heaviest <= _TARGET else "MISSED"


def main(
    space: Literal["small", "imagenet"] = "small",
    batch: int = 32,
    resolution: int = 0,
    device: str = "cpu",
    threads: int = 1,
    compiled: bool = False,
    quick: bool = False,
    out: Path | None = None,
    seed: int = 0,
) -> None:
    """Run the benchmark.

    Args:
        space: of inverted residuals.
        batch: images a step.
        resolution: of the images; 0 for the space's own.
        device: cpu, cuda, cuda:1 ...
        threads: of torch on the CPU.
        compiled: the extracted networks through torch.compile as well, where it works.
        quick: few steps.
        out: the JSON file; benchmarks/results/supernet.json (supernet_quick.json) if not given.
        seed: of weights, images and paths.
    """
    torch.set_num_threads(threads)
    console = Console(width=150)
    built = hardcore_small(10, resolution or 32) if space == "small" else hardcore_imagenet("release", 1000, resolution or 224)
    rows = _measure(built, batch, torch.device(device), _now(device, threads), compiled, 5 if quick else 25, seed, console)
    read = _pipeline(batch, torch.device(device), quick)
    out = out or _ROOT / "benchmarks" / "results" / f"supernet{'_quick' if quick else ''}.json"
    record = {
        "machine": machine() | {"device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"},
        "versions": versions(),
        "space": built.space.name,
        "batch": batch,
        "threads": threads,
        "clock": "processor" if _now(device, threads) is time.thread_time else "wall",
        "seed": seed,
        "quick": quick,
        "images_a_second": read,
        "rows": [asdict(row) | {"verdict": row.verdict} for row in rows],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    _print(rows, built.space.name, batch, console)
    console.print(f"32x32 images a second: {read['augmented']:.0f} cropped, flipped, AutoAugment; {read['plain']:.0f} only scaled")
    console.print(f"written to {out.name}")


def _now(device: str, threads: int) -> Callable[[], float]:
    """The clock, in seconds."""
    return time.thread_time if device == "cpu" and threads == 1 else time.perf_counter


def _measure(
    space: MBConvSpace,
    batch: int,
    device: torch.device,
    now: Callable[[], float],
    compiled: bool,
    rounds: int,
    seed: int,
    console: Console,
) -> list[Row]:
    torch.manual_seed(seed)
    rng, draws = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    net = space.supernet()
    cheapest = space.space.choose({decision.name: decision.options[0] for decision in space.space.decisions})
    bare = {_HEAVIEST: net.extract(space.heaviest()), _CHEAPEST: net.extract(cheapest)}
    networks: dict[str, nn.Module] = {name: _placed(network, device) for name, network in (bare | {_WHOLE: net}).items()}
    settings = space.settings
    images = torch.randn(batch, settings.image_channels, settings.resolution, settings.resolution, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(settings.classes, (batch,), device=device)
    optimizers = {name: torch.optim.SGD(n.parameters(), 1e-3, 0.9, nesterov=True) for name, n in networks.items()}
    heaviest = net.gates(space.heaviest())

    def step(network: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer) -> None:
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def gated(gates: dict[str, Tensor]) -> None:
        step(lambda x: net(x, gates), optimizers[_WHOLE])

    def soft(gates: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: gate.requires_grad_() for name, gate in gates.items()}

    work: dict[tuple[str, bool], Callable[[], None]] = {
        (_HEAVIEST, False): lambda: step(networks[_HEAVIEST], optimizers[_HEAVIEST]),
        (_CHEAPEST, False): lambda: step(networks[_CHEAPEST], optimizers[_CHEAPEST]),
        (_WHOLE, False): lambda: gated(heaviest),
        (_SINGLE, False): lambda: gated({name: gate[0] for name, gate in uniform_rows(net, 1, draws).items()}),
        (_PATHS, False): lambda: gated(uniform_rows(net, batch, draws)),
        (_SEARCH, False): lambda: gated(soft(uniform_rows(net, batch, draws))),
    }
    for name in (_HEAVIEST, _CHEAPEST) if compiled else ():
        through = torch.compile(networks[name])
        try:
            step(through, optimizers[name])
        except Exception as error:  # no compiler, or one that fails: any of its errors
            console.print(f"torch.compile does not work here: {type(error).__name__}")
            break
        work[name, True] = lambda through=through, name=name: step(through, optimizers[name])  # type: ignore[misc]
    spent: dict[tuple[str, bool], list[float]] = {key: [] for key in work}
    for index in track(range(rounds + 1), space.space.name, console=console):
        for place in rng.permutation(len(work)):
            key = list(work)[place]
            _wait(device)
            began = now()
            work[key]()
            _wait(device)
            if index:  # the first steps allocate memory
                spent[key].append(now() - began)
    reference = float(np.median(spent[_HEAVIEST, False]))
    return [_row(*key, spent[key], reference, _peak_megabytes(run, device)) for key, run in work.items()]


def _pipeline(batch: int, device: torch.device, quick: bool) -> dict[str, float]:
    """Colour images of 32x32 a second, as training and as tests read them, in this process."""
    scaled = scaled_pixels((0.5,) * 3, (0.5,) * 3)
    images = np.random.default_rng(0).integers(0, 256, (1024 if quick else 8192, 3, 32, 32), dtype=np.uint8)
    found = {}
    for name, transform in (("augmented", lambda x: scaled(auto_augmented(cropped_and_flipped(4)(x)))), ("plain", scaled)):
        batches = loader(PixelDataset(images, np.zeros(len(images)), transform), batch, torch.Generator(), True, device=device)
        began = time.perf_counter()
        count = sum(len(labels) for _, labels in batches)
        _wait(device)
        found[name] = count / (time.perf_counter() - began)
    return found


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload,no-any-return]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_megabytes(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return float(held.max(initial=0.0)) / 1e6


def _row(variant: str, compiled: bool, seconds: list[float], reference: float, peak: float) -> Row:
    low, median, high = (1000 * float(value) for value in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Row(variant, compiled, median, (low, high), float(np.median(seconds)) / reference, peak, len(seconds))


def _print(rows: list[Row], name: str, batch: int, console: Console) -> None:
    table = Table(title=f"Training steps, {name}, batch {batch}; target: a path an example within {_TARGET:g} x the heaviest")
    for column in ("network", "compiled"):
        table.add_column(column)
    for column in ("ms a step", "quartiles", "x the heaviest", "peak MB", "target"):
        table.add_column(column, justify="right")
    for row in rows:
        quartiles = f"{row.quartiles[0]:.1f} to {row.quartiles[1]:.1f}"
        numbers = f"{row.milliseconds:.1f}", quartiles, f"{row.times_the_heaviest:.2f}", f"{row.peak_megabytes:.1f}"
        table.add_row(row.variant, "yes" if row.compiled else "", *numbers, row.verdict)
    console.print(table)


if __name__ == "__main__":
    tyro.cli(main)
