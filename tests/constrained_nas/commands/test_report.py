"""The report of a search: what it says, what it draws, and that missing parts are named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.fakes import made_measurement, made_search, small_choices

from constrained_nas.commands.report import Report, report
from constrained_nas.reports import certificate_sentence, plain_number, verdict, write_report
from constrained_nas.reports.choices import choice_rows, draw_choices, skipped_layers
from constrained_nas.runs import CertificateRecord, NetworkRecord, RunRecord
from constrained_nas.runs.families import DagFamily
from constrained_nas.runs.record import save_run

PNG = b"\x89PNG"


def _certified(**fields: float | bool | None) -> RunRecord:
    made: dict[str, float | bool | None] = {"primal": 2.0, "bound": 2.0, "gap": 0.0, "violation": 0.0, "maximize": True}
    return made_search(certificate=CertificateRecord(**(made | fields)))


def test_a_report_holds_numbers_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_run(made_search(measured=made_measurement(3.8, 3.95)), tmp_path / "x")
    report(Report(tmp_path / "x"))
    text = (tmp_path / "x" / "report.md").read_text()
    assert "| latency | 4 ms | 3.9 ms | 3.8 ms | yes |" in text
    assert "| parameters | 90,000 parameters | 61,234 parameters | not measured | yes |" in text
    assert "| cheapest | 2.2 | 32,042 | 90.25 % |" in text
    assert "| stage1.block3 | e3_k3_se (does not run) |" in text
    assert "| largest | 7.4 | 190,146 | not tested |" in text
    pictures = re.findall(r"!\[[^]]+\]\((\w+\.png)\)", text)
    assert pictures == ["budgets.png", "architecture.png", "search.png", "networks.png"]
    for picture in pictures:
        assert (tmp_path / "x" / picture).read_bytes().startswith(PNG)
    page = (tmp_path / "x" / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 4
    assert ".png" not in page.replace("data:image/png", "")  # nothing lies beside the page
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
    assert "0.00 %" not in text
    assert not (tmp_path / "networks.png").exists()
    assert not (tmp_path / "search.png").exists()


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
    assert (tmp_path / "same" / "architecture.png").read_bytes().startswith(PNG)
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


@pytest.mark.parametrize(("value", "said"), [(28_000, "28,000"), (4.3123, "4.312"), (1234567.8, "1,234,568"), (0.0, "0")])
def test_numbers_as_people_write_them(value: float, said: str) -> None:
    assert plain_number(value) == said
