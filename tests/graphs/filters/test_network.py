"""Networks of filters compute what the user's network did, filter by filter what their counts say, and refuse what does not fit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from support.tiny import stir
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from constrained_nas.training import recalibrate
from graphs.costs import BitOperations, SlimmableMacs, count
from graphs.filters import FLOAT, PAPER_OPERATIONS, FilterNetwork, Operation, SwitchableNorm, fake_quantize_weights, filter_network
from graphs.filters.layers import FilterAddition
from graphs.filters.quantization import fake_quantize_activations
from graphs.spaces import resnet_filters
from graphs.spaces.resnet_filters import SmallResNet

SHORTCUTS = ("projection", "identity")
SMALL = {"filters": (4, 6, 8), "blocks": 2, "classes": 5, "image_channels": 1}


class Plain(nn.Module):
    """Biases, no normalization in one place, functional calls, pooling, a head of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 5, 1, 2)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 4, (1, 3), 1, (0, 1))
        self.third = nn.Conv2d(4, 4, 3, 1, 1)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(4 * 4 * 4, 7), nn.ReLU(), nn.BatchNorm1d(7), nn.Linear(7, 3))

    def forward(self, images: Tensor) -> Tensor:
        features = functional.max_pool2d(self.relu(self.norm(self.first(images))), 2)
        features = self.relu(self.second(features))
        features = features + self.third(features)
        return self.head(self.relu(features).flatten(1))


def pictures(rows: int, channels: int, side: int, seed: int = 0) -> Tensor:
    return torch.randn((rows, channels, side, side), generator=torch.Generator().manual_seed(seed))


def seeded(module: type[nn.Module], **arguments: object) -> nn.Module:
    torch.manual_seed(0)
    network = module(**arguments)
    stir(network, 1)
    return network


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("training", [False, True])
def test_at_full_width_in_floating_point_it_is_the_users_network(shortcut: str, training: bool) -> None:
    plain = seeded(SmallResNet, **SMALL, shortcut=shortcut).train(training)
    before = copy.deepcopy(plain.state_dict())
    network = filter_network(plain, (1, 8, 8), (FLOAT,))
    images = pictures(3, 1, 8)
    assert torch.equal(network(images), plain(images))
    assert network.training == training
    # Converting, and training what came of it, leaves the user's network alone.
    network.zero_grad()
    network(images).sum().backward()
    assert all(parameter.grad is None for parameter in plain.parameters())
    if not training:
        assert all(torch.equal(tensor, before[name]) for name, tensor in plain.state_dict().items())


def test_a_users_own_network() -> None:
    plain = seeded(Plain).eval()
    network = filter_network(plain, (2, 8, 8), (FLOAT, Operation(4, 4)))
    images = pictures(3, 2, 8)
    assert torch.equal(network(images), plain(images))
    layers = {layer.name: layer for layer in network.topology.layers}
    assert [(layers[n].window, layers[n].positions, layers[n].source) for n in ("first", "second", "third")] == [
        (25, 64, None),
        (3, 16, "first"),
        (9, 16, "second"),
    ]
    assert [(join.source, join.target) for join in network.topology.joins] == [("second", "third")]


def test_torchvision_networks() -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    plain = torchvision.models.resnet18(num_classes=4).eval()
    network = filter_network(plain, (3, 32, 32))
    layers = {layer.name: layer for layer in network.topology.layers}
    assert len(layers) == 20
    assert layers["layer2.0.downsample.0"].follows == "layer2.0.conv2"
    assert layers["layer2.0.conv1"].source == "layer1.1.conv2"
    assert len(network.topology.joins) == 5
    floating = filter_network(plain, (3, 32, 32), (FLOAT,))
    images = pictures(2, 3, 32)
    with torch.no_grad():
        assert torch.equal(floating(images), plain(images))
        assert not torch.equal(network(images), plain(images))
    space = network.topology.width_space()
    assert SlimmableMacs(space, classes=4).cost(space.homogeneous()) == count(plain, (3, 32, 32)).macs


