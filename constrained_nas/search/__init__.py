"""The ask/tell loop over a super-network."""

from constrained_nas.search.checkpoints import branch_search, search_identity
from constrained_nas.search.front import front
from constrained_nas.search.judged import JudgeOptions, NetworkLoss, search_networks
from constrained_nas.search.loop import SearchOptions, SearchRun, search
from constrained_nas.search.notes import Notes
from constrained_nas.search.tabular import Gradients, OutOfEvaluationsError, TabularRun, TabularTruth, search_table
from constrained_nas.search.weights import PRUNET_TRAINING, WeightTraining
