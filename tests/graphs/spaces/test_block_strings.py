"""timm block strings: the published networks read, built and counted; round trips; what cannot be written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny import images, random_architecture, stir, tiny_space
from torch import nn

from graphs import hardcore_imagenet, hardcore_small
from graphs.blocks import ConvNormActivation, InvertedResidual, PooledClassifier
from graphs.costs import Counts, count, mac_cost, parameter_cost
from graphs.spaces import HARDCORE_NETWORKS, architecture_strings
from graphs.spaces.block_strings import BlockString, network_from_strings, network_strings, read_architecture_strings, read_stages

COUNTS = {  # of the networks as timm builds them (test_the_same_network_as_timms recounts one where timm is there)
    "A": Counts(macs=224_227_936, parameters=5_260_232),
    "B": Counts(macs=251_832_064, parameters=5_176_544),
    "C": Counts(macs=270_058_400, parameters=5_521_224),
    "D": Counts(macs=287_787_616, parameters=7_500_208),
    "E": Counts(macs=338_689_760, parameters=8_070_992),
    "F": Counts(macs=341_905_696, parameters=8_199_688),
}


def as_lists(stages: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    return [list(stage) for stage in stages]


@pytest.mark.parametrize("name", HARDCORE_NETWORKS)
def test_published_networks_are_read_built_counted_and_written(name: str) -> None:
    with torch.device("meta"):
        network = network_from_strings(HARDCORE_NETWORKS[name])
        assert count(network, (3, 224, 224)) == COUNTS[name]
    assert network_strings(network) == as_lists(HARDCORE_NETWORKS[name])


def test_published_networks_are_architectures_of_the_release_space() -> None:
    space, papers = hardcore_imagenet(), hardcore_imagenet("paper")
    macs, parameters = mac_cost(space), parameter_cost(space)
    for name, stages in HARDCORE_NETWORKS.items():
        architecture = read_architecture_strings(space, stages)
        assert (macs.cost(architecture), parameters.cost(architecture)) == (COUNTS[name].macs, COUNTS[name].parameters)
        assert architecture_strings(space, architecture) == as_lists(stages)
        with pytest.raises(ValueError, match="activation"):
            read_architecture_strings(papers, stages)  # ReLU at 40 channels is the release's alone


def test_the_same_network_as_timms() -> None:
    name = "B"  # blocks with and without attention, and a ds block with a ReLU
    timm = pytest.importorskip("timm", reason="timm is an optional peer: install it to compare with its networks")
    theirs = timm.create_model(f"hardcorenas_{name.lower()}", pretrained=False).eval().double()
    ours = network_from_strings(HARDCORE_NETWORKS[name]).eval().double()
    stir(theirs, 0)
    assert count(theirs, (3, 64, 64)) == count(ours, (3, 64, 64))
    weights = [tensor.flatten() for key, tensor in theirs.state_dict().items() if "num_batches" not in key]
    mine = {key: tensor for key, tensor in ours.state_dict().items() if "num_batches" not in key}
    assert len(weights) == len(mine)
    loaded = {key: flat.reshape(tensor.shape) for (key, tensor), flat in zip(mine.items(), weights, strict=True)}
    ours.load_state_dict(ours.state_dict() | loaded)
    batch = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(batch)
        torch.testing.assert_close(ours(batch), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_architectures_round_trip() -> None:
    space, generator = hardcore_small(), np.random.default_rng(0)
    for _ in range(20):
        architecture = random_architecture(space.space, generator)
        strings = architecture_strings(space, architecture)
        again = read_architecture_strings(space, strings)
        assert architecture_strings(space, again) == strings
        running = [d.name for d in space.space.decisions if d.name.endswith("depth")]
        for stage, depth in enumerate(running, start=1):
            assert again.counts[depth] == architecture.counts[depth]
            for block in range(space.settings.depths[architecture.choice(depth)]):
                name = f"stage{stage}.block{block + 1}"
                assert again.counts[name] == architecture.counts[name]


def test_an_extracted_network_is_written_and_rebuilt_with_its_weights() -> None:
    space = hardcore_small()
    torch.manual_seed(0)
    supernet = space.supernet().eval().double()
    stir(supernet, 1)
    architecture = random_architecture(space.space, np.random.default_rng(3))
    extracted = supernet.extract(architecture)
    strings = network_strings(extracted)
    assert strings == architecture_strings(space, architecture)
    s = space.settings
    rebuilt = network_from_strings(
        strings, s.classes, s.image_channels, stem_channels=s.stem_channels, features=s.features, dropout=0.0
    )
    rebuilt[0].activation = nn.ReLU()  # the stem's activation is not in the strings
    rebuilt = rebuilt.eval().double()
    rebuilt.load_state_dict(extracted.state_dict())
    batch = images(2, space, 0)
    torch.testing.assert_close(rebuilt(batch), extracted(batch), rtol=0, atol=0)


def test_repeats_are_written_out() -> None:
    stages = [["ir_r3_k3_s2_e3_c24_nre"], ["cn_r1_k1_s1_c96"]]
    first, second, third = read_stages(stages)[0]
    assert (first.stride, second.stride, third.stride) == (2, 1, 1)
    assert str(second) == "ir_r1_k3_s1_e3_c24_nre"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("er_r1_k3_s1_e3_c24", "ds_, ir_ or cn_"),
        ("ir_r1_k3_s1_c24", "no e"),
        ("ir_r1_k3.5_s1_e3_c24", "whole numbers"),
        ("ir_r1_k4_s1_e3_c24", "k odd"),
        ("ir_r1_k3_s1_e3_c24_noskip", "'noskip'"),
        ("ir_r1_k3_s1_e3_c24_nmi", "'nmi'"),
        ("ir_r1_k3_k5_s1_e3_c24", "'k5'"),
        ("ds_r1_k3_s1_e1_c16_se0.25", "only ir blocks"),
    ],
)
def test_strings_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BlockString.read(text)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([["ir_r1_k3_s1_e3_c24"]], "got ir"),
        (["ir_r1_k3_s1_e3_c24", ["cn_r1_k1_s1_c960"]], "list of block strings"),
        ([["ir_r1_k3_s1_e3_c24"], ["ds_r1_k3_s1_e1_c16"], ["cn_r1_k1_s1_c960"]], "ir, ds, cn"),
        ([["ir_r1_k3_s1_e3_c24"], ["cn_r2_k1_s1_c960"]], "one cn_r1_k1_s1"),
    ],
)
def test_stages_that_are_no_network(stages: list[list[str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_stages(stages)


def test_strings_of_another_space() -> None:
    space = hardcore_imagenet()
    stages = as_lists(HARDCORE_NETWORKS["A"])
    with pytest.raises(ValueError, match="stage 1: 1 blocks"):
        read_architecture_strings(space, [stages[0], stages[1][:1], *stages[2:]])
    with pytest.raises(ValueError, match="5 stages, the strings 4"):
        read_architecture_strings(space, stages[:-2] + stages[-1:])
    with pytest.raises(ValueError, match=r"stage 1, block 1 .*not one of the configurations"):
        read_architecture_strings(space, [stages[0], ["ir_r1_k7_s2_e3_c24_nre", stages[1][1]], *stages[2:]])


def test_networks_that_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="chain of blocks"):
        network_strings(nn.Conv2d(1, 1, 1))
    stem, head = ConvNormActivation(3, 12, 3, 2), PooledClassifier(24, 96, 128, 10)
    with pytest.raises(ValueError, match="multiples of 8"):
        network_strings(nn.Sequential(stem, InvertedResidual(12, 36, 24, 3), head))
    with pytest.raises(ValueError, match="module '1'"):
        network_strings(nn.Sequential(stem, nn.Conv2d(12, 24, 1), head))
    narrow = tiny_space()
    with pytest.raises(ValueError, match="multiples of 8"):
        architecture_strings(narrow, random_architecture(narrow.space, np.random.default_rng(0)))


def test_lists_are_read_as_they_are_printed() -> None:
    space = hardcore_small()
    strings = architecture_strings(space, space.heaviest())
    for text in (str(strings), f"Final architecture:\n  arch_def = {strings}  # 3.1 ms\n", str(strings).replace("], [", "],\n [")):
        assert read_architecture_strings(space, text) == space.heaviest()
    for wrong in ("nothing", "[[__import__('os').getcwd()]]", "[[1, 2], [3]]", "[" * 5000 + "]" * 5000):
        with pytest.raises(ValueError, match="expected printed lists of block strings"):
            read_architecture_strings(space, wrong)
