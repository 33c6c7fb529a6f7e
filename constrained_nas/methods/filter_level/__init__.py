"""Filter-level compression, its law, counts and own loop."""

from constrained_nas.methods.filter_level.algorithms import FilterSearchOptions, c1, c2, c3, c4, c5
from constrained_nas.methods.filter_level.counts import LikelyCounts, largest_remainder
from constrained_nas.methods.filter_level.hard_counts import CountCost
from constrained_nas.methods.filter_level.law import FilterLaw
from constrained_nas.methods.filter_level.loop import filter_search, statistics_of
from constrained_nas.methods.filter_level.method import FilterLevel
from constrained_nas.methods.filter_level.record import FilterSearchRecord, save_filter_search
from constrained_nas.methods.filter_level.training import (
    Configuration,
    FilterWeights,
    Training,
    fresh_network,
    recalibrate_configuration,
    train_configurations,
)
