"""The command ``constrained-nas``: describe a super-network, measure a latency table, choose from a table within budgets.

``constrained-nas --help`` and ``constrained-nas COMMAND --help`` say what each option does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import Progress

from constrained_nas.describe import Describe, MBConvName, describe, mbconv_space
from constrained_nas.project_command import Project, project
from constrained_nas.timing import Timer, calibrate, measure_table
from graphs.costs import save_latency_table

__all__ = ["Describe", "Profile", "Project", "main"]


@dataclass(frozen=True)
class Profile:
    """Measure the latency of every block of a space on this machine, calibrate it on whole networks, and write a table."""

    space: Annotated[MBConvName, tyro.conf.Positional]
    out: Path = Path("latency_table.json")
    """Where to write the table (JSON)."""
    batch: int = 1
    """Images at a time."""
    threads: int = 1
    """Torch threads."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 ..."""
    rounds: int = 30
    """Passes over the uniform networks; more make steadier medians."""
    networks: int = 20
    """Random networks measured whole: half calibrate the table, half check it."""
    seed: int = 0
    """Decides the order of measurements and the random networks."""


def main() -> None:
    """Entry point of the console command; what a user can mend ends in one line, not in a traceback."""
    command = tyro.extras.subcommand_cli_from_dict(
        {"describe": Describe, "profile": Profile, "project": Project}, prog="constrained-nas"
    )
    try:
        if isinstance(command, Describe):
            describe(command)
        elif isinstance(command, Project):
            project(command)
        else:
            _profile(command)
    except (ValueError, OSError) as error:
        raise SystemExit(f"constrained-nas: {error}") from error


def _profile(command: Profile) -> None:
    if command.networks < 6 or command.rounds < 3:  # said before anything is measured
        raise ValueError(f"expected at least 6 networks and 3 rounds, got {command.networks} and {command.rounds}")
    if command.device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"--device {command.device}: torch sees no GPU on this machine; use --device cpu")
    space = mbconv_space(command.space)
    torch.manual_seed(command.seed)
    supernet = space.supernet()
    timer = Timer(command.batch, command.threads, command.device)
    generator = np.random.default_rng(command.seed)
    with Progress(transient=True) as bars:
        task = bars.add_task("timing blocks", total=command.rounds)

        def show(done: int, total: int, what: str) -> None:
            bars.update(task, completed=done, total=total, description=what)

        raw = measure_table(space, supernet, timer, command.rounds, generator, show)
        table, _, check = calibrate(raw, space, supernet, timer, command.networks, command.rounds, generator, show)
    save_latency_table(table, command.out)
    console = Console()
    console.print(
        f"{command.out}: {len(table.entries)} entries in ms ({table.device}, {table.threads} thread(s), batch {table.batch}).\n"
        f"Checked on {command.networks // 2} networks that took no part in the calibration: measured = {check.intercept:.3g} ms + "
        f"{check.slope:.3f} x estimated, R^2 {check.r_squared:.3f}, worst error {check.worst:.1%}.",
        highlight=False,
    )
