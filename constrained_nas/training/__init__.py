"""Weights: loop, checkpoints, teachers."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.training.checkpoints import (
        MOST_WEIGHTS,
        Checkpoint,
        flatten_optimizer,
        load_checkpoint,
        load_same,
        load_weights,
        of_another,
        part_of,
        restore_optimizer,
        save_checkpoint,
        save_tensors,
    )
    from constrained_nas.training.curves import CURVES_FILE, Curve, Curves, read_curves, rounded
    from constrained_nas.training.loop import (
        evaluate,
        fine_tune,
        heaviest_file,
        path_a_batch,
        recalibrate,
        recalibrate_on,
        train_supernet,
        uniform_rows,
    )
    from constrained_nas.training.losses import row_losses
    from constrained_nas.training.options import TrainingOptions
    from constrained_nas.training.parts import Parts, mixed_seed, part_of_gate
    from constrained_nas.training.precision import gradient_scale, load_scaler, lower_scale, scaler_state, weight_step
    from constrained_nas.training.processes import first_process, make_fabric, process_count, stopping_together
    from constrained_nas.training.recompute import recomputing
    from constrained_nas.training.seeding import seeded, training_threads
    from constrained_nas.training.stopping import Stopped, Within
    from constrained_nas.training.teachers import timm_teacher

__getattr__ = on_demand(__name__)
