"""Colour tables for programs that draw by themselves: perceptually even, told apart by colour-blind readers."""

import matplotlib as mpl
import numpy as np

LEVELS = 256
NAMES = ("gray", "magma", "viridis", "cividis", "RdBu_r", "twilight_shifted")


def table(name: str) -> np.ndarray:
    """(256, 3) uint8 sRGB."""
    made: np.ndarray = mpl.colormaps[name](np.arange(LEVELS), bytes=True)[:, :3]
    return np.ascontiguousarray(made)


def tables(names: tuple[str, ...] = NAMES) -> bytes:
    """Tables one after the other, 768 bytes each."""
    return b"".join(table(name).tobytes() for name in names)
