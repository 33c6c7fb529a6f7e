"""Test accuracies of networks, each fine-tuned, or trained from scratch, and tested once.

Fine-tuned ones are extracted with the super-network's weights and learn from labels and the heaviest network's answers ("2 for 1");
from scratch they forget those weights and have no teacher.

Reference: Nayman et al., HardCoRe-NAS, Appendix G.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from constrained_nas.training import TrainingOptions, evaluate, fine_tune, recalibrate_on
from graphs import Architecture
from graphs.files import read_json, save_json
from papers_repro.experiment import kept_under
from papers_repro.hardcore.setup import TrainedSupernet


class Tests:
    """Test accuracies of networks after training, each measured once and remembered in a file; the weights stay in checkpoints.

    A network is fine-tuned from the super-network of its seed, so a result belongs to (seed, architecture). With training
    ``from_scratch`` it forgets these weights.
    """

    def __init__(self, prepared: TrainedSupernet, training: TrainingOptions, fabric: Fabric, memory: Path, resume: bool) -> None:
        self.prepared, self.training, self.fabric, self.memory = prepared, training, fabric, memory
        self.known: dict[str, dict[str, float]] = {}
        options = {name: value for name, value in asdict(training).items() if name != "workers"}
        self.made_by = {"training": options, **kept_under(memory, prepared.data).made_by}
        if resume and memory.exists():
            kept = read_json(memory, "list of accuracies")
            if not isinstance(kept, dict) or json.loads(json.dumps(self.made_by)) != kept.get("made_by"):
                raise ValueError(f"{memory}: of other options, data or versions; start over with --no-resume, or restore them")
            self.known = kept["known"]
        self.resume = resume

    def accuracy(self, architecture: Architecture) -> tuple[float, float]:
        """(test accuracy, seconds of training) of an architecture."""
        key = "|".join(map(str, self.prepared.space.space.describe(architecture).values()))
        if key not in self.known:
            began = time.perf_counter()
            network = self._extract(architecture)
            name = hashlib.sha256(key.encode()).hexdigest()[:16]
            checkpoint = self.memory.with_name(f"tuned_seed{self.training.seed}_{name}.safetensors")
            if not self.resume:
                checkpoint.unlink(missing_ok=True)
            data, teacher = self.prepared.data.weights, None if self.training.from_scratch else self.prepared.teacher
            fine_tune(network, data, self.training, self.fabric, teacher, checkpoint=kept_under(checkpoint, self.prepared.data))
            seconds = time.perf_counter() - began
            self.known[key] = {
                "accuracy": evaluate(network, self.prepared.data.test, self.fabric, workers=self.training.workers),
                "seconds": seconds,
            }
            save_json({"made_by": self.made_by, "known": self.known}, self.memory)
        return self.known[key]["accuracy"], self.known[key]["seconds"]

    def inherited(self, architecture: Architecture) -> float:
        """Accuracy on the search's split with the super-network's weights as they are."""
        return evaluate(self._extract(architecture), self.prepared.data.architecture, self.fabric, workers=self.training.workers)

    def _extract(self, architecture: Architecture) -> nn.Module:
        """The bare network with the super-network's weights and statistics of its own."""
        network = self.prepared.supernet.extract(architecture)
        network.to(self.fabric.device).to(memory_format=torch.channels_last)
        recalibrate_on(network, self.prepared.data.weights, self.training.batch_size, 10, self.training.seed, self.fabric)
        return network
