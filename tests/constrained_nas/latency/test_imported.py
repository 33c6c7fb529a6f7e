"""Tables from elsewhere: YAML and CSV come out as the table they were written from, or say what is wrong."""

from __future__ import annotations

import csv
import json
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fakes import true_table
from support.tiny import tiny_space
from torch import nn

from constrained_nas.latency import ImportConditions, import_csv_table, import_ofa_table, import_table
from graphs import Choice, MBConvSpace, choice_space, hardcore_imagenet, ofa_mbv3
from graphs.costs import LatencyTable, choice_latency, latency_cost, load_energy_table, load_latency_table
from graphs.files import save_json

CONDITIONS = ImportConditions("us", "Pixel 6", 1, runtime="TFLite", threads=2)
SPACE = tiny_space()


def medians(table: LatencyTable) -> dict[tuple[str, str], float]:
    return {(entry.block, entry.configuration): entry.median for entry in table.entries}


def check(table: LatencyTable, truth: LatencyTable, fixed: float) -> None:
    assert (table.unit, table.device, table.batch, table.runtime, table.threads) == ("ms", "Pixel 6", 1, "TFLite", 2)
    assert (table.context, table.resolution) == ("imported", SPACE.settings.resolution)
    assert medians(table) == pytest.approx(medians(truth), rel=1e-12)
    assert table.fixed == pytest.approx(fixed, rel=1e-12)
    latency_cost(table, SPACE)
    assert LatencyTable.model_validate_json(table.model_dump_json()) == table


# ---- YAML


def ofa_entries(space: MBConvSpace, truth: LatencyTable, ratios: bool) -> dict[str, Any]:
    """The layout by hand for the tiny space: 16 pixels, stem of 8 and separable block of 4 channels, stages of 8 channels."""
    entries: dict[str, Any] = {
        "Conv-input:16x16x1-output:8x8x8": {"mean": 10.0, "std": 0.1},
        f"expanded_conv-input:8x8x8-output:8x8x4-expand:{1 if ratios else 8}-kernel:3-stride:1-idskip:0-se:0-hs:0": {"mean": 20},
        "Conv_1-input:4x4x8-output:4x4x16": {"mean": 30.0},
        "AvgPool2D-input:4x4x16-output:1x1x16": 1.0,
        "Conv_2-input:1x1x16-output:1x1x16": {"mean": 2.0},
        "Logits-input:1x1x16-output:3": {"mean": 3.0},
    }
    shapes = {
        "stage1.block1": (8, 4, 4, 2, 0, 0),
        "stage1.block2": (4, 8, 4, 1, 1, 0),
        "stage2.block1": (4, 8, 4, 1, 1, 1),
        "stage2.block2": (4, 8, 4, 1, 1, 1),
    }
    for (block, option), value in medians(truth).items():
        side, inputs, end, stride, skip, hard_swish = shapes[block]
        expansion, kernel = int(option[1]), int(option[4])
        key = (
            f"expanded_conv-input:{side}x{side}x{inputs}-output:{end}x{end}x8-expand:{expansion if ratios else expansion * inputs}"
            f"-kernel:{kernel}-stride:{stride}-idskip:{skip}-se:{int(option.endswith('_se'))}-hs:{hard_swish}"
        )
        entries[key] = {"mean": value * 1000}
    return entries


@pytest.mark.parametrize("ratios", [False, True])
def test_once_for_all_tables(tmp_path: Path, ratios: bool) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    truth = true_table(SPACE)
    path = tmp_path / "lut.yaml"
    entries = ofa_entries(SPACE, truth, ratios)
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    table = import_ofa_table(path, SPACE, CONDITIONS)
    check(table, truth, 0.066)
    assert table.source == "lut.yaml, once-for-all YAML in us"
    # The rest of the network by hand, in the file's unit; and the head as ProxylessNAS has it, in one layer.
    assert import_ofa_table(path, SPACE, CONDITIONS, fixed=500).fixed == pytest.approx(0.5)
    for name in [name for name in entries if name.startswith(("AvgPool2D", "Conv_2", "Logits"))]:
        del entries[name]
    entries["Logits-input:4x4x16-output:3"] = {"mean": 9.0}
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    assert import_ofa_table(path, SPACE, CONDITIONS).fixed == pytest.approx(0.069)
    del entries["Conv-input:16x16x1-output:8x8x8"], entries[next(iter(entries))]
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    with pytest.raises(ValueError, match=r"has no entry for 2 layers of tiny, the first of them Conv-input:16x16x1-output:8x8x8"):
        import_ofa_table(path, SPACE, CONDITIONS)


