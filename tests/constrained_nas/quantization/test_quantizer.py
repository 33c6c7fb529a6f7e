"""Scales of least squared error, packed bytes, and attention of linear layers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from constrained_nas.quantization import (
    ProjectedAttention,
    activation_grid,
    pack,
    packed_bytes,
    quantize_weight,
    unpack,
    with_projections,
)
from graphs.filters import fake_quantize_weights


def gaussian(rows: int = 16, columns: int = 2000) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def relative_error(weight: torch.Tensor, rounded: torch.Tensor) -> float:
    return float((rounded - weight).square().sum() / weight.square().sum())


@pytest.mark.parametrize(("bits", "least_squares", "paper"), [(2, 0.145, 0.77), (3, 0.0396, 0.11), (4, 0.0129, 0.0204)])
def test_errors_on_gaussian_weights(bits: int, least_squares: float, paper: float) -> None:
    weight = gaussian()
    assert relative_error(weight, quantize_weight(weight, bits).values) == pytest.approx(least_squares, rel=0.03)
    assert relative_error(weight, quantize_weight(weight, bits, "paper").values) == pytest.approx(paper, rel=0.05)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_no_scale_is_better(bits: int) -> None:
    """Against a fine grid of scales for each channel, of weights with outliers too."""
    weight = torch.cat([gaussian(4, 300), gaussian(4, 300) ** 3])
    found, most = quantize_weight(weight, bits), 2 ** (bits - 1) - 1
    errors = (found.values - weight).square().sum(1)
    for row, given in enumerate(weight):
        scales = given.abs().max() / most * torch.linspace(0.02, 1.1, 800)[:, None]
        tried = ((given / scales).round().clamp(-most, most) * scales - given).square().sum(1)
        assert float(errors[row]) <= (1.03 if bits < 8 else 1.15) * float(tried.min())


def test_the_papers_grid_is_the_librarys() -> None:
    weight = gaussian(5, 40)
    for bits in (2, 5):
        theirs = fake_quantize_weights(weight, torch.full((5,), bits))
        torch.testing.assert_close(quantize_weight(weight, bits, "paper").values, theirs, rtol=1e-6, atol=1e-7)


def test_codes_stay_in_range_and_zeros_stay_zero() -> None:
    weight = gaussian(3, 50)
    weight[1] = 0
    for bits in (2, 4, 16):
        found = quantize_weight(weight, bits)
        assert -(2 ** (bits - 1)) <= int(found.codes.min()) and int(found.codes.max()) <= 2 ** (bits - 1) - 1
        assert bits in (2, 16) or (int(found.codes.min()) > -(2 ** (bits - 1)) and bool((found.scales >= 0).all()))
        assert not found.values[1].any() and found.scales[1] == 0
    with pytest.raises(ValueError, match="expected 2 to 16 bits"):
        quantize_weight(weight, 1)
    with pytest.raises(ValueError, match="quantizer: expected one of"):
        quantize_weight(weight, 4, "best")  # type: ignore[arg-type]


def test_ranges_of_inputs_leave_outliers_out() -> None:
    sample = torch.cat([gaussian(1, 5000)[0].relu(), torch.tensor([60.0])])
    grid = activation_grid(sample, 4)
    assert grid.zero == 0 and grid.step * grid.levels < 45
    plain = torch.fake_quantize_per_tensor_affine(sample, 60.0 / 15, 0, 0, 15)
    assert (grid.rounded(sample) - sample).square().sum() < (plain - sample).square().sum()
    both = activation_grid(gaussian(1, 5000), 8)
    assert 0 < both.zero < both.levels and float(both.rounded(torch.zeros(1))) == 0


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 6, 8, 11])
def test_packed_codes_come_back(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (3, 7, 5))
    content = pack(codes, bits)
    assert len(content) == packed_bytes(codes.size, bits) == -(-105 // 8) * bits
    assert (unpack(content, bits, (3, 7, 5)) == codes).all()
    with pytest.raises(ValueError, match="codes of"):
        pack(codes + 2**bits, bits)
    with pytest.raises(ValueError, match=r"expected .* bytes"):
        unpack(content, bits, (4, 7, 5))


def test_attention_of_layers_is_the_same() -> None:
    torch.manual_seed(0)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    for first in (False, True):
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=first), 2, enable_nested_tensor=False
        ).eval()
        exchanged = with_projections(copy.deepcopy(encoder))
        assert sum(isinstance(module, ProjectedAttention) for module in exchanged.modules()) == 2
        tokens = torch.randn(3, 5, 8) if first else torch.randn(5, 3, 8)
        mask = nn.Transformer.generate_square_subsequent_mask(5)
        for options in ({}, {"src_key_padding_mask": padding}, {"mask": mask}):
            torch.testing.assert_close(exchanged(tokens, **options), encoder(tokens, **options), rtol=1e-5, atol=1e-6)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    across = with_projections(copy.deepcopy(attention))
    query, key = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
    torch.testing.assert_close(across(query, key, key)[0], attention(query, key, key)[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="0: attention with keys or values of other sizes"):
        with_projections(nn.Sequential(nn.MultiheadAttention(8, 2, kdim=4)))
