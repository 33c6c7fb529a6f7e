"""``constrained-nas describe``, as a user types it: every published number, and the pictures."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any, get_args

import matplotlib.image
import pytest
from PIL import Image

from constrained_nas.commands.cli import main
from constrained_nas.commands.describe import Describe, describe
from constrained_nas.runs import SpaceName
from graphs import hardcore_small
from graphs.costs import count

# parameters, multiply-adds as published and exact, steps on 1, 2 and 4 machines, number of decisions
NETWORKS = {
    "resnet-20": (273_258, 40_899_200, 40_899_200, (22, 20, 20), 18),
    "resnet-32": (468_138, 69_268_096, 69_268_096, (34, 32, 32), 30),
    "resnet-44": (663_018, 97_636_992, 97_636_992, (46, 44, 44), 42),
    "resnet-56": (857_898, 126_005_888, 126_005_888, (58, 56, 56), 54),
    "resnet-110": (1_734_858, 253_665_920, 253_665_920, (112, 110, 110), 108),
    "resnet-fabric-3": (760_586, 91_140_736, 91_140_736, (50, 29, 20), 46),
    "resnet-fabric-5": (1_390_730, 163_697_280, 163_697_280, (86, 49, 32), 82),
    "resnet-fabric-7": (2_020_874, 236_253_824, 236_253_824, (122, 69, 44), 118),
    "resnet-fabric-9": (2_651_018, 308_810_368, 308_810_368, (158, 89, 56), 154),
    "resnet-fabric-18": (5_486_666, 635_314_816, 635_314_816, (320, 179, 110), 316),
    "cnf-1": (744_330, 53_822_720, 53_822_720, (12, 12, 12), 5),
    "cnf-2": (3_848_970, 406_209_536, 557_057_024, (39, 26, 19), 26),
    "cnf-4": (8_579_850, 1_010_330_880, 1_462_873_344, (83, 47, 31), 58),
    "cnf-8": (18_041_610, 2_218_573_568, 3_274_505_984, (171, 90, 53), 122),
    "cnf-segmentation-8": (7_079_811, 35_613_551_808, 54_940_609_728, (264, 145, 83), 191),
}


def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "describe", *arguments])
    main()
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str) -> None:
    parameters, published, exact, steps, decisions = NETWORKS[name]
    facts: dict[str, Any] = json.loads(_run(monkeypatch, capsys, name, "--json"))
    assert (facts["params"], facts["mult_adds"], facts["mult_adds_exact"]) == (parameters, published, exact)
    assert facts["sequential_ops"] == dict(zip("124", steps, strict=True))
    assert facts["architectures"] == 2**decisions
    assert list(facts["decisions"].values()) == [["off", "on"]] * decisions


def test_a_table_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output = _run(monkeypatch, capsys, "cnf-2")
    for fact in ("2^26", "3,848,970", "406,209,536", "557,057,024", "39 on 1, 26 on 2, 19 on 4 machines"):
        assert fact in output


def test_the_hardcore_space_has_the_costs_of_its_heaviest_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(_run(monkeypatch, capsys, "hardcore-small", "--json"))
    space = hardcore_small()
    heaviest = {decision.name: decision.options[-1] for decision in space.space.decisions}
    network = space.supernet().extract(space.space.choose(heaviest))
    counted = count(network, (1, 32, 32))
    assert facts["architectures"] == space.architectures
    assert (facts["params"], facts["mult_adds"]) == (counted.parameters, counted.macs)
    assert facts["heaviest"] == {"params": counted.parameters, "mult_adds": counted.macs}
    assert facts["mult_adds_exact"] == counted.macs
    modules = len(list(network.children()))  # a chain: one step each
    assert facts["sequential_ops"] == {"1": modules, "2": modules, "4": modules}


@pytest.mark.parametrize("name", ["resnet-fabric-3", "cnf-2", "hardcore-small"])
def test_a_picture(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / f"{name}.png"
    assert "drawn in" in _run(monkeypatch, capsys, name, "--draw", str(path))
    picture = matplotlib.image.imread(path)
    assert min(picture.shape[:2]) > 400
    assert picture[..., :3].std() > 0.1  # ink and paper


def test_a_picture_of_an_unknown_kind_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "describe", "cnf-1", "--draw", str(tmp_path / "cnf.doc")])
    with pytest.raises(SystemExit, match=r"cannot draw this kind of file; there are .*\.png"):
        main()


def test_an_unknown_network_ends_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"no space 'resnet-21': did you mean resnet-20\?"):
        _run(monkeypatch, capsys, "resnet-21")


@pytest.mark.parametrize("name", sorted(set(get_args(SpaceName)) - set(NETWORKS)))
def test_every_space_of_search(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str) -> None:
    facts = json.loads(_run(monkeypatch, capsys, name, "--json"))
    assert all(len(options) > 1 for options in facts["decisions"].values())
    if "heaviest" in facts:
        assert all(0 < least < facts["heaviest"][cost] for cost, least in facts["lightest"].items())


def test_spaces_of_widths_and_filters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    widths = json.loads(_run(monkeypatch, capsys, "resnet8-widths", "--json"))
    assert widths["architectures"] == 8 * 16 * 32  # how many filters each of three stages keeps
    bits = json.loads(_run(monkeypatch, capsys, "resnet8-bits", "--json"))
    # 8, 16 and 32 filters among four bit widths: (n + 3) over 3 ways for each layer; the stem and stage 1 have three layers of 8
    assert bits["architectures"] == 165**3 * 969**2 * 6545**2
    output = " ".join(_run(monkeypatch, capsys, "gpunet-small").split())
    assert "65 in all" in output
    with pytest.raises(SystemExit, match="gpunet-small decides on widths"):
        _run(monkeypatch, capsys, "gpunet-small", "--draw", "never.png")


def test_data_decide_on_classes_channels_and_resolution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, name in product(("train", "val"), "abc"):
        (tmp_path / part / name).mkdir(parents=True)
        Image.new("RGB", (24, 24)).save(tmp_path / part / name / "1.png")
    names = []
    for space in ("hardcore-small", "gpunet-small"):
        describe(Describe(space, data=str(tmp_path), json=True))
        names.append(json.loads(capsys.readouterr().out)["space"])
    assert all("24" in name and "3" in name for name in names), names
    with pytest.raises(ValueError, match="resnet-20 is described as it was published: leave out --data"):
        describe(Describe("resnet-20", data="digits"))
    with pytest.raises(ValueError, match="at least one class and channel, got 0 and None"):
        describe(Describe("hardcore-small", classes=0))
