"""Mixed precision: what a step of an optimizer must do besides stepping.

At ``16-mixed`` small gradients would vanish in float16, so Fabric multiplies the loss by a scale before it is differentiated; an
optimizer set up through the same Fabric divides by it again, and leaves a step out (lowering the scale) where a gradient has
overflowed. The scale is a state that steps depend on: checkpoints keep it.

Reference: Micikevicius et al., Mixed precision training (loss scaling).
"""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn


def weight_step(fabric: Fabric, network: nn.Module, optimizer: torch.optim.Optimizer, most: float = 0.0) -> None:
    """One step of the weights, their gradients having been computed by ``fabric.backward``.

    Args:
        network, optimizer: as ``fabric.setup`` gives them back.
        most: the norm of all (unscaled) gradients together is clipped to this; 0 leaves it.
    """
    if most:
        # Under a scaler gradients that overflowed are no error: the step is left out.
        fabric.clip_gradients(network, optimizer, max_norm=most, error_if_nonfinite=_scaler(fabric) is None)
    optimizer.step()


def gradient_scale(fabric: Fabric) -> float:
    """What gradients are multiplied by when ``fabric.backward`` computes them: 1 but for ``16-mixed``."""
    scaler = _scaler(fabric)
    return 1.0 if scaler is None else float(scaler.get_scale())


def lower_scale(fabric: Fabric) -> bool:
    """Lower the scale after gradients that the scaler does not see have overflowed; False where that cannot help."""
    scaler = _scaler(fabric)
    if scaler is None or scaler.get_scale() <= 1.0:
        return False
    scaler.update(scaler.get_scale() * scaler.get_backoff_factor())
    return True


def scaler_state(fabric: Fabric) -> dict[str, Any]:
    """The scaler's state, JSON-ready; empty where the precision needs none."""
    return dict(fabric.strategy.precision.state_dict())


def load_scaler(fabric: Fabric, state: dict[str, Any]) -> None:
    """Put back what :func:`scaler_state` took; a state of another precision is left alone."""
    if state and _scaler(fabric) is not None:
        fabric.strategy.precision.load_state_dict(state)


def _scaler(fabric: Fabric) -> torch.amp.GradScaler | None:
    scaler: torch.amp.GradScaler | None = getattr(fabric.strategy.precision, "scaler", None)
    return scaler