def reference_logits(plain: SmallResNet, counts: dict[str, list[int]], images: Tensor, bound: float) -> Tensor:
    """The quantized forward pass of a one-block-a-stage network, written out with sorted filters."""

    def bits(layer: str, which: str) -> Tensor:
        return torch.tensor([getattr(o, which) for o, n in zip(PAPER_OPERATIONS, counts[layer], strict=True) for _ in range(n)])

    def conv(layer: str, features: Tensor) -> Tensor:
        module = plain.get_submodule(layer)
        weight = fake_quantize_weights(module.weight, bits(layer, "weight_bits"))
        return functional.conv2d(features, weight, None, module.stride, module.padding)

    def activate(layer: str, features: Tensor) -> Tensor:
        widths = bits(layer, "activation_bits")
        return fake_quantize_activations(features, widths, torch.full((len(widths),), bound))

    features = activate("conv", plain.norm(conv("conv", images)))
    for stage in range(3):
        block, name = plain.stages[stage][0], f"stages.{stage}.0"
        inner = activate(f"{name}.conv1", block.norm1(conv(f"{name}.conv1", features)))
        skip = block.shortcut.norm(conv(f"{name}.shortcut.conv", features)) if stage else features
        features = activate(f"{name}.conv2", block.norm2(conv(f"{name}.conv2", inner)) + skip)
    return plain.classifier(features.mean((2, 3)))


def test_quantized_filters_are_sorted_and_activations_follow_the_addition() -> None:
    plain = seeded(SmallResNet, filters=(4, 6, 8), blocks=1, classes=5, image_channels=1).eval()
    network = filter_network(plain, (1, 8, 8))
    space = network.topology.quantization_space(shortcuts="own")
    generator = np.random.default_rng(0)
    images = pictures(3, 1, 8)
    for _ in range(3):
        rows = [generator.multinomial(int(units), np.full(4, 0.25)) for units in space.units]
        layer_counts = space.layer_counts(space.architecture(rows))
        network.configure(layer_counts)
        for module in network.modules():  # fresh statistics are empty: use the module's own, as the reference does
            if isinstance(module, SwitchableNorm):
                module.running_mean.copy_(module.stored_mean[0])
                module.running_var.copy_(module.stored_var[0])
        counts = {layer.name: row.tolist() for layer, row in zip(network.topology.layers, layer_counts, strict=True)}
        expected = reference_logits(plain, counts, images, 6.0)
        # Pooling adds the pixels in another order than the reference's mean does.
        torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)


def narrow(network: FilterNetwork, widths: dict[str, int], images: Tensor) -> Tensor:
    """The pruned network of identity shortcuts by slices of full-size tensors, batch statistics of the batch itself."""
    body = network.body

    def conv(layer: str, features: Tensor) -> Tensor:
        module = body.get_submodule(layer)
        weight = module.weight[: widths[layer], : features.shape[1]]
        return functional.conv2d(features, weight, None, module.stride, module.padding)

    def norm(layer: str, features: Tensor) -> Tensor:
        module = body.get_submodule(layer)
        width = features.shape[1]
        return functional.batch_norm(features, None, None, module.weight[:width], module.bias[:width], True)

    features = torch.relu(norm("norm", conv("conv", images)))
    for stage in range(3):
        for block in range(2):
            name = f"stages.{stage}.{block}"
            skip = features
            inner = torch.relu(norm(f"{name}.norm1", conv(f"{name}.conv1", features)))
            main = norm(f"{name}.norm2", conv(f"{name}.conv2", inner))
            width = main.shape[1]
            if stage and not block:
                skip = skip[:, :width, ::2, ::2]
                skip = functional.pad(skip, (0, 0, 0, 0, 0, width - skip.shape[1]))
            elif skip.shape[1] != width:
                addition = body.get_submodule(f"addition_{name}.conv2".replace(".", "_"))
                skip = functional.conv2d(skip, addition.projection[:width, : skip.shape[1]])
                skip = functional.batch_norm(skip, None, None, addition.norm.weight[:width], addition.norm.bias[:width], True)
            features = torch.relu(main + skip)
    pooled = features.mean((2, 3))
    return functional.linear(pooled, body.classifier.weight[:, : pooled.shape[1]], body.classifier.bias)


def test_widths_keep_leading_filters_and_insert_projections() -> None:
    torch.manual_seed(0)
    network = resnet_filters(**SMALL, side=8, shortcut="identity", operations=(FLOAT,)).double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, FilterAddition) and module.projection is not None:
                module.projection.copy_(torch.randn(module.projection.shape))
    space = network.topology.width_space()
    generator = np.random.default_rng(0)
    images = pictures(4, 1, 8).double()
    cost = SlimmableMacs(space, classes=5)
    for _ in range(6):
        architecture = space.architecture(generator.integers(1, space.units + 1))
        layer_counts = space.layer_counts(architecture)
        network.configure(layer_counts)
        widths = {layer.name: int(row[0]) for layer, row in zip(network.topology.layers, layer_counts, strict=True)}
        with FlopCounterMode(display=False) as flops:
            found = network(images)
        torch.testing.assert_close(found, narrow(network, widths, images), rtol=1e-9, atol=1e-9)
        assert flops.get_total_flops() == 2 * len(images) * cost.cost(architecture), "what runs is what is counted"


