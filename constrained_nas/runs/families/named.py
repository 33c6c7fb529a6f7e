"""Families by the names of their spaces, and the plan of a run: a new family is a file beside this one and a line here."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import get_args

import networkx as nx

from constrained_nas.data import folder_facts
from constrained_nas.runs.families.choices import ChoiceFamily
from constrained_nas.runs.families.dag import DagFamily
from constrained_nas.runs.families.family import Family, Plan
from constrained_nas.runs.families.filters import FilterFamily
from constrained_nas.runs.families.gpunet import GPUNetFamily
from constrained_nas.runs.families.hardcore import HardCoReFamily
from constrained_nas.runs.recipes import RECIPES, recipe_for, scaled
from constrained_nas.runs.settings import RecipeName, RunSettings, SpaceName
from constrained_nas.training import seeded
from graphs.own_code import is_own, own_built

# By how the names of their spaces begin or end.
FAMILIES: dict[str, type[Family]] = {
    "hardcore-*": HardCoReFamily,
    "ofa-*": HardCoReFamily,
    "gpunet-*": GPUNetFamily,
    "resnet-fabric-*": DagFamily,
    "cnf-*": DagFamily,
    "*-bits": FilterFamily,
    "*-widths": FilterFamily,
    "*.py:*": ChoiceFamily,  # or a graph, see family_named
}


_SMALL = 64  # pixels: spaces made for small images take theirs, up to this
_DIGITS = 3200  # drawings of training digits


def family_named(space: str) -> type[Family]:
    """The family of a space. A file of the user's own is run: what its callable returns decides.

    Raises:
        ValueError: an unknown name, or a callable that fails.
    """
    if is_own(space):
        tried = seeded(lambda: own_built(space, classes=10, channels=3, resolution=32), 0)  # for its kind alone
        return DagFamily if isinstance(tried, nx.Graph) else ChoiceFamily
    if space not in get_args(SpaceName):
        raise ValueError(f"no space {space!r}; there are {', '.join(get_args(SpaceName))}")
    return next(family for pattern, family in FAMILIES.items() if fnmatchcase(space, pattern))


def make_space(space: str, classes: int, image_channels: int, resolution: int) -> Family:
    """The space of that name for images (image_channels, resolution, resolution) of so many classes.

    Raises:
        ValueError: an unknown name, or a resolution that the network cannot halve as often as it has to.
    """
    return family_named(space).build(space, classes, image_channels, resolution)


def plan_of(settings: RunSettings, family: type[Family] | None = None) -> Plan:
    """What the settings ask for, and what suits the space where they ask for nothing; decided once, at the start of a run.

    Args:
        family: of the space; by default the one of its name.

    Raises:
        ValueError: a recipe, or a way to draw paths, for a space whose family trains by its own.
    """
    kind = family or family_named(settings.space)
    numbers, facts = kind.defaults(settings.space), folder_facts(settings.data)
    few = facts is not None and facts.few
    if facts is not None and facts.side and numbers["resolution"] <= _SMALL:
        numbers["resolution"] = min(_SMALL, max(16, 8 * round(facts.side / 8)))
    name: RecipeName = "digits"
    if kind.takes_recipes:
        name = settings.recipe or recipe_for(settings.data, settings.resolution or numbers["resolution"], few)
        numbers |= RECIPES[name].numbers()
        if name == "small" and facts is not None:
            numbers = scaled(numbers, facts.images)
    elif settings.recipe is not None:
        raise ValueError(f"--recipe {settings.recipe}: {settings.space} is not trained by recipes; give epochs and rates instead")
    elif few and facts is not None and kind in (ChoiceFamily, DagFamily):  # their epochs are for some thousand digits
        factor = min(8.0, max(1.0, _DIGITS / max(1, facts.images)))
        longer = ("warm_up", "fine_tune_epochs", "train_epochs" if kind.shares_supernet else "epochs")
        numbers |= {name: round(numbers[name] * factor) for name in longer}
    if settings.path_per is not None and "path_per" not in numbers:
        raise ValueError(f"--path-per {settings.path_per}: paths of {settings.space} are drawn in one way; leave it out")
    decided = numbers | {name: given for name in numbers if (given := getattr(settings, name)) is not None}
    told = settings.model_copy(update=decided | ({"recipe": name} if kind.takes_recipes else {}))
    return Plan(settings=told, family=kind, recipe=RECIPES[name], **decided)
