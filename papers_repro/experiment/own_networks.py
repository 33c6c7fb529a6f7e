"""Networks of one's own, as users write them: what ``search FILE.py:CALLABLE`` is tried on, with this file as the file."""

from __future__ import annotations

from torch import Tensor, nn

from graphs import Choice


def chain(classes: int, channels: int) -> nn.Module:
    """Six choices of five layers in a row: 15,625 networks."""
    late = _layer(24, 32, 3), _block("e", 32), _block("f", 32)
    middle = _layer(16, 24, 3), _block("c", 24), _block("d", 24), nn.MaxPool2d(2)
    body = _layer(channels, 16, 3), _block("a", 16), _block("b", 16), nn.MaxPool2d(2), *middle, *late
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes))


def bottlenecks(classes: int, channels: int) -> nn.Module:
    """Four choices of residual blocks, a choice of kernels inside some of them, and a choice of pooling: 1,250 networks."""
    blocks = [_residual(f"block{place}", 12 if place < 3 else 24) for place in (1, 2, 3, 4)]
    pool = Choice("pool", {"average": nn.AdaptiveAvgPool2d(1), "max": nn.AdaptiveMaxPool2d(1)})
    body = _layer(channels, 12, 3), *blocks[:2], nn.MaxPool2d(2), _layer(12, 24, 1), *blocks[2:], pool
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(24, classes))


class Bottleneck(nn.Module):
    """An option that holds a choice of its own: the size of its middle convolution."""

    def __init__(self, channels: int, name: str) -> None:
        super().__init__()
        self.narrow, self.wide = _layer(channels, channels // 2, 1), _layer(channels // 2, channels, 1)
        self.middle = Choice(f"{name}.size", {str(size): _layer(channels // 2, channels // 2, size) for size in (3, 5)})

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features + self.wide(self.middle(self.narrow(features)))
        return out


def _layer(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def _block(name: str, width: int) -> Choice:
    apart = nn.Sequential(_layer(width, width, 5, width), _layer(width, width, 1))
    sizes = {f"{size}x{size}": _layer(width, width, size) for size in (3, 5)}
    return Choice(name, {"skip": nn.Identity(), "1x1": _layer(width, width, 1), "dw5": apart} | sizes)


def _residual(name: str, channels: int) -> Choice:
    apart = nn.Sequential(_layer(channels, channels, 5, channels), _layer(channels, channels, 1))
    options = {"skip": nn.Identity(), "separable5": apart, "narrow": Bottleneck(channels, name)}
    return Choice(name, options | {"conv3": _layer(channels, channels, 3)})
