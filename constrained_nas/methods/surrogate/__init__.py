"""Bayesian optimization under hard budgets: a pairwise surrogate of the loss, minimized by exact programs."""
