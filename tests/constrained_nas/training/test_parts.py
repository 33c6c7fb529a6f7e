"""Batches in parts: the update of the whole batch where rows do not meet, and the same on two processes as on one."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch
from support.processes import after_training, in_processes
from support.searches import FABRIC, setting
from support.tiny import settings, striped_data
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from constrained_nas.runs import RunSettings, begin_run, carry_out
from constrained_nas.training import Parts, TrainingOptions, load_checkpoint, recomputing, train_supernet
from constrained_nas.training.joined import JoinedNormalization
from graphs import resnet_fabric

COMMAND = "from constrained_nas.commands.cli import main; main()"
# The process RANK kills itself at its third step of WHAT.
DYING = """
import os, signal
from constrained_nas.commands.cli import main
from constrained_nas.runs import run
joined, steps = run.stopping_together, []
def dying(progress, fabric):
    told = joined(progress, fabric)
    def step(done, total, what):
        if os.environ["RANK"] == RANK and what.startswith(WHAT):
            steps.append(done)
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        told(done, total, what)
    return step
run.stopping_together = dying
main()
"""
SCRIPT = str(Path(__file__).parents[2] / "support" / "processes.py")


def test_parts_add_up_to_the_update_of_the_whole_batch() -> None:
    whole, parts = after_training(1, normalized=False), after_training(4, normalized=False)
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}")


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left, each what it came to."""
    folder = tmp_path_factory.mktemp("two")
    ended = in_processes(2, [sys.executable, SCRIPT, str(folder)])
    assert [status for status, _ in ended] == [0, 0], ended
    return folder


def test_two_processes_end_as_one_with_two_parts(of_two: Path) -> None:
    alone = after_training(2)
    for rank in range(2):
        together = load_checkpoint(of_two / f"{rank}of2.safetensors")[0]
        assert together.keys() == alone.keys()
        for name, tensor in alone.items():  # two numbers have the same sum in either order: to the last bit
            torch.testing.assert_close(together[name], tensor, rtol=0, atol=0, msg=lambda said, name=name: f"{name}: {said}")


def test_two_processes_that_normalize_together_end_as_one_on_the_joined_batch(of_two: Path) -> None:
    """Weights, running statistics, losses and points after three steps, in training mode, for every method and fine-tuning."""
    alone = after_training(1, joined=True)
    for rank in range(2):
        together = load_checkpoint(of_two / f"{rank}of2joined.safetensors")[0]
        assert together.keys() == alone.keys()
        for name, tensor in alone.items():
            torch.testing.assert_close(together[name], tensor, rtol=0, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}")
    assert any("running_var" in name for name in alone)


