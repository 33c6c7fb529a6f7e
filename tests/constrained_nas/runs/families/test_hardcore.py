"""HardCoRe's spaces in a run: who teaches the networks that were found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import settings
from torch import nn

from constrained_nas.runs import prepare
from constrained_nas.runs.families import plan_of, weights
from constrained_nas.training import heaviest_file, load_weights


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_the_teacher_is_the_heaviest_network_before_paths_were_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(plan_of(settings("hardcore-small", "params=1e6", resolution=32)), tmp_path)
    teachers: list[Any] = []
    monkeypatch.setattr(weights, "fine_tune", lambda *given, **_: teachers.append(given[4]))
    family, supernet = prepared.family, prepared.supernet
    architecture = family.cheapest(family.counted()["params"])
    file = heaviest_file(prepared.saved("supernet").path)
    family.trained(prepared, supernet, architecture, prepared.saved("network"))
    before: Any = family.supernet()
    load_weights(before, file)
    assert same(teachers[0], before.extract(family.largest(family.counted()["params"])))
    after: Any = supernet
    assert not same(teachers[0], after.extract(family.largest(family.counted()["params"])))
    file.path.unlink()
    family.trained(prepared, supernet, architecture, prepared.saved("network"))
    assert same(teachers[1], weights.inherited(prepared, supernet, family.largest(family.counted()["params"])))
