"""The report of a search: what it says, what it draws, and that missing parts are named."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest
from support.fakes import made_measurement, made_search, small_choices
from support.tiny import run, settings

from constrained_nas.commands.report import Report, report
from constrained_nas.reports import certificate_sentence, plain_number, verdict, write_report
from constrained_nas.reports.blocks import draw_blocks, traced_blocks, with_choices
from constrained_nas.reports.choices import choice_rows, draw_choices, skipped_layers
from constrained_nas.runs import CertificateRecord, NearbyRecord, NetworkRecord, RunRecord, load_run
from constrained_nas.runs.families import DagFamily
from constrained_nas.runs.record import save_run
from graphs import hardcore_small
from graphs.costs import mac_cost
from graphs.costs.counts import count

PNG = b"\x89PNG"


def cells(page: str) -> list[list[str]]:
    """The rows of all tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    return [[unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows]


def _certified(**fields: float | bool | None) -> RunRecord:
    made: dict[str, float | bool | None] = {"primal": 2.0, "bound": 2.0, "gap": 0.0, "violation": 0.0, "maximize": True}
    return made_search(certificate=CertificateRecord(**(made | fields)))


def test_a_report_holds_numbers_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_run(made_search(measured=made_measurement(3.8, 3.95)), tmp_path / "x")
    report(Report(tmp_path / "x"))
    page = (tmp_path / "x" / "report.html").read_text()
    rows = cells(page)
    for row in (
        ["latency", "4 ms", "3.9 ms", "3.8 ms", "yes"],
        ["parameters", "90,000 parameters", "61,234 parameters", "not measured", "yes"],
        ["cheapest", "2.2", "32,042", "90.25 %"],
        ["stage1.block3", "e3_k3_se (does not run)"],
        ["largest", "7.4", "190,146", "not tested"],
    ):
        assert row in rows
    assert page.index("fits all 2 budgets") < page.index("<h2>")  # the verdict comes first
    assert "5.0 % of latency left, 32.0 % of parameters left" in page
    assert "+5.25 against the cheapest network (90.25 % at 0.56 times the latency)" in page
    for picture in ("test accuracy, %", "loss", "found network: latency (ms)"):
        assert f'role="img" aria-label="{picture}"' in page
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["report.html", "run.json"]  # nothing lies beside the page
    said = " ".join(capsys.readouterr().out.split())
    assert "fits all 2 budgets" in said
    assert "No network within these budgets scores better than 1.5" in said
    assert "95.50 %" in said


def test_what_is_missing_is_said_and_not_drawn(tmp_path: Path) -> None:
    untested = NetworkRecord(name="found", choices=small_choices(), costs={"latency": 3.9})
    record = made_search(found=untested, references=(), certificate=None, history=())
    text = write_report(record, tmp_path).read_text()
    for said in (
        "Test accuracy: not tested",
        "There is no certificate",
        "no history",
        "No network was tested",
        "No reference network",
        "Nothing was measured",
    ):
        assert said in text
    assert "0.00 %" not in text and "<svg" not in text


def test_the_verdict_says_what_does_not_fit() -> None:
    assert "exceeds latency by 0.5 ms" in verdict(made_search(latency=4.5))
    slow = verdict(made_search(measured=made_measurement(4.1, 4.2)))
    assert "NOT shown to be within the limit of 4 ms" in slow


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (made_search(), "the found one scores 1.25, so at most 0.25 could still be gained"),
        (
            _certified(),
            "scores better than 2 by the search's scores; the found one scores 2, so by these scores it is proven to be the best",
        ),
        (_certified(maximize=False), "has a loss below 2"),
        (_certified(bound=None, gap=None), "no bound is known"),
        (_certified(violation=0.5), "exceeds a budget by 0.5"),
    ],
)
def test_the_certificate_in_words(record: RunRecord, said: str) -> None:
    assert said in certificate_sentence(record)


def test_a_fabric_is_drawn_as_a_graph(tmp_path: Path) -> None:
    fabric = DagFamily.build("resnet-fabric-small", 10, 1, 16).space
    on = fabric.space.describe(fabric.whole)
    settings = {"space": "resnet-fabric-small", "resolution": 16}
    record = made_search(space=fabric.name, found=NetworkRecord(name="found", choices=on, costs={}), settings=settings)
    modules = fabric.dag.number_of_edges()
    assert f"{modules} of {modules} modules run" in write_report(record, tmp_path / "same").read_text()
    assert '<img src="data:image/png;base64,' in (tmp_path / "same" / "report.html").read_text()
    other = made_search(found=NetworkRecord(name="found", choices=small_choices(), costs={}), settings=settings)
    assert "modules run" not in write_report(other, tmp_path / "other").read_text()  # decisions of another space: boxes


def test_blocks_beyond_the_depth_and_skips_do_not_run() -> None:
    choices = {"s1.block1": "e3", "s1.block2": "e6", "s1.block3": "e6", "s1.depth": "2", "s2.layer1": "skip", "s10.block3": "e3"}
    assert skipped_layers(choices) == {"s1.block3", "s2.layer1"}
    assert choice_rows(choices)[0] == ("s1", ["s1.block1", "s1.block2", "s1.block3"])
    assert [label for label, _ in choice_rows({f"conv{place}": "8" for place in range(14)})] == ["", ""]