def test_proxyless_tables_know_no_squeeze_excitation(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    plain = tiny_space(squeeze_excite=(False,))
    entries = {key.partition("-se:")[0]: value for key, value in ofa_entries(plain, true_table(plain), True).items()}
    path = tmp_path / "mobile.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    assert len(import_ofa_table(path, plain, CONDITIONS).entries) == 16
    with pytest.raises(ValueError, match=r"has no entry for .* layers of tiny, the first of them expanded_conv-.*-se:1-hs:0"):
        import_ofa_table(path, SPACE, CONDITIONS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "expected a mapping of layers to latencies"),
        ("a: {b", "not YAML"),
        ("layer: {std: 1}", "layer: expected a number or 'mean: number'"),
        ("layer: {mean: fast}", "layer: expected a number, got 'fast'"),
        ("layer: -1", "layer: expected a number of at least 0"),
        ("layer: !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_yaml_that_is_no_table(tmp_path: Path, text: str, said: str) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    path = tmp_path / "lut.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        import_ofa_table(path, SPACE, CONDITIONS)


def test_the_example_of_the_documentation() -> None:
    """The keys that the module's docstring shows are those of the ImageNet space."""
    from constrained_nas.latency import imported as table_import
    from constrained_nas.latency.imported import _block_keys, _fixed_keys

    space = hardcore_imagenet()
    keys = {key for names in _fixed_keys(space, {}) for key in names}
    for shape in space.block_shapes:
        for configuration in space.configurations:
            keys.update(_block_keys(shape, configuration.expansion, configuration.kernel, configuration.squeeze_excite))
    shown = [line.strip() for line in (table_import.__doc__ or "").splitlines() if "-input:" in line and line.startswith("    ")]
    assert len(shown) == 6
    # In the release the stage of 40 channels has ReLU: the same layer with hs:0.
    assert [key for key in shown if key.replace("hs:1", "hs:0") not in keys] == []


# ---- CSV


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def csv_rows(truth: LatencyTable) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"block": block, "option": option, "latency": value * 1000, "spread": 5, "samples": 7}
        for (block, option), value in medians(truth).items()
    ]
    return [*rows, {"block": "fixed", "latency": 100.0}, {"block": "fixed", "latency": 25.0}]


def test_csv_by_block(tmp_path: Path) -> None:
    truth = true_table(SPACE)
    path = tmp_path / "phone.csv"
    write_csv(path, csv_rows(truth))
    table = import_csv_table(path, SPACE, CONDITIONS)
    check(table, truth, 0.125)
    assert {(entry.spread, entry.samples) for entry in table.entries} == {(0.005, 7)}
    assert table.source == "phone.csv, CSV in us"


def test_csv_by_shape(tmp_path: Path) -> None:
    """One row serves every block that sees the shape."""
    truth = true_table(SPACE)
    rows: list[dict[str, Any]] = [{"shape": "", "block": "fixed", "option": "", "latency": 0}]
    for shape, block in (("4x8x8-8x4x4", "stage1.block1"), ("8x4x4-8x4x4", "stage1.block2")):
        rows += [{"shape": shape, "option": o, "latency": 1000 * v} for (b, o), v in medians(truth).items() if b == block]
    path = tmp_path / "phone.csv"
    write_csv(path, rows)
    found = medians(import_csv_table(path, SPACE, CONDITIONS))
    for (block, option), value in found.items():
        of = "stage1.block1" if block == "stage1.block1" else "stage1.block2"
        assert value == pytest.approx(medians(truth)[of, option], rel=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({0: {"latency": "fast"}}, "line 2: latency: expected a number, got 'fast'"),
        ({0: {"latency": -1}}, "line 2: latency: expected a number of at least 0"),
        ({1: {"option": "e9_k9"}}, r"line 3: block 'stage1\.block1' with option 'e9_k9' is not in tiny"),
        ({1: {"block": "stage9.block1"}}, r"line 3: block 'stage9\.block1' with option .* is not in tiny"),
        ({1: {"option": "e2_k3"}}, r"line 3: a second row for block 'stage1\.block1' with option 'e2_k3'"),
        ({0: None}, r"no row for 1 blocks with option, the first of them stage1\.block1 e2_k3$"),
        ({32: None, 33: None}, "no row of the block 'fixed'"),
    ],
)
def test_csv_that_is_no_table(tmp_path: Path, change: dict[int, dict[str, Any] | None], said: str) -> None:
    rows = csv_rows(true_table(SPACE))
    for place, values in change.items():
        rows[place] = {} if values is None else rows[place] | values
    path = tmp_path / "phone.csv"
    write_csv(path, [row for row in rows if row])
    with pytest.raises(ValueError, match=said):
        import_csv_table(path, SPACE, CONDITIONS)


