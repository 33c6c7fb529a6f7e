"""The settings of a search from the command line: everything that decides a run, validated, and kept in its folder.

``settings.json`` lies in the run's folder from the start, with every default filled in, so that a resumed run is asked for exactly
what it was asked for at first, whatever this library's defaults are by then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from constrained_nas.budgets import read_budgets
from graphs.files import load_json, read_json, save_json, shortened
from graphs.own_code import is_own, require_elsewhere

SpaceName = Literal[
    "hardcore-small",
    "hardcore-imagenet",
    "hardcore-imagenet-paper",
    "ofa-mbv3",
    "resnet-fabric-small",
    "resnet-fabric-3",
    "resnet-fabric-5",
    "resnet-fabric-7",
    "resnet-fabric-9",
    "resnet-fabric-18",
    "cnf-small",
    "cnf-2",
    "cnf-4",
    "cnf-8",
    "gpunet-small",
    "gpunet-imagenet",
    "gpunet-imagewoof",
    "resnet8-bits",
    "resnet8-widths",
    "resnet20-bits",
    "resnet20-widths",
]
MethodName = Literal["hardcore", "option-scores", "budgeted", "prunet", "filter-level", "surrogate", "soft-penalty", "random"]
PathPer = Literal["example", "batch"]
RecipeName = Literal["digits", "small", "cifar", "imagenet"]
SETTINGS_FILE = "settings.json"
ENERGY_FILE = "energy.json"
BUDGET_NAMES = ("latency_ms", "params", "macs", "bops", "size", "activation_memory", "energy_mj")


class TrainingSettings(BaseModel):
    """Data, training and the length of searches, as ``search`` and ``sweep`` have them; None: as suits the space."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    data: str = "digits"
    """digits (embedded), cifar10 or cifar100 (binary version, under --data-root), or an image folder with train/ and val/."""
    data_root: Path = Path("data")
    """Where the CIFAR folders lie."""
    data_cache: Path | None = None
    """Where decoded images of up to 64 pixels are kept; in the folder of images if not given."""
    energy_table: Path | None = None
    """Energies of the options (constrained-nas import-table --unit mJ), for a budget in energy_mj. The run keeps a copy."""
    recipe: RecipeName | None = None
    """How networks of hardcore spaces are trained: epochs, rates, mixup, label smoothing, moving average; as suits the data if not
    given. Options of their own take precedence."""
    seed: int = Field(default=0, ge=0, le=4_294_967_295)
    """Decides splits, weights, samples and everything else that is drawn."""
    epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    """Of a search by batches (filter-level: its iterations); the surrogate's length is --evaluations."""
    samples: int | None = Field(default=None, ge=1, le=100_000)
    """Sub-graphs a batch (budgeted), configurations a step (filter-level)."""
    evaluations: int | None = Field(default=None, ge=8, le=100_000)
    """Networks that the search is told the loss of, by the super-network (surrogate)."""
    judged_images: int | None = Field(default=None, ge=2, le=1_000_000)
    """Of those kept for the search, on which each of these networks is judged, the same for all (surrogate)."""
    warm_up: int | None = Field(default=None, ge=0, le=1_000_000)
    """Epochs before anything is decided: of the heaviest network, of the whole super-network, or with all blocks equal."""
    train_epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    """Of the super-network's paths before the search (hardcore spaces, networks of your own), or of the shared weights in an
    iteration (filter-level)."""
    path_per: PathPer | None = None
    """What a path is drawn for while they are trained (hardcore spaces, networks of your own): every example, as in the paper, or a
    whole batch, with which small networks learn far more in the same time; as the recipe has it if not given, else a batch."""
    batch_size: int | None = Field(default=None, ge=2, le=1_000_000)
    """Images a step, in training and search."""
    learning_rate: float | None = Field(default=None, gt=0, le=1_000_000)
    """Of the super-network's weights."""
    resolution: int | None = Field(default=None, ge=8, le=2_048)
    """Side of the images in pixels."""
    training_digits: int = Field(default=800, ge=1, le=1_797)
    """How many of the 1797 digits may be trained and searched on; the others are test digits."""
    draws: int = Field(default=4, ge=1, le=100_000)
    """Drawings of each training digit."""
    architecture_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training examples kept for the search."""
    augment: bool = True
    """Crops, flips and AutoAugment on CIFAR and image folders (digits are drawn anew instead)."""
    workers: int = Field(default=0, ge=0, le=1_024)
    """Processes that load data."""
    parts: int | None = Field(default=None, ge=1, le=1_024)
    """Of a batch, computed one after the other or by as many processes (torchrun): their gradients add up, and batch normalization
    sees a part, so the number decides the result. By default one a process: N processes end as one with --parts N, unless
    --sync-batchnorm joins them."""
    sync_batchnorm: bool = False
    """Normalize the parts of a batch together, one a process (torchrun): N processes then end as one that computes the whole batch,
    up to rounding, and not as --parts N."""
    recompute: bool = False
    """Save memory: compute the modules of super-networks, and of networks that are sequences, again in the backward pass."""
    threads: int | None = Field(default=None, ge=1, le=4096)
    """Of torch on the processor, in training and search; by default as many as torch takes. Results depend on it in their last
    bits, so what is resumed keeps it."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where networks are trained."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Of training."""


class RunSettings(TrainingSettings):
    """What is searched, under which budgets, how, on which data; None: as suits the space (``families.plan_of``)."""

    kind: Annotated[Literal["run settings"], tyro.conf.Suppress] = "run settings"
    schema_version: Annotated[Literal[1], tyro.conf.Suppress] = 1
    space: Annotated[str, tyro.conf.Positional]
    """hardcore-*: inverted residuals. resnet-*, cnf-*: modules to switch off. gpunet-*: blocks with widths. resnet8-bits, ...:
    filters of every bit width, or fewer filters (constrained-nas spaces lists all). Or a network of your own, FILE.py:CALLABLE: the
    file is run; the callable returns a module with graphs.Choice in it or a networkx graph, and may take classes, channels and
    resolution."""
    budget: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=LIMIT with NAME latency_ms, params, macs, bops, size (bytes of weights), activation_memory (bytes of the feature maps
    that are alive at once, for one image) or energy_mj (--energy-table): latency=40ms, params=5M, macs=60% (of the largest);
    may be given several times, and all of them hold at once."""
    method: MethodName | None = None
    """By default the one recommended for the space: surrogate, budgeted, prunet or filter-level."""
    table: Path | None = None
    """Latency table (constrained-nas profile SPACE --out table.json) for a budget in latency_ms. The run keeps a copy."""
    measure_table: bool = False
    """Measure the table in the run instead; with --latency-batch, --latency-threads and --latency-device."""
    measure: bool = True
    """Measure the found network too, and tighten the budget until its median fits; --no-measure trusts the table."""
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    """That the median of the network handed back is within the latency budget."""
    attempts: int = Field(default=8, ge=1, le=1_000)
    """At most so many networks are measured."""
    use: float = Field(default=0.9, ge=0, le=1)
    """While a measured network uses less than this share of the latency budget, a larger one is tried; 0 takes the first that
    fits."""
    rounds: int = Field(default=40, ge=1, le=1_000_000)
    """Timed passes of each measured network."""
    latency_device: str = "cpu"
    """What the latency budget is about: cpu, cuda, cuda:1 ..., or (with --no-measure) another device's name as its table has it."""
    latency_batch: int = Field(default=1, ge=1, le=100_000)
    """Images at a time."""
    latency_threads: int = Field(default=1, ge=1, le=4_096)
    """Threads of the runtime."""
    fine_tune_epochs: int | None = Field(default=None, ge=0, le=1_000_000)
    """Of the found network at the end: from the super-network's weights, or (prunet, filter-level) from fresh ones."""
    fine_tune_rate: float | None = Field(default=None, gt=0, le=1_000_000)
    """Learning rate at the start of that."""
    test_references: bool = True
    """Fine-tune and test the cheapest and the largest network as well; their costs are stated in any case."""
    penalty: float = Field(default=10.0, ge=0, le=1e30)
    """Weight of the excess over a budget (soft-penalty)."""
    soft_end: Literal["projection", "argmax"] = "projection"
    """Of soft-penalty: our exact projection, or the usual argmax, which may not fit."""

    @field_validator("space")
    @classmethod
    def _known(cls, space: str) -> str:
        names = get_args(SpaceName)
        if is_own(space):  # from wherever the run is resumed
            file, _, called = space.rpartition(":")
            return f"{Path(file).resolve()}:{called}"
        if space in names:
            return space
        near = get_close_matches(space, names, 1)
        hint = f"did you mean {near[0]}?" if near else "constrained-nas spaces lists them; or FILE.py:CALLABLE for one of your own"
        raise ValueError(f"no space {shortened(space, 60)!r}: {hint}")

    @field_validator("budget")
    @classmethod
    def _readable(cls, budget: tuple[str, ...]) -> tuple[str, ...]:
        parse_budgets(budget, shares=True)
        return budget

    @model_validator(mode="after")
    def _one_table(self) -> RunSettings:
        if self.table is not None and self.measure_table:
            raise ValueError("--table and --measure-table exclude each other: give a table or have one measured")
        return self

    @property
    def budgets(self) -> dict[str, float]:
        """Limits by name.

        Raises:
            ValueError: one of them is a share, which only the space can tell the number of.
        """
        return parse_budgets(self.budget)

    @property
    def limits(self) -> dict[str, float | str]:
        """Limits by name: numbers, and shares of the largest network (``"60%"``)."""
        return parse_budgets(self.budget, shares=True)


