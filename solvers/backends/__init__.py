"""Somebody else's solver, and the only room that imports highspy, cvxpy, scipy.optimize."""

from solvers.backends.binary import BinaryAnswer, BinaryProgram, MilpBackend, maximize_binary, minimize_by_scipy
from solvers.backends.highs import LinearModel, MixedIntegerModel, minimize_quadratic, silence_highs
from solvers.backends.linear import LinearProgramBackend, least_by_scipy, linear_program
from solvers.backends.polyhedron import Polyhedron
from solvers.backends.quadratic import minimize_by_clarabel