def test_statistics_are_switched_and_recalibration_touches_one_set() -> None:
    torch.manual_seed(0)
    network = resnet_filters(**SMALL, side=8, operations=(FLOAT,), sets=("1", "0.5"))
    space = network.topology.width_space()
    full, half = (space.layer_counts(space.homogeneous(share=share)) for share in (1.0, 0.5))
    images = pictures(6, 1, 8)
    network.configure(full, "1")
    network.train()
    for _ in range(3):
        network(images)
    network.eval()
    expected = network(images)
    network.configure(half, "0.5")
    network.train()(images + 1.0)
    network.eval()
    narrow_logits = network(images)
    network.configure(half)
    recalibrate(network, lambda: iter([lambda: network(images), lambda: network(images * 0.5)]))
    fresh = network(images)
    # The cumulative average of two batches, not a decayed one: checked on the first layer, whose input is known.
    with torch.no_grad():
        raw = [
            functional.conv2d(batch, network.body.conv.weight[:2], None, 1, 1).mean((0, 2, 3)) for batch in (images, images * 0.5)
        ]
    torch.testing.assert_close(network.body.norm.running_mean[:2], (raw[0] + raw[1]) / 2)
    assert not torch.equal(fresh, narrow_logits)
    network.configure(half, "0.5")
    assert torch.equal(network(images), narrow_logits)
    network.configure(full, "1")
    assert torch.equal(network(images), expected)
    # Files keep every set, and which of them was in use.
    network.configure(half, "0.5")
    twin = resnet_filters(**SMALL, side=8, operations=(FLOAT,), sets=("1", "0.5")).eval()
    twin.load_state_dict(network.state_dict())
    twin.configure(full, "1")
    assert torch.equal(twin(images), expected)