def parse_budgets(given: Sequence[str], *, shares: bool = False) -> dict[str, Any]:
    """Limits by name, of ``("latency=40ms", "params=5M")``; see :func:`constrained_nas.budgets.read_budgets`.

    Args:
        shares: let ``"60%"`` pass, as it is.

    Raises:
        ValueError: no ``NAME=LIMIT``, an unknown name or one given twice, or a limit that is not a positive number.
    """
    budgets = read_budgets(given, BUDGET_NAMES)
    for name, limit in budgets.items():
        if isinstance(limit, tuple):
            raise ValueError(f"--budget {name}: expected one limit, got a pair of bounds, which only project takes")
        if isinstance(limit, str):
            if not shares:
                raise ValueError(f"--budget {name}={limit}: expected a number, got a share")
        elif not (limit > 0 and math.isfinite(limit)):
            raise ValueError(f"--budget {name}={limit:g}: expected a positive limit")
    return budgets


def save_settings(settings: RunSettings, folder: Path) -> None:
    """Write ``settings.json``, whole or not at all."""
    save_json(settings, folder / SETTINGS_FILE)


def require_unused(folder: Path) -> None:
    """Check that a run may begin there.

    Raises:
        ValueError: one has, or it is a file; says what to do instead.
    """
    if (folder / "run.json").exists() or (folder / SETTINGS_FILE).exists():
        raise ValueError(
            f"{folder} already contains a run; continue it with constrained-nas resume {folder}, or give another --out"
        )
    file = next((part for part in (folder, *folder.parents) if part.is_file()), None)
    if file is not None:
        raise ValueError(f"--out {folder}: {file} is a file; give the name of a folder, which need not be there yet")


