"""Tables of language models: the kinds of files people have, choices within bits a weight, and other programs' files."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from constrained_nas.commands.bits import Allocate, allocate
from constrained_nas.tables import layer_configuration, read_bit_table, tensor_types

LOSSES = {"blk.0.up": {"q2_K": 4.0, "q4_K": 1.0}, "blk.0.down": {"q2_K": 9.0, "q4_K": 2.0}}
LINES = [(name, kind, loss) for name, each in LOSSES.items() for kind, loss in each.items()]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


CSV = "tensor,type,loss,n_elements\n" + "".join(f"{name},{kind},{loss},1024\n" for name, kind, loss in LINES)
JSON = json.dumps({name: {"weights": 1024, "types": each} for name, each in LOSSES.items()})
LISTED = json.dumps([{"name": name, "quant": kind, "kld": loss, "numel": 1024} for name, kind, loss in LINES])
IN_BYTES = "tensor,type,loss,bytes\n" + "".join(
    f"{name},{kind},{loss},{1024 * (2.625 if kind == 'q2_K' else 4.5) / 8}\n" for name, kind, loss in LINES
)


JSON_LINES = "".join(json.dumps(each) + "\n" for each in json.loads(LISTED))
SPREADSHEET = "\ufeff" + CSV.replace(",", ";").replace(".0;", ",0;")


@pytest.mark.parametrize("text", [CSV, JSON, LISTED, JSON_LINES, IN_BYTES, "\ufeff" + CSV, SPREADSHEET, CSV.replace(",", "\t")])
def test_the_kinds_of_files_give_one_table(tmp_path: Path, text: str) -> None:
    read = read_bit_table(written(tmp_path, "table.txt", text))  # the name says nothing
    assert read.table.scores == LOSSES
    assert read.table.costs["bits"]["blk.0.down"] == {"q2_K": 1024 * 2.625, "q4_K": 1024 * 4.5}
    assert math.isnan(read.total_weights) if text is IN_BYTES else read.total_weights == 2048


def test_importances_need_types(tmp_path: Path) -> None:
    path = written(tmp_path, "imatrix.csv", "name,n_elements,importance\na,100,2.0\nb,50,1.0\n")
    with pytest.raises(ValueError, match="say which to choose from"):
        read_bit_table(path)
    read = read_bit_table(path, ["2", "4"])
    assert read.table.scores["a"] == {"2": 2.0 * 100 / 16, "4": 2.0 * 100 / 256}
    assert read.table.costs["bits"]["b"] == {"2": 100.0, "4": 200.0}


def test_measurements_of_exllamav2(tmp_path: Path) -> None:
    options = [{"accuracy": 0.9, "total_bits": 1000, "q_proj": {"bits": [3]}}, {"accuracy": 0.97, "total_bits": 2000}]
    text = json.dumps(
        {"measurement": {"model.layers.0.self_attn": options, "model.layers.0.mlp": options[:1]}, "last_module_idx": 1}
    )
    read = read_bit_table(written(tmp_path, "measurement.json", text))
    assert read.table.scores["model.layers.0.self_attn"] == {"0": pytest.approx(0.1), "1": pytest.approx(0.03)}
    assert read.table.costs["bits"]["model.layers.0.self_attn"] == {"0": 1000, "1": 2000}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty table"),
        ("{", "not complete JSON"),
        ("tensor,type,loss\na,q4_K,1\n", "line 2: expected the number of weights or the bytes"),
        ("tensor,type,loss,weights\na,q4_K,low,8\n", "line 2: loss: expected a number, got 'low'"),
        ("tensor,type,loss,weights\na,q4_K,nan,8\n", "line 2: loss: expected a number, got 'nan'"),
        ("tensor,type,loss,weights\na,magic,1,8\n", "line 2: type 'magic': expected a number of bits"),
        ("tensor,type,loss,weights\na,4,1,8\na,4,1,8\n", "line 3: tensor 'a' already has type '4'"),
        (
            "type,loss\n4,1\n",
            "expected JSON, or CSV with a column tensor or name or layer or group or module; its first line has type, ",
        ),
        ("a:\n  types: {4: 1}\n", "its first line has a:"),
        ("tensor,type,loss\n,4,1\n", "line 2: no tensor"),
        ('{"measurement": {"m": [{"accuracy": 1}]}}', "option 0: expected accuracy and total_bits"),
        ('[{"tensor": "a", "type": "q4_K", "loss": 1, "weights": 1' + "0" * 400 + "}]", "weights: expected a number"),
        ("tensor,type,loss,weights\na,4,1,1e308\n", "weights: expected a number from 0 to 1e+18"),
        ('tensor,type,loss,weights\n"a\nb=q2_K",4,1,9\n', "tensor 'a\\nb=q2_K': names have one line"),
        ('tensor,type,loss,weights,bytes\na,"\x1b[2J",1,9,9\n', "type '\\x1b[2J': names have one line"),
        ('[{"tensor": "\\ud800", "type": "4", "loss": 1, "weights": 9}]', "tensor '\\xd800': names have one line"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_bit_table(written(tmp_path, "table.csv", text))


def test_other_programs_files() -> None:
    lines = tensor_types({"blk.1.ffn_up.weight": "Q4_K", "output.weight": "q6_k"}).splitlines()
    names = ["blk.1.ffn_up.weight", "blk.11.ffn_up.weight", "output.weight", "blkx1.ffn_up.weight"]
    found = {name: [line.split("=")[1] for line in lines if re.search(line.split("=")[0], name)] for name in names}
    assert found == {names[0]: ["q4_k"], names[1]: [], names[2]: ["q6_k"], names[3]: []}
    with pytest.raises(ValueError, match=r"tensor 'a': llama\.cpp has no type '5'"):
        tensor_types({"a": "5"})
    assert layer_configuration({"a": "4", "b": "16"}) == {
        "a": {"bits": 4, "data_type": "int", "group_size": 128, "sym": True},
        "b": {"bits": 16, "data_type": "float"},
    }
    with pytest.raises(ValueError, match="AutoRound takes whole numbers"):
        layer_configuration({"a": "q4_K"})


def test_the_command_chooses_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = written(tmp_path, "losses.csv", CSV), tmp_path / "types.txt"
    allocate(Allocate(path, bits_per_weight=(3.6, 4.5), to="llama.cpp", out=out))
    assert out.read_text(encoding="utf-8") == "^blk\\.0\\.up$=q2_k\n^blk\\.0\\.down$=q4_k\n"  # the other way loses 10, not 6
    shown = capsys.readouterr().out
    assert "nothing that fits loses less than 6" in shown and "uniform q4_K (does not fit)" in shown
    allocate(Allocate(path, bits_per_weight=(3.6,), link=("(blk[.]0)[.](?:up|down)",), to="json", out=out))
    assert json.loads(out.read_text(encoding="utf-8")) == {"blk.0.up": "q2_K", "blk.0.down": "q2_K"}
    allocate(Allocate(path, bits_per_weight=(4.5,), pin=(".*up=q2_K",), to="json", out=out))
    assert json.loads(out.read_text(encoding="utf-8")) == {"blk.0.up": "q2_K", "blk.0.down": "q4_K"}
    with pytest.raises(ValueError, match="does not say how many weights"):
        allocate(Allocate(written(tmp_path, "bytes.csv", IN_BYTES), bits_per_weight=(4.0,)))