@pytest.mark.parametrize(
    "choices",
    [
        {"a.layer1": "k3_relu_w24", "a.layer2": "skip", "b.layer1": "k5_se_swish_w96"},
        {"conv1": {"2 bit": 3, "8 bit": 5}, "conv2": {"2 bit": 0, "8 bit": 8}},
        {"one": "wide", "two": "narrow"},
        {"one": "16", "two": "24"},
        {"one": "off"},
    ],
)
def test_any_chain_is_drawn(choices: dict[str, str | dict[str, int]], tmp_path: Path) -> None:
    draw_choices(choices, tmp_path / "chain.png", "chain")
    assert (tmp_path / "chain.png").read_bytes().startswith(PNG)


def test_nothing_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without choices"):
        draw_choices({}, tmp_path / "chain.png")


def test_words_of_a_record_are_no_html(tmp_path: Path) -> None:
    write_report(made_search(remarks=("<script>alert(1)</script>",), machine="a | b"), tmp_path)
    assert "<script>" not in (tmp_path / "report.html").read_text()


def test_damaged_or_unfinished_runs_end_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no search has ended there"):
        report(Report(tmp_path))
    path = save_run(made_search(), tmp_path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match="was the file cut off"):
        report(Report(tmp_path))
    path.write_text(json.dumps({"kind": "run"}))
    with pytest.raises(ValueError, match="no valid record of a run"):
        report(Report(tmp_path))


def test_a_network_is_drawn_to_scale() -> None:
    space = hardcore_small(10, 32, 1)
    choices = {d.name: "2" if d.name.endswith("depth") else "e3_k3" for d in space.space.decisions}
    architecture = space.space.choose({**choices, "stage2.block1": "e6_k5_se", "stage1.depth": "3"})
    network, cost = space.supernet().extract(architecture), mac_cost(space)
    blocks = with_choices(traced_blocks(network, (1, 32, 32)), space.space, architecture, cost)
    running = [
        "stage1_block1",
        "stage1_block2",
        "stage1_block3",
        "stage2_block1",
        "stage2_block2",
        "stage3_block1",
        "stage3_block2",
    ]
    assert [block.name for block in blocks] == ["stem", *running, "logits"]
    assert [block.expansion for block in blocks if block.option] == [3, 3, 3, 6, 3, 3, 3]
    assert [block.side for block in blocks] == [16, 8, 8, 8, 4, 4, 4, 4, 0] and blocks[4].kernel == 5
    assert sum(block.cost or 0 for block in blocks) == pytest.approx(cost.cost(architecture) - cost.quadratic.offset)
    assert sum(block.macs for block in blocks) == pytest.approx(count(network, (1, 32, 32)).macs)
    drawn = draw_blocks(blocks, "MACs")
    boxes = [dict(re.findall(r'(\w+)="([\d.]+)"', box)) for box in re.findall(r"<rect (.*?)>", drawn)]
    assert float(boxes[4]["height"]) == 2 * float(boxes[5]["height"])  # twice the expansion
    assert float(boxes[1]["width"]) / float(boxes[4]["width"]) == pytest.approx(blocks[1].channels / blocks[4].channels, rel=1e-3)
    assert re.findall(r'class="side">([^<]*)', drawn) == ["16 × 16", "8 × 8", "4 × 4", "pooled"]


def test_curves_and_what_the_search_decided(tmp_path: Path) -> None:
    asked = settings("hardcore-small", "params=60e3", "macs=170e3", test_references=True)
    run(tmp_path, asked)
    report(Report(tmp_path))
    page = (tmp_path / "report.html").read_text()
    record = load_run(tmp_path)
    for picture in ("heaviest network: loss", "sampled paths: accuracy, %", "network: loss", "spent so far, % of the budget"):
        assert f'aria-label="{picture}"' in page
    for name in record.found.choices:
        assert f'aria-label="{name}: the probability of every option over the search"' in page
    assert '<div class="network">' in page and "--budget params=60e3 --budget macs=170e3" in page
    assert "network with one option everywhere that fits" in page


def test_what_other_budgets_would_bring(tmp_path: Path) -> None:
    """The found network's score is between those of a tighter and of a wider limit, and changes are told once."""
    same = {"stage1.block1": "e6_k3"}
    near = [
        NearbyRecord(cost="latency", limit=3.8, costs={"latency": 3.7}, score=1.0, changes={"stage1.depth": "3"}),
        NearbyRecord(cost="latency", limit=4.1, costs={"latency": 3.9}, score=1.25, changes={}),
        NearbyRecord(cost="latency", limit=4.4, costs={"latency": 4.3}, score=1.5, changes=same),
        NearbyRecord(cost="latency", limit=4.8, costs={"latency": 4.3}, score=1.5, changes=same),
    ]
    page = write_report(made_search(nearby=tuple(near)), tmp_path).read_text()
    found = re.findall(r"<li>(<b>.*?)</li>", page)
    lines = [unescape(re.sub("<[^>]+>", "|", line)) for line in found]
    assert lines[:3] == [
        "|3.8 (95%)|: spends 3.7, score -0.25|stage1.depth 2 → 3|",
        "|4.1 (102%)|: the found network",
        "|4.4 (110%) to 4.8 (120%)|: spends 4.3, score +0.25|stage1.block1 e3_k3_se → e6_k3|",
    ]
    assert 'aria-label="best score within a limit"' in page


@pytest.mark.parametrize(("value", "said"), [(28_000, "28,000"), (4.3123, "4.312"), (1234567.8, "1,234,568"), (0.0, "0")])
def test_numbers_as_people_write_them(value: float, said: str) -> None:
    assert plain_number(value) == said
