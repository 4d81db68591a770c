"""How many electrons share a neighbourhood and are counted as one, and how many there were.

With `maxima` a pixel is counted where it is the brightest of an area of a pixels (9). Signals of electrons are alike and independent, and with
occupancy lambda (electrons per pixel and frame, Poisson) the chance that the area has any is 1 - exp(-a lambda). Then the brightest is any of its
pixels with the same chance:

    counted = (1 - exp(-a lambda)) / a

whatever the distribution of the signals, as long as no two are equal. Where lambda differs from pixel to pixel, the brightest electron of an area
is in its middle with chance lambda_0 / Lambda, Lambda the area's sum, so counted_0 = lambda_0 (1 - exp(-Lambda)) / Lambda (exact where of two
electrons in one pixel the brighter one counts; where they add up, wrong only where occupancies differ and several meet). Electrons that light several
pixels exclude a larger area: measure `area` from a series of doses.
"""

import numpy as np
from scipy.ndimage import convolve

from exitwave.core.errors import InputError

AREA = 9.0
ROUNDS, CLOSE = 200, 1e-12


def counted_of(occupancy: np.ndarray, area: float = AREA) -> np.ndarray:
    """Electrons counted per pixel and frame where there are `occupancy` of them."""
    return np.asarray(-np.expm1(-area * np.asarray(occupancy, np.float64)) / area)


def occupancy_of(counted: np.ndarray, area: float = AREA) -> np.ndarray:
    """Electrons per pixel and frame where `counted` were counted: -ln(1 - a c) / a.

    Raises:
        InputError: more than one in `area` pixels cannot be counted.
    """
    c = np.asarray(counted, np.float64)
    if (c < 0).any() or (area * c >= 1).any():
        raise InputError("so many electrons cannot have been counted", expected=f"from 0 to below 1/{area:g} per pixel and frame",
                         got=float(c.max(initial=0)), remedy="average over more frames, or count at a lower dose")
    return np.asarray(-np.log1p(-area * c) / area)


def occupancy_map(counted: np.ndarray, frames: int) -> np.ndarray:
    """Electrons per pixel and frame (ky, kx) from the `counted` ones (ky, kx), summed over `frames` frames, each pixel by what its neighbours had.

    Raises:
        InputError: no frame of counts, or more than can have been counted.
    """
    if counted.ndim != 2 or frames < 1 or (counted < 0).any():
        raise InputError("counts of many frames", expected="(ky, kx) of 0 or more, and the number of frames", got=f"{counted.shape}, {frames}")
    c = counted / frames
    box = np.ones((3, 3))
    occupancy = c.copy()
    for _ in range(ROUNDS):
        total = convolve(occupancy, box, mode="constant")
        new = c * np.where(total > 0, total / -np.expm1(-np.where(total > 0, total, 1.0)), 1.0)
        if not np.isfinite(new).all() or new.max(initial=0) > 1e3:
            raise InputError("so many electrons cannot have been counted", expected="below 1/9 per pixel and frame", got=float(c.max()))
        if np.abs(new - occupancy).max(initial=0) < CLOSE:
            return new
        occupancy = new
    raise InputError("so many electrons cannot have been counted", expected="well below 1/9 per pixel and frame", got=float(c.max()))