def test_joined_normalization_of_one_process_is_torchs() -> None:
    torch.manual_seed(0)
    weight, bias = (torch.rand(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for shape in ((5, 3), (2, 3, 4), (2, 3, 2, 2), (1, 3, 1, 2, 2)):
        features = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        plain, joined = ([torch.zeros(3).double(), torch.ones(3).double()] for _ in range(2))
        expected = functional.batch_norm(features, *plain, weight, bias, True, 0.3, 1e-3)
        with JoinedNormalization(0, 1, lambda tensor: tensor):
            found = functional.batch_norm(features, *joined, weight, bias, True, 0.3, 1e-3)
            bare = functional.batch_norm(features, None, None, training=True)
            evaluated = functional.batch_norm(features, *plain)
        torch.testing.assert_close([found, *joined], [expected, *plain])
        torch.testing.assert_close(bare, functional.batch_norm(features, None, None, training=True))
        torch.testing.assert_close(evaluated, functional.batch_norm(features, *plain))
        for gradient in (torch.randn_like(expected), torch.ones_like(expected)):
            inputs = features, weight, bias
            wanted = torch.autograd.grad(expected, inputs, gradient, retain_graph=True)
            torch.testing.assert_close(torch.autograd.grad(found, inputs, gradient, retain_graph=True), wanted)
    with JoinedNormalization(0, 1, lambda tensor: tensor), pytest.raises(ValueError, match="more than 1 value per channel"):
        functional.batch_norm(torch.zeros(1, 3), None, None, training=True)


def test_parts_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="0 part"):
        Parts(0, FABRIC)
    with pytest.raises(ValueError, match="a part needs two examples"):
        Parts(4, FABRIC).check(7)
    with pytest.raises(ValueError, match=r"--sync-batchnorm: 2 part\(s\).* not by 1, .* torchrun --nproc_per_node 2"):
        Parts(2, FABRIC, joined=True)
    routed = resnet_fabric(1, classes=3, image_channels=1, side=16, widths=(4, 8, 8)).supernet(rows="route")
    with pytest.raises(ValueError, match=r"--recompute: .* leave one out"), recomputing(routed, inside=nullcontext):
        pass


def test_computing_again_saves_memory_and_changes_nothing() -> None:
    space = setting()[0]
    kept: dict[bool, int] = {}
    ends = {}
    for recompute in (False, True):
        torch.manual_seed(1)
        net, count = space.supernet(), 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += tensor.numel()
            return tensor

        options = TrainingOptions(1, 16, 0.1, seed=3)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            again = replace(options, recompute=recompute)
            train_supernet(net, net.gates(space.heaviest()), striped_data(32, 1), again, again, FABRIC)
        kept[recompute], ends[recompute] = count, net.state_dict()
    assert all(torch.equal(ends[False][name], ends[True][name]) for name in ends[False])
    assert kept[True] < kept[False] / 1.5  # what is kept while the batch is computed, and again one block at a time
    assert "forward" not in vars(net.edge_modules[0])


def search_command(program: str, asked: RunSettings, out: Path, *more: str) -> list[str]:
    command = [sys.executable, "-c", program, "search", asked.space, *(f"--budget={budget}" for budget in asked.budget)]
    given = ("resolution", "training_digits", "draws", "epochs", "warm_up", "train_epochs", "batch_size", "samples")
    for name in (*given, "evaluations", "judged_images"):
        command += [f"--{name.replace('_', '-')}", str(getattr(asked, name))]
    return [*command, "--fine-tune-epochs", "1", "--no-test-references", "--threads", "1", "--out", str(out), *more]


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    for timed in ("seconds", "remarks", "history"):
        record.pop(timed)
    return record


@pytest.mark.slow
def test_a_search_of_two_processes_has_the_record_of_one(tmp_path: Path) -> None:
    for space, budget in (("hardcore-small", "params=60e3"), ("resnet-fabric-small", "macs=1e6"), ("gpunet-small", "macs=1e6")):
        alone, together = tmp_path / f"{space}1", tmp_path / f"{space}2"
        asked = settings(space, budget, parts=2, threads=1)
        carry_out(alone, asked=begin_run(asked, alone))
        ended = in_processes(2, search_command(COMMAND, asked, together))
        assert [status for status, _ in ended] == [0, 0], ended
        assert "2 processes computed it together" in json.loads((together / "run.json").read_text())["remarks"]
        assert record_of(alone) == record_of(together)


@pytest.mark.slow
def test_a_search_of_two_processes_that_normalize_together_begins_as_that_of_one(tmp_path: Path) -> None:
    """The whole search ends; what rounding comes to grows with the steps, so only the first are compared."""
    alone, together = tmp_path / "1", tmp_path / "2"
    asked = settings("hardcore-small", "params=60e3", threads=1)
    carry_out(alone, asked=begin_run(asked, alone))
    ended = in_processes(2, search_command(COMMAND, asked, together, "--sync-batchnorm"))
    assert [status for status, _ in ended] == [0, 0], ended
    assert all(budget["fits"] for budget in record_of(together)["budgets"])
    lines = ((folder / "curves.jsonl").read_text().splitlines()[:3] for folder in (alone, together))
    first, second = ([json.loads(line)["loss"] for line in some] for some in lines)
    assert second == pytest.approx(first, rel=0, abs=1e-4)
    (together / "run.json").unlink()
    with pytest.raises(ValueError, match=r"--sync-batchnorm: 2 part\(s\).* not by 1"):
        carry_out(together)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "rank"), [("heaviest", 1), ("sampled", 0), ("search", 1), ("training", 0)])
def test_a_search_goes_on_after_one_of_two_processes_was_killed(tmp_path: Path, what: str, rank: int) -> None:
    """In mid-training, search and fine-tuning; the other ends with a line. Then one process goes on, and in a copy two."""
    asked = settings("hardcore-small", "params=60e3", parts=2, threads=1)
    carry_out(tmp_path / "whole", asked=begin_run(asked, tmp_path / "whole"))
    killed, copy = tmp_path / "killed", tmp_path / "copy"
    began = perf_counter()
    ended = in_processes(2, search_command(f"WHAT, RANK = {what!r}, '{rank}'\n{DYING}", asked, killed))
    assert ended[rank][0] == -9 and ended[1 - rank][0] == 1 and perf_counter() - began < 240
    assert "another process of this run was killed or has failed" in ended[1 - rank][1].splitlines()[-1]
    shutil.copytree(killed, copy)
    carry_out(killed)
    ended = in_processes(2, [sys.executable, "-c", COMMAND, "resume", str(copy)])
    assert [status for status, _ in ended] == [0, 0], ended
    assert record_of(killed) == record_of(copy) == record_of(tmp_path / "whole")
    assert not list(killed.glob(".process-*")) + list(copy.glob(".process-*"))
