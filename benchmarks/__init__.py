"""Benchmarks against named public solvers, in one run, as ratios."""
