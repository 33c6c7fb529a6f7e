"""The script that searches on CIFAR-10, at smoke scale on digits."""

from __future__ import annotations

import json
from pathlib import Path

from support.scripts import run_script

from constrained_nas.runs.recipes import RECIPES
from papers_repro.hardcore_cifar import METHODS, preset


def test_script(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_script("papers_repro/hardcore_cifar.py", "--scale", "smoke", "--out", str(out), folder=tmp_path, columns=160)
    assert (out / "hardcore_cifar.png").read_bytes().startswith(b"\x89PNG")
    (table,) = json.loads((out / "hardcore_cifar.json").read_text())["tables"]
    rows = {row["method"]: row for row in table["ours"]}
    assert set(METHODS) | {"cheapest network", "heaviest network"} == rows.keys()
    for method in METHODS:
        assert method == "soft penalty + argmax" or (rows[method]["violations"] == 0 and rows[method]["use"] <= 100), method
    assert rows["cheapest network"]["macs"] < rows["random that fits"]["macs"] < rows["heaviest network"]["macs"]


def test_gpu_scale_is_the_recipe() -> None:
    options, recipe = preset("paper"), RECIPES["cifar"]
    assert (options.warm_up_epochs, options.path_epochs) == (recipe.warm_up, recipe.train_epochs)
    assert (options.batch_size, options.learning_rate, options.mixup) == (recipe.batch_size, recipe.learning_rate, recipe.mixup)
    assert options.paths_rate == recipe.paths_rate * recipe.learning_rate and options.ema_decay == recipe.ema_decay
    assert options.search_epochs == recipe.epochs
