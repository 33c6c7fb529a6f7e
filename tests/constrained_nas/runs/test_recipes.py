"""Recipes: chosen by the data, overruled by the user, written into the run's settings, and trained by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.tiny import settings

from constrained_nas.runs import RunSettings, prepare
from constrained_nas.runs.families import plan_of, weights
from constrained_nas.runs.recipes import RECIPES, recipe_for


def asked(space: str = "hardcore-small", **given: Any) -> RunSettings:
    return RunSettings(space=space, budget=("params=1e6",), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "resolution", "recipe"),
    [
        ("digits", 32, "digits"),
        ("digits", 224, "digits"),
        ("cifar10", 32, "cifar"),
        ("cifar100", 224, "cifar"),
        ("folder/of/small", 64, "cifar"),
        ("imagenet", 224, "imagenet"),
    ],
)
def test_the_recipe_suits_the_data(data: str, resolution: int, recipe: str) -> None:
    assert recipe_for(data, resolution) == recipe
    plan = plan_of(asked(data=data, resolution=resolution))
    assert plan.recipe is RECIPES[recipe]  # type: ignore[index]
    assert plan.settings.recipe == recipe, "the folder keeps what was decided"
    assert plan.train_epochs == RECIPES[recipe].train_epochs  # type: ignore[index]


def test_the_user_has_the_last_word() -> None:
    plan = plan_of(asked(data="imagenet", resolution=224, recipe="cifar", warm_up=3, learning_rate=0.2))
    assert plan.recipe is RECIPES["cifar"]
    assert (plan.warm_up, plan.learning_rate, plan.train_epochs) == (3, 0.2, RECIPES["cifar"].train_epochs)
    assert plan_of(plan.settings) == plan, "settings with nothing left open give the same plan"
    with pytest.raises(ValueError, match="--recipe cifar: cnf-small is not trained by recipes"):
        plan_of(asked("cnf-small", recipe="cifar"))


def test_imagenet_is_the_papers() -> None:
    """Sec. 3.3 and Appendix A: 250 epochs of the heaviest network, 100 of paths, SGD at 0.1, smoothing 0.1, mixup 0.2, a moving
    average; two epochs of search (Sec. 3.2)."""
    recipe = RECIPES["imagenet"]
    assert (recipe.warm_up, recipe.train_epochs, recipe.epochs) == (250, 100, 2)
    assert (recipe.learning_rate, recipe.paths_rate, recipe.mixup, recipe.label_smoothing) == (0.1, 1.0, 0.2, 0.1)
    assert recipe.ema_decay > 0


def test_networks_are_trained_by_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(weights, "train_supernet", lambda *given, **_: seen.extend(given[3:5]))
    monkeypatch.setattr(weights, "fine_tune", lambda *given, **_: seen.append(given[2]))
    prepared = prepare(plan_of(settings("hardcore-small", "params=1e6", resolution=32, recipe="cifar")), tmp_path)
    family = prepared.family
    family.trained(prepared, prepared.supernet, family.cheapest(family.counted()["params"]), prepared.saved("network"))
    recipe = RECIPES["cifar"]
    assert len(seen) == 3
    for options in seen:
        found = options.mixup, options.label_smoothing, options.ema_decay
        assert found == (recipe.mixup, recipe.label_smoothing, recipe.ema_decay)
    assert [options.learning_rate for options in seen] == pytest.approx([0.1, 0.1 * recipe.paths_rate, recipe.fine_tune_rate])
    assert [options.epochs for options in seen] == [1, 1, 1], "as the settings say"


def test_a_folder_of_few_images_is_trained_longer_and_at_its_own_size(tmp_path: Path) -> None:
    from PIL import Image

    for part, label, number in ((p, c, n) for p in ("train", "val") for c in ("a", "b", "c") for n in range(8)):
        folder = tmp_path / part / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 70), (30 * number, 0, 0)).save(folder / f"{number}.png")
    plan = plan_of(asked(data=str(tmp_path)))
    assert plan.settings.recipe == "small" and plan.recipe.ema_decay == 0 and plan.recipe.mixup == 0
    assert plan.resolution == 48 and plan.train_epochs == 2 * RECIPES["small"].train_epochs
    assert plan_of(plan.settings) == plan  # when it is resumed
    assert plan_of(asked(data=str(tmp_path), resolution=32, train_epochs=3)).train_epochs == 3
    assert plan_of(asked(data=str(tmp_path), resolution=32)).resolution == 32
