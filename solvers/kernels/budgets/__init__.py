"""Compiled kernels of programs with several budgets; files are imported one by one, like those of the room above."""
