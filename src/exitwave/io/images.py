"""Calibrated images for other programs."""

import os

import numpy as np
import tifffile

from exitwave.core.errors import InputError
from exitwave.io.write import writing


def write_tiff(path: str | os.PathLike[str], array: np.ndarray, pitch_A: tuple[float, float], force: bool = False) -> None:
    """A 32-bit float TIFF of a real image (y, x) whose pixel size ImageJ and Fiji read, in nm.

    Raises:
        InputError: an array that is no real image, a pixel size that is not positive, or an output as `check_output` refuses it.
    """
    if array.ndim != 2 or array.dtype.kind not in "buif" or not array.size:
        raise InputError("a TIFF holds one real image", expected="(y, x) real numbers", got=f"shape {array.shape} of {array.dtype}",
                         remedy="write the phase and the amplitude of a complex image")
    if min(pitch_A) <= 0:
        raise InputError("a TIFF needs a positive pixel size", got=pitch_A)
    per_nm = (10 / pitch_A[1], 10 / pitch_A[0])  # TIFF counts pixels per unit, x first
    with writing(path, force) as partial:
        tifffile.imwrite(partial, array.astype(np.float32), imagej=True, resolution=per_nm, metadata={"unit": "nm", "axes": "YX"})