def test_csv_without_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "phone.csv"
    path.write_text("layer,ms\na,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected columns option, latency, and block or shape; got layer, ms"):
        import_csv_table(path, SPACE, CONDITIONS)


def test_conditions_must_be_named() -> None:
    with pytest.raises(ValueError, match="unit: expected one of s, ms, us, ns, J, mJ, uJ, got 'minutes'"):
        ImportConditions("minutes", "Pixel 6", 1)
    with pytest.raises(ValueError, match="device: name what"):
        ImportConditions("ms", " ", 1)
    with pytest.raises(ValueError, match="got batch 0 and 1 threads"):
        ImportConditions("ms", "Pixel 6", 0)


# ---- other keys, other files


def test_content_decides_and_json_and_lines_hold_the_same_keys(tmp_path: Path) -> None:
    plain = tiny_space(squeeze_excite=(False,))
    truth = true_table(plain)
    entries = ofa_entries(plain, truth, True)
    means = {key: value["mean"] if isinstance(value, dict) else value for key, value in entries.items()}
    texts = {
        "lut.json": json.dumps(entries),
        "lut.csv": "".join(f"{key},{value}\n" for key, value in means.items()),  # ProxylessNAS's, without a header
        "lut.dat": "".join(f"{key}: {value}\n" for key, value in means.items()),
    }
    found = []
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        found.append(import_table(tmp_path / name, plain, CONDITIONS))
        assert medians(found[-1]) == pytest.approx(medians(truth), rel=1e-12)
    assert len({table.fixed for table in found}) == 1
    write_csv(tmp_path / "named.txt", csv_rows(true_table(SPACE)))
    check(import_table(tmp_path / "named.txt", SPACE, CONDITIONS), true_table(SPACE), 0.125)
    with pytest.raises(ValueError, match="--fixed is for tables by key"):
        import_table(tmp_path / "named.txt", SPACE, CONDITIONS, 1.0)


@pytest.mark.parametrize("kind", [(";", ","), ("\t", "."), (",", ".")])
def test_csv_of_spreadsheets(kind: tuple[str, str], tmp_path: Path) -> None:
    separator, point = kind
    lines = [["latency", "option", "block"], ["125,0".replace(",", point), "", "fixed"]]
    for (block, option), value in medians(true_table(SPACE)).items():
        lines.append([f"{1000 * value}".replace(".", point), option, block])
    text = "\ufeff# of a spreadsheet\r\n\r\n" + "\r\n".join(separator.join(f'"{cell}"' for cell in line) for line in lines)
    path = tmp_path / "table.pkl"
    path.write_text(text, encoding="utf-8", newline="")
    check(import_table(path, SPACE, CONDITIONS), true_table(SPACE), 0.125)
    path.write_text(text.replace('"fixed"', '"wrong"'), encoding="utf-8", newline="")
    with pytest.raises(ValueError, match=r"line 4: block 'wrong'"):
        import_table(path, SPACE, CONDITIONS)


def test_keys_of_this_library(tmp_path: Path) -> None:
    truth = true_table(SPACE)
    lines = [f"{block} {option}: {1000 * value}" for (block, option), value in medians(truth).items()]
    (tmp_path / "lut.txt").write_text("\n".join([*lines, "fixed: 125"]), encoding="utf-8")
    check(import_table(tmp_path / "lut.txt", SPACE, CONDITIONS), truth, 0.125)


