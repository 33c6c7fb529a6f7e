"""Work is taken up only for what it was made for: other data, settings, versions and damaged files are refused by name."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.tiny import TINY, killer, run, settings

from constrained_nas.data import image_folder, loader
from constrained_nas.runs import begin_run, carry_out, fingerprint
from constrained_nas.sweeps import SweepOptions, parse_grid, run_sweep
from constrained_nas.training import Checkpoint, load_checkpoint, save_checkpoint
from graphs.files import read_json, save_json

ASKED = settings("hardcore-small", "params=60e3")


def killed(folder: Path, what: str = "search", asked: Any = ASKED) -> Path:
    """A run that was killed when its super-network was trained."""
    begin_run(asked, folder)
    with pytest.raises(KeyboardInterrupt):
        carry_out(folder, killer(what, 9 if what == "search" else 2))  # 8 networks are judged before anything is kept
    return folder


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "settings.json"
    save_json(read_json(path, "settings") | changes, path)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return killed(tmp_path_factory.mktemp("run") / "killed")


@pytest.fixture
def copy(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training_digits": 50}, r"data\.digits 40, now 50"),
        ({"seed": 1}, r"data\.seed 0, now 1"),
        ({"resolution": 24}, r"data\.name digits-16, now digits-24"),
        ({"learning_rate": 0.2}, r"settings\.learning_rate 0\.1, now 0\.2"),
        ({"precision": "bf16-mixed"}, r"settings\.precision 32-true, now bf16-mixed"),
        ({"recipe": "cifar"}, r"settings\.recipe digits, now cifar"),
        ({"threads": 2}, "threads 1, now 2"),
        ({"sync_batchnorm": True}, r"settings\.sync_batchnorm not stated, now True"),
    ],
)
def test_an_edit_that_changes_results_is_refused_by_name(copy: Path, changes: dict[str, Any], said: str) -> None:
    edit(copy, **changes)
    with pytest.raises(ValueError, match=rf"supernet\.heaviest\.safetensors: made with .*{said}.*Restore that, or delete it"):
        carry_out(copy)


def test_other_versions_are_refused_by_name(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "versions", lambda: {"torch": "0.4"})
    with pytest.raises(ValueError, match=r"versions\.torch .*, now 0\.4"):
        carry_out(copy)


def test_what_changes_no_result_is_not_refused(copy: Path, tmp_path: Path) -> None:
    edit(copy, workers=1, data_root="elsewhere", data_cache="anywhere")
    whole = run(tmp_path / "whole", ASKED)
    assert carry_out(copy).found == whole.found
    networks = [load_file(folder / "network.safetensors") for folder in (copy, tmp_path / "whole")]
    assert all(torch.equal(tensor, networks[1][name]) for name, tensor in networks[0].items())


def test_a_resumed_run_keeps_its_number_of_threads(interrupted: Path, copy: Path, tmp_path: Path) -> None:
    seen = set()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        record = carry_out(copy, lambda *_: seen.add(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {1} and record.settings["threads"] == 1


def test_a_run_of_before_threads_were_recorded_says_so(copy: Path) -> None:
    content = read_json(copy / "settings.json", "settings")
    del content["threads"]
    save_json(content, copy / "settings.json")
    for path in (copy / "checkpoints").iterdir():  # as older versions wrote them
        tensors, values = load_checkpoint(path)
        save_file(tensors, path, metadata={"values": json.dumps(values)})
    remarks = carry_out(copy).remarks
    assert any("number of threads at the start was not recorded" in remark for remark in remarks)
    assert any("supernet.safetensors does not say what made it" in remark for remark in remarks)


def test_a_table_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    from support.fakes import true_table

    from graphs import hardcore_small

    table = true_table(hardcore_small(10, 16, 1))
    save_json(table, tmp_path / "table.json")
    asked = settings("hardcore-small", "latency_ms=4", table=tmp_path / "table.json", measure=False)
    folder = killed(tmp_path / "run", "training: network", asked)
    save_json(table.model_copy(update={"fixed": table.fixed * 1.01}), folder / "table.json")
    with pytest.raises(ValueError, match=r"search\.safetensors: made with table "):
        carry_out(folder)


def test_flipped_bits_are_errors(interrupted: Path, tmp_path: Path) -> None:
    generator, refused = random.Random(0), 0
    for path in sorted((interrupted / "checkpoints").iterdir()):
        content = path.read_bytes()
        for _ in range(40):
            place = generator.randrange(len(content))
            damaged = bytearray(content)
            damaged[place] ^= 1 << generator.randrange(8)
            (tmp_path / path.name).write_bytes(damaged)
            with pytest.raises(ValueError, match="delete it to start over"):
                load_checkpoint(tmp_path / path.name)
            refused += 1
    assert refused == 120


def images(root: Path, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    for part, label in ((part, label) for part in ("train", "val") for label in ("a", "b")):
        (root / part / label).mkdir(parents=True, exist_ok=True)
        for number in range(20):
            picture = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            picture.save(root / part / label / f"{number}.png")
    return root


def test_a_folder_of_images_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    first = image_folder(images(tmp_path / "one", 0), 16).identity
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert image_folder(tmp_path / "two", 16).identity == first
    (tmp_path / "two" / "val" / "a" / "3.png").write_bytes((tmp_path / "two" / "val" / "a" / "4.png").read_bytes())
    assert image_folder(tmp_path / "two", 16).identity != first


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_loading_processes_changes_no_image(tmp_path: Path, workers: int) -> None:
    data = image_folder(images(tmp_path / "images", 0), 16, augment=True).weights

    def batches(count: int) -> list[torch.Tensor]:
        return [batch for batch, _ in loader(data, 8, torch.Generator().manual_seed(3), True, count)]

    here, there = batches(0), batches(workers)
    assert len(here) == 4 and all(map(torch.equal, here, there))
    assert not torch.equal(here[0], next(iter(loader(data, 8, torch.Generator().manual_seed(4), True)))[0])


def test_a_sweep_takes_no_super_network_of_other_data(tmp_path: Path) -> None:
    data = images(tmp_path / "images", 0)
    sizes = {**TINY, "test_references": True, "batch_size": 4, "fine_tune_epochs": 0, "data": str(data)}
    options = SweepOptions(tuple(parse_grid(("params=60e3",))), methods=("random",))
    run_sweep(settings("hardcore-small", **sizes), options, tmp_path / "sweep")
    cells = sorted(path.name for path in (tmp_path / "sweep" / "cells").iterdir())
    moved = images(tmp_path / "elsewhere" / "images", 0)
    run_sweep(settings("hardcore-small", **{**sizes, "data": str(moved), "workers": 1}), options, tmp_path / "sweep")
    assert sorted(path.name for path in (tmp_path / "sweep" / "cells").iterdir()) == cells  # the same data: nothing was computed
    images(data, 1)
    with pytest.raises(ValueError, match=r"supernet\.heaviest\.safetensors: made with data\.content .*, now "):
        run_sweep(settings("hardcore-small", **sizes), options, tmp_path / "sweep")


def made(**values: Any) -> Callable[[Path], Checkpoint]:
    return lambda path: Checkpoint(path, values)


def test_long_differences_are_cut(tmp_path: Path) -> None:
    long = {f"part{number}": "x" * 10_000 for number in range(100)}
    save_checkpoint(made(**long)(tmp_path / "a"), {"a": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="and 96 more") as raised:
        load_checkpoint(made(**dict.fromkeys(long, "y" * 10_000))(tmp_path / "a"))
    assert len(str(raised.value)) < 1000
