"""Batches in parts: the update of the whole batch where rows do not meet, and the same on two processes as on one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.processes import after_training, in_processes
from support.searches import FABRIC, setting
from support.tiny import settings, striped_data
from torch.autograd.graph import saved_tensors_hooks

from constrained_nas.runs import begin_run, carry_out
from constrained_nas.training import Parts, TrainingOptions, load_checkpoint, train_supernet

COMMAND = "from constrained_nas.commands.cli import main; main()"
SCRIPT = str(Path(__file__).parents[2] / "support" / "processes.py")


def test_parts_add_up_to_the_update_of_the_whole_batch() -> None:
    whole, parts = after_training(1, normalized=False), after_training(4, normalized=False)
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}")


def test_two_processes_end_as_one_with_two_parts(tmp_path: Path) -> None:
    ended = in_processes(2, [sys.executable, SCRIPT, str(tmp_path)])
    assert [status for status, _ in ended] == [0, 0], ended
    alone = after_training(2)
    for rank in range(2):
        together = load_checkpoint(tmp_path / f"{rank}of2.safetensors")[0]
        assert together.keys() == alone.keys()
        for name, tensor in alone.items():  # two numbers have the same sum in either order: to the last bit
            torch.testing.assert_close(together[name], tensor, rtol=0, atol=0, msg=lambda said, name=name: f"{name}: {said}")


def test_parts_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="0 part"):
        Parts(0, FABRIC)
    with pytest.raises(ValueError, match="a part needs two examples"):
        Parts(4, FABRIC).check(7)


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


@pytest.mark.slow
def test_a_search_of_two_processes_has_the_record_of_one(tmp_path: Path) -> None:
    for space, budget in (("hardcore-small", "params=60e3"), ("resnet-fabric-small", "macs=1e6"), ("gpunet-small", "macs=1e6")):
        alone, together = tmp_path / f"{space}1", tmp_path / f"{space}2"
        asked = settings(space, budget, parts=2, threads=1)
        carry_out(alone, asked=begin_run(asked, alone))
        command = [sys.executable, "-c", COMMAND, "search", space, "--budget", budget]
        given = ("resolution", "training_digits", "draws", "epochs", "warm_up", "train_epochs", "batch_size", "samples")
        for name in (*given, "evaluations", "judged_images"):
            command += [f"--{name.replace('_', '-')}", str(getattr(asked, name))]
        command += ["--fine-tune-epochs", "1", "--no-test-references", "--threads", "1", "--out", str(together)]
        ended = in_processes(2, command)
        assert [status for status, _ in ended] == [0, 0], ended
        first, second = (json.loads((folder / "run.json").read_text()) for folder in (alone, together))
        assert "2 processes computed it together" in second["remarks"]
        for timed in ("seconds", "remarks", "history"):
            first.pop(timed), second.pop(timed)
        assert first == second
