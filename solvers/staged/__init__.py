"""Blocks with a choice of depth (the bilinear program): space, starts, projections, verification."""

from solvers.staged.even_shares import even_shares, unevenness
from solvers.staged.maximum_entropy import maximum_entropy_start
from solvers.staged.projection import project_jointly
from solvers.staged.schemes import argmax_projection, project_separately, project_sequentially
from solvers.staged.space import Stage, StagedBlocks, StagedCost
from solvers.staged.starts import balanced_start, cheapest_start
from solvers.staged.verification import verify_projection
