"""The quantizer is torch's own, group by group, to the last bit; its gradients are whole at ties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.filters import fake_quantize_weights
from graphs.filters.quantization import fake_quantize_activations, weight_range, weight_steps

GROUPS = ((2, 5), (3, 3), (4, 7), (8, 6))  # (bits, filters), contiguous as in Fig. A.1


def bits_of_groups() -> torch.Tensor:
    return torch.cat([torch.full((count,), bits) for bits, count in GROUPS])


@pytest.mark.parametrize("seed", range(20))
def test_weights_equal_torch_per_group(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bits = bits_of_groups()
    # Means off zero and tails beyond the clamp, so that both bounds and both ends of the grid are at work.
    weight = torch.randn((len(bits), 6, 3, 3), generator=generator) ** 3 + torch.randn((len(bits), 1, 1, 1), generator=generator)
    found = fake_quantize_weights(weight, bits)
    low, high = weight_range(weight)
    steps = weight_steps(*weight_range(weight), bits)
    first = 0
    for width, count in GROUPS:
        rows = slice(first, first + count)
        clamped = torch.minimum(torch.maximum(weight[rows], low[rows, None, None, None]), high[rows, None, None, None])
        levels = 2 ** (width - 1) - 1
        zeros = torch.zeros(count, dtype=torch.int32)
        expected = torch.fake_quantize_per_channel_affine(clamped, steps[rows], zeros, 0, -levels, levels)
        assert float((found[rows] - expected).abs().max()) == 0.0
        assert all(len(row.unique()) <= 2 * levels + 1 for row in found[rows])
        first += count


@pytest.mark.parametrize("seed", range(20))
def test_activations_equal_torch_per_group(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bits = bits_of_groups()
    features = 2 * torch.randn((4, len(bits), 5, 5), generator=generator)
    bounds = 0.5 + 2 * torch.rand(len(bits), generator=generator)
    features[0, :, 0, 0] = bounds  # ties
    found = fake_quantize_activations(features, bits, bounds)
    first = 0
    for width, count in GROUPS:
        part = slice(first, first + count)
        levels = 2**width - 1
        steps, zeros = bounds[part] / levels, torch.zeros(count, dtype=torch.int32)
        expected = torch.fake_quantize_per_channel_affine(features[:, part], steps, zeros, 1, 0, levels)
        assert float((found[:, part] - expected).abs().max()) == 0.0
        first += count


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@settings(deadline=None, max_examples=50)
def test_the_mixture_is_each_filter_alone(seed: int, filters: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    widths = torch.tensor([2, 3, 4, 8, 16, 32])
    bits = widths[torch.randint(len(widths), (filters,), generator=generator)]
    weight = torch.randn((filters, 2, 3), generator=generator)
    found = fake_quantize_weights(weight, bits)
    for row in range(filters):
        assert torch.equal(found[row : row + 1], fake_quantize_weights(weight[row : row + 1], bits[row : row + 1]))
        # A clamp at 3.45 sigma of six numbers cuts nothing off (the greatest of six is at most sqrt(5) sigma away).
        assert float((found[row] - weight[row]).abs().max()) <= 0.5001 * float(weight_steps(*weight_range(weight), bits)[row])
    assert torch.equal(found[bits == 32], weight[bits == 32])


def test_weight_gradient_is_whole_at_ties_and_none_beyond() -> None:
    # 30 weights at zero and two at +-1 give sigma = 1/4: the clamp is at 3.45 / 4, below 1.
    weight = torch.zeros(2, 32, dtype=torch.float64)
    weight[:, 0], weight[:, 1] = 1.0, -1.0
    high = weight_range(weight)[1]
    torch.testing.assert_close(high, torch.full((2,), 3.45 / 4, dtype=torch.float64))
    weight.requires_grad_()
    fake_quantize_weights(weight, torch.tensor([4, 32])).sum().backward()
    assert weight.grad is not None
    assert weight.grad[0].tolist() == [0.0, 0.0] + [1.0] * 30
    assert weight.grad[1].tolist() == [1.0] * 32, "floating-point filters are not clamped"
    # Exactly at the bounds: a constant filter has sigma 0, so every weight is a tie of both.
    constant = torch.full((1, 5), 0.3, requires_grad=True)
    fake_quantize_weights(constant, torch.tensor([4])).sum().backward()
    assert constant.grad is not None
    assert constant.grad.tolist() == [[1.0] * 5]


def test_activation_gradients_at_ties() -> None:
    features = torch.tensor([[-1.0, 0.0, 0.5, 2.0, 3.0]]).t().reshape(5, 1, 1).requires_grad_()
    bounds = torch.tensor([2.0], requires_grad=True)
    fake_quantize_activations(features, torch.tensor([3]), bounds).sum().backward()
    assert features.grad is not None
    assert bounds.grad is not None
    assert features.grad.flatten().tolist() == [0.0, 1.0, 1.0, 1.0, 0.0], "torch.clamp would give 0.5 at 2"
    assert bounds.grad.tolist() == [1.0], "only what lies above the bound moves it"


def test_a_bound_below_zero_can_come_back() -> None:
    bounds = torch.tensor([-0.5], requires_grad=True)
    fake_quantize_activations(torch.ones(1, 1, 1), torch.tensor([4]), bounds).sum().backward()
    assert bounds.grad is not None
    assert bounds.grad.tolist() == [1.0]


def test_noise_hits_its_share_within_half_a_step() -> None:
    weight = torch.randn((50, 400), generator=torch.Generator().manual_seed(0))
    bits = torch.full((50,), 4)
    rounded = fake_quantize_weights(weight, bits)
    noisy = fake_quantize_weights(weight, bits, noise_share=0.05, generator=torch.Generator().manual_seed(1))
    again = fake_quantize_weights(weight, bits, noise_share=0.05, generator=torch.Generator().manual_seed(1))
    assert torch.equal(noisy, again)
    hit = noisy != rounded
    # Of 20000 weights 5 % are 1000 with a standard deviation of 31.
    assert 850 <= int(hit.sum()) <= 1150
    low, high = weight_range(weight)
    clamped = torch.minimum(torch.maximum(weight, low[:, None]), high[:, None])
    distance = ((noisy - clamped) / weight_steps(*weight_range(weight), bits)[:, None])[hit]
    assert float(distance.abs().max()) <= 0.5001  # rounding of float32
    # A uniform variable on (-1/2, 1/2) has variance 1/12; of 1000 draws the estimate's standard deviation is 0.0024.
    assert float(distance.var()) == pytest.approx(1 / 12, abs=0.012)


def test_filters_of_zeros_and_single_weights() -> None:
    assert torch.equal(fake_quantize_weights(torch.zeros(2, 3), torch.tensor([2, 8])), torch.zeros(2, 3))
    assert torch.equal(fake_quantize_weights(torch.tensor([[0.7]]), torch.tensor([2])), torch.tensor([[0.7]]))


def test_messages() -> None:
    weight = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"weight bits: expected one a filter, shape \(3,\), got \(2,\)"):
        fake_quantize_weights(weight, torch.tensor([2, 2]))
    with pytest.raises(ValueError, match=r"weight bits: expected 2 to 16, or 32 for floats, got \[1, 2\]"):
        fake_quantize_weights(weight, torch.tensor([2, 2, 1]))
    with pytest.raises(ValueError, match=r"give a torch\.Generator"):
        fake_quantize_weights(weight, torch.tensor([2, 2, 2]), noise_share=0.05)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        fake_quantize_weights(weight, torch.tensor([2, 2, 2]), noise_share=1.5)
    with pytest.raises(ValueError, match=r"bounds: expected one a channel, shape \(3,\), got \(1,\)"):
        fake_quantize_activations(torch.ones(1, 3, 2), torch.tensor([2, 2, 2]), torch.ones(1))