def test_rows_of_fbnet_are_blocks_or_choices_in_their_order(tmp_path: Path) -> None:
    plain = tiny_space(squeeze_excite=(False,))
    truth = medians(true_table(plain))
    names = sorted({option for _, option in truth}, reverse=True)
    written = [f"ir_k{name[4]}_e{name[1]}" for name in names]
    rows = [" ".join(str(1000 * truth[block, name]) for name in names) + " 1.6" for block in plain.block_names]
    path = tmp_path / "lookup_table.csv"  # what is in it decides
    path.write_text("\n".join([" ".join(written) + " skip", *rows]), encoding="utf-8")
    table = import_table(path, plain, CONDITIONS, fixed=125.0)
    assert medians(table) == pytest.approx(truth, rel=1e-12) and table.fixed == 0.125
    assert table.source == "lookup_table.csv, FBNet's rows in us"
    with pytest.raises(ValueError, match=r"no entry for 1 layers .* fixed; .*--fixed NUMBER says"):
        import_table(path, plain, CONDITIONS)
    path.write_text("\n".join([" ".join(written) + " skip", *rows[:3]]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"3 rows under a line of operators; .* has 4 places"):
        import_table(path, plain, CONDITIONS, fixed=0.0)

    blocks = [Choice(name, {"wide": nn.Conv2d(3, 3, 3, padding=1), "skip": nn.Identity()}) for name in ("b", "a")]
    own = choice_space(nn.Sequential(*blocks), torch.zeros(1, 3, 8, 8), "own")
    path.write_text("skip wide\n1 2\n3 4\n", encoding="utf-8")
    found = medians(import_table(path, own, ImportConditions("ms", "board", 1), fixed=0.0))
    assert found == {("b", "skip"): 1, ("b", "wide"): 2, ("a", "skip"): 3, ("a", "wide"): 4}


def test_records_of_nni_are_found_by_shape(tmp_path: Path) -> None:
    plain = tiny_space(squeeze_excite=(False,))
    shapes = [(shape.side, shape.side, shape.inputs, shape.outputs, shape.stride) for shape in plain.block_shapes]
    options = {option for _, option in medians(true_table(plain))}
    lines = []
    for where in dict.fromkeys(shapes):
        for option in options:
            record = {"op_name": f"mb_k{option[4]}_e{option[1]}", "op_data_shape": where, "op_dtype": "float"}
            lines.append(str(record | {"op_latency": 100.0 * shapes.index(where) + 10 * int(option[4]) + int(option[1])}))
    path = tmp_path / "lut.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    table = medians(import_table(path, plain, CONDITIONS, fixed=125.0))
    for block, where in zip(plain.block_names, shapes, strict=True):
        for option in options:
            expected = 100 * shapes.index(where) + 10 * int(option[4]) + int(option[1])
            assert table[block, option] == pytest.approx(expected / 1000)
    own = choice_space(nn.Sequential(Choice("a", {"x": nn.Identity(), "y": nn.Conv2d(3, 3, 1)})), torch.zeros(1, 3, 8, 8), "own")
    with pytest.raises(ValueError, match="records by shape; a network of your own takes lines CHOICE OPTION"):
        import_table(path, own, CONDITIONS, fixed=0.0)
    path.write_text(lines[0] + "\n" + lines[0], encoding="utf-8")
    with pytest.raises(ValueError, match=r"record 2: mb_k\d_e\d .* is there twice"):
        import_table(path, plain, CONDITIONS, fixed=0.0)
    path.write_text(lines[0] + "\n{'op_name': open('x')}", encoding="utf-8")
    with pytest.raises(ValueError, match="record 2: expected op_name, op_data_shape"):
        import_table(path, plain, CONDITIONS, fixed=0.0)


def test_lists_of_densenas_have_no_space_here(tmp_path: Path) -> None:
    path = tmp_path / "lat_list"
    path.write_text("[2.13, [[[[2.04, 3.91]], [[1.61, 3.03, 0.004]]]], [0.3, 0.28], 0.4]", encoding="utf-8")
    with pytest.raises(ValueError, match="as DenseNAS writes for its own super-network: no space here has such places"):
        import_table(path, SPACE, CONDITIONS)


def test_keys_of_another_space_are_shown_beside_the_expected_ones(tmp_path: Path) -> None:
    path = tmp_path / "lut.txt"
    path.write_text("conv3x3_16: 0.5\nconv5x5_16: 0.7\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"no entry for \d+ layers .* expanded_conv-.*; its 2 entries begin with conv3x3_16, conv5"
    ):
        import_table(path, SPACE, CONDITIONS)


def test_pickled_tables_of_hardcore(tmp_path: Path) -> None:
    """The layout by hand: what its release writes, keyed by shape, option and whether the block has ReLU."""
    space = hardcore_imagenet()
    entries: dict[str, float] = {"general": 5.0}
    shapes = [
        (16, 24, 2, 112, 1),
        (24, 24, 1, 56, 1),
        (24, 40, 2, 56, 1),
        (40, 40, 1, 28, 1),
        (40, 80, 2, 28, 0),
        (80, 80, 1, 14, 0),
    ]
    shapes += [(80, 112, 1, 14, 0), (112, 112, 1, 14, 0), (112, 192, 2, 14, 0), (192, 192, 1, 7, 0)]
    for number, (inputs, outputs, stride, side, relu) in enumerate(shapes):
        for expansion, kernel, share in product((3, 4, 6), (3, 5), (0, 0.25)):
            key = f"in_channels_{inputs}_out_channels_{outputs}_stride_{stride}_resolution_{side}_er_{expansion}_k_{kernel}"
            entries[f"{key}_se_{share}_act_{relu}"] = 100.0 * number + 10 * expansion + kernel + share
    (tmp_path / "lut.pkl").write_bytes(pickle.dumps(entries))
    table = import_table(tmp_path / "lut.pkl", space, CONDITIONS)
    assert table.fixed == pytest.approx(0.005) and len(table.entries) == 20 * 12
    assert medians(table)["stage3.block2", "e4_k5_se"] == pytest.approx(0.54525)
    assert medians(table)["stage1.block1", "e3_k3"] == pytest.approx(0.033)
    latency_cost(table, space)


def test_the_space_of_once_for_all(tmp_path: Path) -> None:
    """Keys as its published tables have them: squeeze-and-excitation by stage, kernels of 7, the shortcut of the first block."""
    space = ofa_mbv3()
    entries: dict[str, Any] = {
        "Conv-input:224x224x3-output:112x112x16": {"mean": 1.0},
        "expanded_conv-input:112x112x16-output:112x112x16-expand:16-kernel:3-stride:1-idskip:1-se:0-hs:0": {"mean": 2.0},
        "Conv_1-input:7x7x160-output:7x7x960": {"mean": 4.0},
        "AvgPool2D-input:7x7x960-output:1x1x960": {"mean": 8.0},
        "Conv_2-input:1x1x960-output:1x1x1280": {"mean": 16.0},
        "Logits-input:1x1x1280-output:1000": {"mean": 32.0},
    }
    stages = [(16, 24, 112, 2, 0, 0), (24, 40, 56, 2, 1, 0), (40, 80, 28, 2, 0, 1), (80, 112, 14, 1, 1, 1), (112, 160, 14, 2, 1, 1)]
    for before, channels, side, stride, se, hs in stages:
        for inputs, at, step, skip in ((before, side, stride, 0), (channels, side // stride, 1, 1)):
            for expansion, kernel in product((3, 4, 6), (3, 5, 7)):
                shape = f"input:{at}x{at}x{inputs}-output:{at // step}x{at // step}x{channels}-expand:{expansion * inputs}"
                entries[f"expanded_conv-{shape}-kernel:{kernel}-stride:{step}-idskip:{skip}-se:{se}-hs:{hs}"] = {
                    "mean": kernel + 0.1 * channels
                }
    assert len(entries) == 96  # 90 of the blocks
    (tmp_path / "lut.json").write_text(json.dumps(entries), encoding="utf-8")
    table = import_table(tmp_path / "lut.json", space, CONDITIONS)
    assert table.fixed == pytest.approx(0.063) and len(table.entries) == 20 * 9
    assert medians(table)["stage5.block3", "e6_k7"] == pytest.approx(0.023)
    latency_cost(table, space)


def test_energies_of_a_network_of_ones_own(tmp_path: Path) -> None:
    block = Choice("block", {"conv": nn.Conv2d(3, 3, 1), "skip": nn.Identity()})
    space = choice_space(nn.Sequential(block), torch.zeros(1, 3, 8, 8), "own")
    (tmp_path / "lines.txt").write_text("block conv: 0.002\nblock.skip: 0\nfixed: 0.001\n", encoding="utf-8")
    (tmp_path / "table.csv").write_text("block,option,latency\nblock,conv,2000\nblock,skip,0\nfixed,,1000\n", encoding="utf-8")
    for name, unit in (("lines.txt", "J"), ("table.csv", "uJ")):
        table = import_table(tmp_path / name, space, ImportConditions(unit, "board", 1))
        assert (table.kind, table.unit, table.resolution, table.fixed) == ("energy table", "mJ", 8, 1.0)
        save_json(table, tmp_path / "energy.json")
        cost = choice_latency(load_energy_table(tmp_path / "energy.json"), space)
        assert (cost.name, cost.unit) == ("energy", "mJ")
        assert cost.cost(space.space.choose({"block": "conv"})) == 3.0
        with pytest.raises(ValueError, match="a table of energies, not of latencies"):
            load_latency_table(tmp_path / "energy.json")
    with pytest.raises(ValueError, match="block 'block' with option 'none' is not in own"):
        (tmp_path / "wrong.csv").write_text("block,option,latency\nblock,none,1\nfixed,,0\n", encoding="utf-8")
        import_table(tmp_path / "wrong.csv", space, ImportConditions("mJ", "board", 1))
