"""Commands on hostile folders, full disks and absurd sizes: one short line, nothing written elsewhere, no markup believed."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from support.fakes import made_search
from support.tiny import TINY, killer, run, settings

from constrained_nas.commands import cli, console
from constrained_nas.reports import write_report
from constrained_nas.runs import NetworkRecord, begin_run, carry_out
from constrained_nas.runs.record import save_run
from graphs.files import read_json, save_json
from graphs.spaces.block_strings import BlockString

Command = Callable[..., str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command; what it printed, or the line in which it ended."""

    def typed(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["constrained-nas", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "300")
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            said = str(end.code)
            assert said.startswith("constrained-nas: ") and "unexpected" not in said, said
            assert "\n" not in said and "\x1b" not in said and len(said) < 500, said
            return said
        return capsys.readouterr().out

    return typed


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(folder, settings("hardcore-small", "params=60e3"))
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_links_in_a_sent_folder_lead_nowhere(copy: Path, tmp_path: Path, command: Command) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    names = ["report.html", ".lock", ".owner.json"]
    for name in (*names, *(f"{name}.partial" for name in names), "compare.json", "compare.csv", "front_parameters.png"):
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to(mine)
    (copy / "export").mkdir()
    for name in ("network.py", "network.safetensors", "network.pt2", "blocks.json"):
        (copy / "export" / name).symlink_to(mine)
    assert "written to" in command("report", copy)
    assert "written to" in command("compare", copy, "--out", copy)
    assert "same outputs to the bit" in command("export", copy, "--to", "python", "program", "timm").replace("\n", " ")
    assert mine.read_text() == "mine"
    shutil.rmtree(copy / "export")
    (tmp_path / "elsewhere").mkdir()
    (copy / "export").symlink_to(tmp_path / "elsewhere")
    assert "is a link: it would lead out of" in command("export", copy)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_checkpoints_of_a_run_that_lead_elsewhere(tmp_path: Path, command: Command) -> None:
    begin_run(settings("hardcore-small", "params=60e3"), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    assert "is a link: it would lead out of" in command("resume", tmp_path / "run")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_is_no_file_in_the_place_of_files(copy: Path, tmp_path: Path, command: Command) -> None:
    """Sizes that are only claimed, pipes that nobody writes to, folders: nothing is waited for, and the place is named."""
    for name, most in (("network.safetensors", "8,192"), ("curves.jsonl", "8,192")):
        kept = (copy / name).read_bytes()
        with (copy / name).open("wb") as file:
            file.truncate(2**40)  # takes no room on the disk
        assert f"{name}: 1,048,576 MiB, and at most {most} MiB are read" in command("report", copy)
        (copy / name).write_bytes(kept)
    (copy / "report.html").mkdir()
    assert f"{copy / 'report.html'}: Is a directory" in command("report", copy)
    begin_run(settings("hardcore-small", "params=60e3"), tmp_path / "begun")
    begun = tmp_path / "begun"
    for name in ("log.txt", "checkpoints", "curves.jsonl"):
        if name == "checkpoints":
            (begun / name).write_text("x")
        else:
            os.mkfifo(begun / name)
        said = command("resume", begun)
        assert f"{name}: {'File exists' if name == 'checkpoints' else 'No such device'}" in said
        (begun / name).unlink()


def test_names_are_printed_as_they_are(tmp_path: Path, command: Command) -> None:
    network = NetworkRecord(name="[/b]", choices={"[conv]": "[/red]", ":x:": "1"}, costs={"latency": 3.9, "parameters": 61_234.0})
    record = made_search(references=(network,), data="[bold]digits[/bold]", remarks=("[/] was :fire:",))
    folder = tmp_path / "blocks[conv]"
    save_run(record, folder)
    said = command("report", folder)
    for name in ("[/b]", "[bold]digits[/bold]", "blocks[conv]"):
        assert name in said
    said = command("compare", folder)
    assert "blocks[conv]" in " ".join(said.split())
    (tmp_path / "table.csv").write_text("group,option,score,ms\nblocks[conv],[/b],1,1\nblocks[conv],[link=x]y,2,2\n")
    said = command("project", tmp_path / "table.csv", "--budget", "ms=1")
    assert "blocks[conv]" in said and "[/b]" in said


def test_control_characters_are_refused_in_records_and_escaped_elsewhere(tmp_path: Path, command: Command) -> None:
    path = save_run(made_search(machine="ESC"), tmp_path / "run")
    path.write_text(path.read_text().replace("ESC", "\\u001b[2J"))
    assert r"a control character in '\x1b[2J'" in command("report", tmp_path / "run")
    save_run(made_search(), tmp_path / "\x1b[31mred")
    assert r"\x1b[31mred" in command("compare", tmp_path / "\x1b[31mred")
    command("report", tmp_path / "\x1b[31mnothing")


class Met(HTMLParser):
    """What a browser meets in a page: tags, names of attributes, sources, text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.names = set[str](), set[str]()
        self.sources, self.text = list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    bad = "$\\frac{1$ $x$ ![x](http://tracker/x.png) <img src=http://tracker/y> [go](javascript:alert(1)) `a` **b**"
    network = NetworkRecord(name=bad, choices={bad: bad}, costs={"latency": 3.9, "parameters": 61_234.0})
    record = made_search(found=network, remarks=(bad,), machine=bad, data=bad, settings={bad: bad}, method=bad, certificate=None)
    write_report(record, tmp_path, bad)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == page.count('<img src="data:image/png;base64,') == 1
    met = Met()
    met.feed(page)
    shapes = {"svg", "title", "polyline", "polygon", "circle", "rect", "line", "text"}
    plain = {"html", "head", "meta", "style", "body", "section", "div", "span", "p", "h1", "h2", "b", "i", "pre", "ul", "li", "img"}
    assert met.tags <= shapes | plain | {"table", "tr", "td", "th", "figure", "details", "summary"}
    assert not {name for name in met.names if name.startswith("on") or "href" in name or name in ("srcdoc", "action")}
    assert all(value.startswith("data:image/png;base64,") for value in met.sources) and len(met.sources) == 1
    assert "url(" not in page and "@import" not in page
    assert f"Data: {bad}" in " ".join(met.text)  # it stands there as it is
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page


def test_no_cell_is_a_formula(tmp_path: Path, command: Command) -> None:
    names = ["=1+1", "+1", "-1", "@x", "plain"]
    for name in names:
        save_run(made_search(method=name), tmp_path / name)
    command("compare", *(tmp_path / name for name in names[::-1]), "--out", tmp_path / "out")
    with (tmp_path / "out" / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [row["method"] for row in rows] == ["plain", "'@x", "'-1", "'+1", "'=1+1"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resolution": 20000}, "resolution: Input should be less than or equal to 2048"),
        ({"draws": 10**7}, "draws: Input should be less than or equal to 100000"),
        ({"resolution": 2048, "draws": 1000}, "GiB, and at most 8 may be drawn"),
        ({"batch_size": 10**30}, "batch_size: "),
        ({"seed": 2**80}, "seed: "),
        ({"workers": 10**6}, "workers: "),
        ({"budget": ["params=" + "9" * 10_000]}, "expected a positive limit"),
        ({"space": "x" * 10_000}, "no space 'xxx"),
        ({"x" * 10_000: 1}, "Extra inputs are not permitted"),
    ],
)
def test_absurd_settings_are_refused_before_they_cost_anything(
    tmp_path: Path, command: Command, changes: dict[str, object], said: str
) -> None:
    begin_run(settings("hardcore-small", "params=60e3"), tmp_path / "run")
    path = tmp_path / "run" / "settings.json"
    save_json(read_json(path, "settings") | changes, path)
    assert said in command("resume", tmp_path / "run")


def test_files_that_explode(tmp_path: Path, command: Command) -> None:
    pytest.importorskip("yaml", reason="the extra yaml is not installed")
    bomb = "a: &a [0,0,0,0,0,0,0,0,0]\n" + "".join(
        f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (tmp_path / "bomb.yaml").write_text(bomb)
    asked = ("hardcore-small", "--unit", "ms", "--device", "x", "--batch", "1")
    assert "aliases are not read (*a)" in command("import-table", tmp_path / "bomb.yaml", *asked)
    (tmp_path / "deep.yaml").write_text("[" * 100_000)
    assert "nested too deeply" in command("import-table", tmp_path / "deep.yaml", *asked)
    (tmp_path / "wide.csv").write_text("option,latency,block\n" + "x" * 200_000 + ",1,b\n")
    assert "field larger than field limit" in command("import-table", tmp_path / "wide.csv", *asked)
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(2**33)
    assert "more than 16 MiB" in command("import-table", tmp_path / "large.csv", *asked)
    with pytest.raises(ValueError, match="at most r1000"):
        BlockString.read("ir_r30000000_k3_s1_e3_c24")
    assert "at most 10,000 values" in command("sweep", "hardcore-small", "--out", tmp_path, "--budget", "params=1:2:1000000000")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


TYPED = [part for name, value in TINY.items() if value is not False for part in (f"--{name}".replace("_", "-"), str(value))]
SWEPT = TYPED[: TYPED.index("--samples")]  # what sweeps take of it


@pytest.mark.parametrize("size", [0, 600, 20_000])
def test_a_full_disk(copy: Path, tmp_path: Path, command: Command, size: int) -> None:
    out = tmp_path / "out"
    with room_for(size):
        search = command("search", "hardcore-small", "--budget", "params=60e3", "--no-test-references", "--out", out, *TYPED)
        said = [search, command("report", copy, "--out", out)]
        said += [command("export", copy, "--to", kind, "--out", out) for kind in ("python", "program")]
        said.append(command("sweep", "hardcore-small", "--budget", "params=60e3", "--out", tmp_path / "sweep", *SWEPT))
        if size == 0:
            said.append(command("compare", copy, "--out", out))
    assert all("File too large" in line or "cannot write weights" in line for line in said), said
    assert not [line for line in said if str(tmp_path) not in line]  # where there is no room
    assert not list(tmp_path.rglob("*partial*"))  # nothing half-written stays
    if (out / "settings.json").exists():  # and with room again the run goes on
        assert "written to" in command("resume", out)


def test_memory_that_is_exhausted_is_called_that(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_run(settings("hardcore-small", "params=60e3"), tmp_path / "run")

    def exhausted(*_: object, **__: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr("constrained_nas.runs.run.train_prepared", exhausted)
    assert "memory is exhausted" in command("resume", tmp_path / "run")
    assert "memory is exhausted" in console.told(MemoryError())
    try:
        np.empty(2**50)
    except MemoryError as error:
        assert "memory is exhausted (Unable to allocate" in console.told(error)


def test_a_process_that_was_killed_is_told_of_by_the_others() -> None:
    for error in (
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:48265."),
        torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error"),
    ):
        assert console.told(error) == "another process of this run was killed or has failed: resume goes on from what was kept"


def test_what_nobody_expected_is_a_line_too(command: Command, monkeypatch: pytest.MonkeyPatch, finished: Path) -> None:
    def broken(*_: object) -> None:
        raise KeyError("x" * 10_000)

    monkeypatch.setattr("constrained_nas.commands.report.report", broken)
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "report", str(finished)])
    with pytest.raises(SystemExit, match=r"unexpected KeyError in test_faults\.py, line \d+: .*please report it") as end:
        cli.main()
    assert len(str(end.value)) < 500
    monkeypatch.setenv("CONSTRAINED_NAS_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main()


def test_data_that_are_gone(tmp_path: Path, command: Command) -> None:
    from PIL import Image

    for part, label, number in ((p, c, n) for p in ("train", "val") for c in ("a", "b") for n in range(20)):
        folder = tmp_path / "images" / part / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 10 * number, dtype=np.uint8)).save(folder / f"{number}.png")
    asked = settings("hardcore-small", "params=60e3", data=str(tmp_path / "images"), batch_size=4)
    begin_run(asked, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", killer("search", 1))
    (tmp_path / "images" / "train").rename(tmp_path / "images" / "elsewhere")
    assert "images/train" in command("resume", tmp_path / "run")
    shutil.rmtree(tmp_path / "images")
    assert "--data: no folder" in command("resume", tmp_path / "run")
