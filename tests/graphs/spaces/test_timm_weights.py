"""Weights of timm's published networks in ours: the same answers; and what is refused, with the network left as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny import stir
from torch import Tensor, nn

from graphs import hardcore_network, load_timm_weights, network_from_strings
from graphs.spaces import HARDCORE_NETWORKS

STAGES = [["ds_r1_k3_s1_e1_c16_nre"], ["ir_r2_k3_s2_e3_c16_nre_se0.25"], ["cn_r1_k1_s1_c64"]]


def images(seed: int) -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def timms(name: str, seed: int) -> nn.Module:
    """timm's network with random weights and statistics."""
    timm: Any = pytest.importorskip("timm", reason="timm is an optional peer: install it to read its networks")
    torch.manual_seed(seed)
    network: nn.Module = timm.create_model(name, pretrained=False).eval()
    stir(network, seed)
    return network


@pytest.mark.parametrize("letter", HARDCORE_NETWORKS)
def test_published_networks_answer_as_timms(letter: str) -> None:
    name = f"hardcorenas_{letter.lower()}"
    theirs = timms(name, ord(letter))
    ours = hardcore_network(name, theirs.state_dict())
    assert not ours.training
    with torch.no_grad():
        expected, found = theirs(images(1)), ours(images(1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    statistics = "stage5_block1.project.norm.running_var"
    torch.testing.assert_close(ours.state_dict()[statistics], theirs.state_dict()["blocks.5.0.bn3.running_var"], rtol=0, atol=0)


def test_files_are_read(tmp_path: Path) -> None:
    theirs, path = timms("hardcorenas_a", 3), tmp_path / "weights.safetensors"
    save_file(
        {name: tensor for name, tensor in theirs.state_dict().items() if "num_batches" not in name}, path
    )  # old ones have none
    with torch.no_grad():
        expected, found = theirs(images(2)), hardcore_network("A", path)(images(2))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_weights_of_another_network_are_refused() -> None:
    state = hardcore_network("hardcorenas_b").state_dict()  # its names here, not timm's
    with pytest.raises(ValueError, match=r"missing conv_stem.weight, bn1.weight.* left over logits.conv.conv.weight"):
        hardcore_network("B", state)
    theirs = timms("hardcorenas_a", 0).state_dict()
    with pytest.raises(ValueError, match=r"the weights are not of this network: missing blocks.1.2.conv_pw.weight"):
        hardcore_network("B", theirs)
    with pytest.raises(ValueError, match=r"classifier.weight of \(1000, 1280\) \(expected \(10, 1280\)\)"):
        hardcore_network("A", theirs, classes=10)
    with pytest.raises(ValueError, match="no published network 'hardcorenas_g'; there are hardcorenas_a"):
        hardcore_network("hardcorenas_g")


def test_a_network_stays_as_it_was_where_weights_are_refused() -> None:
    network = network_from_strings(STAGES, 10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match="expected a state dict"):
        load_timm_weights(network, {})
    with pytest.raises(ValueError, match="expected a state dict"):
        load_timm_weights(network, {"conv_stem.weight": [1.0]})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="left over nothing"):
        load_timm_weights(network, {"nothing": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"conv_stem.weight of torch.int8 \(expected torch.float32\)"):
        load_timm_weights(network, {"conv_stem.weight": torch.zeros(32, 3, 3, 3, dtype=torch.int8)})
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_files_that_are_refused(tmp_path: Path) -> None:
    network = network_from_strings(STAGES, 10)
    torch.save(network.state_dict(), tmp_path / "pickled.pth")
    with pytest.raises(ValueError, match=r"pickled.pth: pickled weights are not read here; convert them"):
        load_timm_weights(network, tmp_path / "pickled.pth")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ValueError, match=r"text.safetensors: no safetensors file"):
        load_timm_weights(network, str(tmp_path / "text.safetensors"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_timm_weights(network, tmp_path / "nowhere.safetensors")
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError, match=r"other.safetensors is not of this network: missing bn1.weight.*conv_stem.weight of \(1\)"
    ):
        load_timm_weights(network, tmp_path / "other.safetensors")
