"""Iterative ptychography: one problem (data, start, what may move, a loss), interchangeable solvers over the one forward model."""
