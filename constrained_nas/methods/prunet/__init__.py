"""PruNet."""

from constrained_nas.methods.prunet.block_pruning import LayerState, SkipScales, init_layer, prune_layer
from constrained_nas.methods.prunet.method import PruNet
from constrained_nas.methods.prunet.projection import LayerScores, project_survivors
from constrained_nas.methods.prunet.prunode import PrunodeSettings, freeze_progress, init_prunodes, pick_widths, step_prunodes
from constrained_nas.methods.prunet.state import PruNetState
