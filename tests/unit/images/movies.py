"""Small movies with known truth: a drifting lattice on uneven ground, counted."""

import numpy as np


def lattice(frames: int, shape: tuple[int, int], dose: float = 1.0, drift: tuple[float, float] = (0.7, -0.4)) -> np.ndarray:
    """Mean counts (frames, y, x): a skewed lattice that drifts over a ground that does not; asymmetric on purpose."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    v, u = y - drift[0] * t, x - drift[1] * t
    waves = np.cos(2 * np.pi * (0.11 * v + 0.05 * u)) + 0.7 * np.cos(2 * np.pi * (-0.04 * v + 0.13 * u) + 0.4)
    return dose * (1.0 + 0.25 * waves + 0.2 * np.sin(0.02 * y + 0.01 * x))


def counted(mean: np.ndarray, seed: int = 5) -> np.ndarray:
    """Poisson counts of it."""
    return np.random.default_rng(seed).poisson(mean).astype(np.uint16)
