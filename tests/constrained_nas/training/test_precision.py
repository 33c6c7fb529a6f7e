"""Mixed precision with a gradient scaler, on the CPU: weights go where they go in full precision, and killed runs resume."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from support.searches import OPTIONS, problem, setting
from support.tiny import striped_data, tiny_space
from torch import Tensor, nn

from constrained_nas.ask_tell import Feedback, Moment, Proposal
from constrained_nas.methods import HardCoRe
from constrained_nas.problem import SearchProblem
from constrained_nas.search import WeightTraining, search
from constrained_nas.training import Stopped, TrainingOptions, fine_tune, gradient_scale, load_checkpoint, train_supernet
from graphs import Supernet

FULL = Fabric(accelerator="cpu", devices=1)
SHORT = TrainingOptions(epochs=2, batch_size=16, learning_rate=0.05, mixup=0.0, seed=3)


def scaled(scale: float = 65536.0) -> Fabric:
    """16-mixed as on a GPU: with a scaler, which begins at ``scale``."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler=scaler))


def plain() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 3))


def fresh() -> tuple[Supernet, dict[str, Tensor]]:
    space = tiny_space()
    torch.manual_seed(0)
    net = space.supernet()
    return net, net.gates(space.heaviest())


def moved(network: nn.Module, start: nn.Module) -> Tensor:
    """How far each weight went."""
    pairs = zip(network.parameters(), start.parameters(), strict=True)
    return torch.cat([(now - was).detach().reshape(-1) for now, was in pairs])


def nearly_the_same(way: Tensor, reference: Tensor) -> None:
    """To a tenth of the way: float16 has 11 bits, and the rounding of a step is seen by all that follow."""
    assert float((way - reference).norm()) < 0.1 * float(reference.norm())


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_a_network_goes_the_way_of_full_precision(clip: float) -> None:
    options, ways = replace(SHORT, clip=clip), []
    for fabric in (FULL, scaled()):
        network = plain()
        fine_tune(network, striped_data(64, 0), options, fabric)
        ways.append(moved(network, plain()))
    nearly_the_same(ways[1], ways[0])


@pytest.mark.parametrize("scale", [0.0, 65536.0])
def test_gradients_are_clipped_unscaled(scale: float) -> None:
    fabric = scaled(scale) if scale else FULL
    network = plain()
    # One step of plain SGD: the way is the rate times the clipped gradient, of which the norm is then the limit itself.
    options = replace(SHORT, epochs=1, batch_size=64, momentum=0.0, weight_decay=0.0, clip=0.02)
    fine_tune(network, striped_data(64, 0), options, fabric)
    assert float(moved(network, plain()).norm()) == pytest.approx(0.05 * 0.02, rel=1e-3)


def test_a_supernet_goes_the_way_of_full_precision() -> None:
    ways = []
    for fabric in (FULL, scaled()):
        net, heaviest = fresh()
        train_supernet(net, heaviest, striped_data(32, 0), replace(SHORT, epochs=1), replace(SHORT, epochs=1), fabric)
        ways.append(moved(net, fresh()[0]))
    nearly_the_same(ways[1], ways[0])


def search_weights(fabric: Fabric, checkpoint: Path | None = None, progress: Any = None) -> tuple[Supernet, Any]:
    net, _ = fresh()
    space = setting()[0]
    training = WeightTraining(learning_rate=0.02)
    method = HardCoRe(space.space, space.staged)
    run = search(problem(0.5), method, net, striped_data(32, 2), OPTIONS, fabric, checkpoint, progress, training=training)
    return net, run


def test_weights_and_point_of_a_search_go_the_way_of_full_precision() -> None:
    (full, one), (mixed, two) = search_weights(FULL), search_weights(scaled())
    nearly_the_same(moved(mixed, fresh()[0]), moved(full, fresh()[0]))
    np.testing.assert_allclose(two.losses, one.losses, atol=0.1)


@dataclass(frozen=True)
class Listening(HardCoRe):
    """Keeps the gates' gradients of its first step."""

    heard: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, problem: SearchProblem, state: Any, proposal: Proposal, feedback: Feedback, moment: Moment) -> Any:
        if not self.heard:
            self.heard.append(feedback.gate_gradients)
        return super().tell(problem, state, proposal, feedback, moment)


@pytest.mark.parametrize("scale", [65536.0, 2.0**100])
def test_gate_gradients_are_unscaled_and_taken_again_at_a_lower_scale_where_they_overflow(scale: float) -> None:
    space, net, *_ = setting()
    half = scaled(scale)
    heard = []
    for fabric in (FULL, half):
        method = Listening(space.space, space.staged)
        run = search(problem(0.5), method, net, striped_data(32, 2), OPTIONS, fabric)
        assert np.isfinite(run.result.point).all()
        heard.append(torch.cat([torch.as_tensor(gradient).reshape(-1) for gradient in method.heard[0].values()]))
    assert 1 <= gradient_scale(half) < 2.0**40
    nearly_the_same(*reversed(heard))


class KilledError(Exception):
    """What a test raises in the middle of a run."""


@pytest.mark.parametrize("how", [KilledError, Stopped])
@pytest.mark.parametrize("what", ["network", "search"])
def test_killed_and_stopped_runs_resume_with_the_scale_they_had(tmp_path: Path, what: str, how: type[Exception]) -> None:
    """The scale begins so high that the first steps are left out: a run that forgot it would leave out more."""

    def go(checkpoint: Path | None, progress: Any = None) -> nn.Module:
        fabric = scaled(2.0**24)
        if what == "search":
            return search_weights(fabric, checkpoint, progress)[0]
        network = plain()
        fine_tune(network, striped_data(64, 0), SHORT, fabric, checkpoint=checkpoint, progress=progress)
        return network

    def kill(done: int, *_: object) -> None:
        if done == 6:
            raise how

    checkpoint = tmp_path / "run.safetensors"
    unbroken = go(None)
    with pytest.raises(how):
        go(checkpoint, kill)
    assert load_checkpoint(checkpoint)[1]["scaler"]["scale"] < 2.0**24
    start = fresh()[0] if what == "search" else plain()
    assert moved(unbroken, start).any()
    assert torch.equal(moved(go(checkpoint), unbroken), torch.zeros(sum(p.numel() for p in unbroken.parameters())))