def load_settings(folder: Path) -> RunSettings:
    """Read the settings of a run's folder.

    Raises:
        FileNotFoundError: no run began there.
        ValueError: the file is cut off, holds other settings than this version's, or names code in the folder itself.
    """
    path = folder / SETTINGS_FILE
    if not path.exists():
        raise FileNotFoundError(f"{folder}: no search has begun there (it has no {SETTINGS_FILE}){no_run_hint(folder)}")
    settings = load_json(path, RunSettings, "settings of a run")
    if is_own(settings.space):
        require_elsewhere(read_json(path, "settings of a run")["space"], folder)
    return settings


def no_run_hint(folder: Path | str) -> str:
    """What to do about a folder in which no search began, to stand behind a sentence that says so."""
    place = Path(folder)
    if place.is_file():
        return f": it is a file; did you mean its folder, {place.parent}?"
    if not place.is_dir():
        return ": there is no such folder"
    if (place / "sweep.json").exists():
        return f": it is a sweep's; constrained-nas sweep ... --out {folder} continues that"
    runs = sorted(path.parent for path in place.glob(f"*/{SETTINGS_FILE}"))
    if runs:
        return f": did you mean {runs[0]}?"
    return f": begin one with constrained-nas search SPACE --budget NAME=LIMIT --out {folder}"