def test_weights_of_their_own() -> None:
    torch.manual_seed(0)
    shared = resnet_filters(**SMALL, side=8, operations=(Operation(2, 2), Operation(8, 8)))
    torch.manual_seed(0)
    own = resnet_filters(**SMALL, side=8, operations=(Operation(2, 2), Operation(8, 8)), own_weights=True)
    images = pictures(2, 1, 8)
    space = shared.topology.quantization_space(shared.operations)
    counts = space.layer_counts(space.architecture([[int(u) // 2, int(u) - int(u) // 2] for u in space.units]))
    shared.configure(counts)
    own.configure(counts)
    assert torch.equal(shared(images), own(images)), "they start alike"
    own(images).sum().backward()
    weight = own.body.conv.weight
    assert weight.shape == (2, 4, 1, 3, 3)
    assert weight.grad is not None
    used = weight.grad.abs().sum((2, 3, 4)) > 0
    assert not used[0, 2:].any(), "the second half has operation 1"
    assert not used[1, :2].any()


def test_training_moves_weights_and_bounds_with_noise() -> None:
    torch.manual_seed(0)
    network = resnet_filters(**SMALL, side=8)
    space = network.topology.quantization_space()
    images = pictures(8, 1, 8)
    network.configure(space.layer_counts(space.homogeneous(2)))
    network.calibrate_activations([images])
    bounds = [module.bound for module in network.modules() if hasattr(module, "bound")]
    assert len(bounds) == 13  # the stem, and two a block
    assert all(0 < float(bound[0].detach()) != 6.0 for bound in bounds)
    network.inject_noise(0.05, torch.Generator().manual_seed(0))
    first, second = network(images), network(images)
    assert not torch.equal(first, second), "noise is drawn anew"
    second.square().sum().backward()
    assert all(
        p.grad is not None and bool(p.grad.abs().sum() > 0) for n, p in network.named_parameters() if n.endswith("conv1.weight")
    )
    assert sum(float(bound.grad.abs().sum()) for bound in bounds if bound.grad is not None) > 0
    network.eval()
    assert torch.equal(network(images), network(images)), "no noise in evaluation"
    with pytest.raises(ValueError, match=r"a torch\.Generator"):
        network.inject_noise(0.05, None)


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("kind", ["widths", "bits"])
def test_extracted_networks_are_plain_and_compute_the_same(shortcut: str, kind: str) -> None:
    torch.manual_seed(0)
    operations = (FLOAT,) if kind == "widths" else PAPER_OPERATIONS
    network = resnet_filters(**SMALL, side=8, shortcut=shortcut, operations=operations, sets=("found",)).double()
    generator = np.random.default_rng(0)
    images = pictures(4, 1, 8).double()
    space = network.topology.width_space() if kind == "widths" else network.topology.quantization_space()
    for _ in range(3):
        if kind == "widths":
            architecture = space.architecture(generator.integers(1, space.units + 1))
        else:
            architecture = space.architecture([generator.multinomial(int(units), np.full(4, 0.25)) for units in space.units])
        network.configure(space.layer_counts(architecture), "found")
        network.train()(images)  # statistics that matter
        network.eval()
        plain = network.extract()
        ours = {"FilterConv", "SwitchableNorm", "FilterActivation", "LeadingLinear"}
        assert not ours & {type(module).__name__ for module in plain.modules()}
        # Narrow and sliced convolutions may differ by rounding.
        torch.testing.assert_close(plain(images), network(images), rtol=1e-9, atol=1e-9)
        if kind == "widths":
            counted = count(plain, (1, 8, 8)).macs
            assert counted == SlimmableMacs(space, classes=5).cost(architecture)
        expected = network(images)
        plain.train()(images)
        assert torch.equal(network(images), expected), "it shares nothing"


def test_a_copy_is_a_network_of_its_own() -> None:
    network = resnet_filters(**SMALL, side=8)
    network.inject_noise(0.05, torch.Generator().manual_seed(0))
    space = network.topology.quantization_space()
    twin = copy.deepcopy(network)
    images = pictures(2, 1, 8)
    expected = network.eval()(images)
    twin.configure(space.layer_counts(space.homogeneous(3)))
    assert not torch.equal(twin.eval()(images), expected)
    assert torch.equal(network(images), expected)


def test_space_and_costs_belong_to_the_network() -> None:
    network = resnet_filters((8, 16, 32), 1, 10, 1, 16)
    space = network.topology.quantization_space(network.operations)
    assert BitOperations(space).cost(space.homogeneous(3)) > BitOperations(space).cost(space.homogeneous(0))
    assert space.space.describe(space.homogeneous(1))["conv"] == {"w2a2": 0, "w2a4": 8, "w3a3": 0, "w8a8": 0}


def test_configurations_that_do_not_fit() -> None:
    network = resnet_filters(**SMALL, side=8, operations=(FLOAT,), sets=("1",))
    counts = np.array([[layer.filters] for layer in network.topology.layers])
    with pytest.raises(ValueError, match=r"expected whole counts, none negative, of shape \(15, 1\), got shape \(2, 1\)"):
        network.configure(counts[:2])
    wide = counts.copy()
    wide[0] = 5
    with pytest.raises(ValueError, match="layer 'conv': expected 1 to 4 filters, got 5"):
        network.configure(wide)
    uneven = counts.copy()
    uneven[[layer.name for layer in network.topology.layers].index("stages.1.0.shortcut.conv")] = 2
    with pytest.raises(
        ValueError, match=r"'stages\.1\.0\.shortcut\.conv' and 'stages\.1\.0\.conv2' are added: expected one width, got 2 and 6"
    ):
        network.configure(uneven)
    with pytest.raises(ValueError, match=r"no statistics '0\.5'; there are 1, fresh"):
        network.configure(counts, "0.5")


class Refused(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.a, self.b = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.depthwise, self.norm, self.gelu = nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.BatchNorm2d(4), nn.GELU()

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.a(images))
        if self.what == "linear":
            return self.depthwise(self.b(features))
        if self.what == "depthwise":
            return self.depthwise(features)
        if self.what == "gelu":
            return self.gelu(features)
        if self.what == "cat":
            return torch.cat([features, features], 1)
        if self.what == "norm first":
            return self.norm(features)
        if self.what == "twice":
            return self.b(torch.relu(self.b(features)))
        if self.what == "add activated":
            return features + torch.relu(self.b(features))
        if self.what == "branch" and images.sum() > 0:
            return features
        return features


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("linear", "'depthwise': a convolution that reads neither the image nor the output of a ReLU"),
        ("depthwise", "'depthwise': a convolution in groups"),
        ("gelu", "'gelu': GELU"),
        ("cat", "step 'cat': the operation 'cat'"),
        ("norm first", "'norm': batch normalization that does not follow a convolution"),
        ("twice", "'b': a module that is used twice"),
        ("add activated", "step 'add': an addition that is not of a convolution's output and a shortcut"),
        ("branch", "cannot trace Refused: .*must not branch on values"),
    ],
)
def test_networks_that_do_not_suit(what: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filter_network(Refused(what), (1, 8, 8))


def test_more_that_does_not_suit() -> None:
    with pytest.raises(ValueError, match=r"cannot run Plain on images of shape \(3, 8, 8\)"):
        filter_network(Plain(), (3, 8, 8))
    with pytest.raises(ValueError, match="no convolution"):
        filter_network(nn.Sequential(nn.MaxPool2d(2), nn.Dropout()), (1, 2, 2))
    with pytest.raises(ValueError, match="different operations, at least one"):
        filter_network(Plain(), (2, 8, 8), (FLOAT, FLOAT))
    with pytest.raises(ValueError, match="filters must not fall"):
        SmallResNet((8, 4), shortcut="identity")


class Inverted(nn.Module):
    """Two inverted residuals, the second with a shortcut and squeeze-and-excitation, as mobile networks have them."""

    def __init__(self) -> None:
        super().__init__()

        def normed(inputs: int, outputs: int, kernel: int, groups: int = 1, stride: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(outputs))

        self.stem = normed(3, 4, 3, stride=2)
        self.first = nn.Sequential(normed(4, 4, 3, 4), nn.ReLU6(), normed(4, 6, 1))
        self.expand, self.depthwise, self.project = normed(6, 12, 1), normed(12, 12, 5, 12), normed(12, 6, 1)
        self.reduce, self.restore, self.gate = nn.Conv2d(12, 3, 1), nn.Conv2d(3, 12, 1), nn.Hardsigmoid()
        self.act, self.head = nn.Hardswish(), nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(self.act(self.stem(images)))
        inner = self.act(self.depthwise(self.act(self.expand(features))))
        scale = self.gate(self.restore(functional.relu(self.reduce(functional.adaptive_avg_pool2d(inner, 1)))))
        features = self.project(scale * inner) + features
        return self.head(functional.adaptive_avg_pool2d(self.act(features), 1).flatten(1))


def test_inverted_residuals_have_widths() -> None:
    plain = seeded(Inverted).eval()
    network = filter_network(plain, (3, 12, 12), (FLOAT,))
    batch = pictures(3, 3, 12)
    with torch.no_grad():
        assert torch.equal(network(batch), plain(batch))
    layers = {layer.name: layer for layer in network.topology.layers}
    follows = {name: layer.follows for name, layer in layers.items() if layer.follows}
    assert follows == {"first.0.0": "stem.0", "depthwise.0": "expand.0", "restore": "expand.0", "first.2.0": "project.0"}
    assert [name for name, layer in layers.items() if layer.depthwise] == ["first.0.0", "depthwise.0"]
    space = network.topology.width_space()
    assert [decision.name for decision in space.space.decisions] == ["stem.0", "project.0", "expand.0", "reduce"]
    assert SlimmableMacs(space, classes=5).cost(space.homogeneous()) == count(plain, (3, 12, 12)).macs
    generator = np.random.default_rng(0)
    for _ in range(5):
        chosen = {d.name: int(generator.integers(1, len(d.options) + 1)) for d in space.space.decisions}
        network.configure([[chosen[owner]] for owner in space.owners])
        narrow = network.extract().eval()
        with torch.no_grad():
            torch.testing.assert_close(narrow(batch), network.eval()(batch))
        macs = SlimmableMacs(space, classes=5).of_widths([chosen[d.name] for d in space.space.decisions])
        assert macs == count(narrow, (3, 12, 12)).macs
    with pytest.raises(
        ValueError, match=r"'first\.0\.0': a convolution in groups|'first\.0\.0': a convolution that reads neither|Hardswish"
    ):
        filter_network(plain, (3, 12, 12))
    with pytest.raises(ValueError, match=r"layer 'first\.0\.0' is depthwise: its filters have widths"):
        network.topology.quantization_space()


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_mobile_networks_of_torchvision_have_widths(name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    plain = torchvision.models.get_model(name, num_classes=10).eval()
    with pytest.raises(ValueError, match=r"may have widths alone: operations=\(FLOAT,\)"):
        filter_network(plain, (3, 32, 32))
    network = filter_network(plain, (3, 32, 32), (FLOAT,))
    batch = pictures(2, 3, 32)
    with torch.no_grad():
        assert torch.equal(network(batch), plain(batch))
        space = network.topology.width_space()
        halves = {d.name: max(1, len(d.options) // 2) for d in space.space.decisions}
        network.configure([[halves[owner]] for owner in space.owners])
        torch.testing.assert_close(network.extract().eval()(batch), network.eval()(batch))
