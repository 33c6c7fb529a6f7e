"""Somebody else's solver, and the only room that imports highspy, cvxpy, scipy.optimize."""

from solvers.backends.binary import BinaryAnswer, BinaryProgram, MilpBackend, maximise_binary, minimise_by_scipy
from solvers.backends.highs import LinearModel, MixedIntegerModel, Polyhedron, minimise_quadratic
from solvers.backends.linear import LinearProgramBackend, least_by_scipy, linear_program
from solvers.backends.quadratic import minimise_by_clarabel
