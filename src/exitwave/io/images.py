"""Calibrated images for other programs."""

import os
from typing import Any

import numpy as np
import tifffile

from exitwave.core.errors import InputError
from exitwave.io.write import writing


def write_tiff(
    path: str | os.PathLike[str], array: np.ndarray, pitch_A: tuple[float, float], force: bool = False, depth_A: tuple[float, ...] = ()
) -> None:
    """A 32-bit float TIFF of a real image (y, x), or with `depth_A` of a stack (z, y, x), whose pixel size ImageJ and Fiji read, in nm.

    Each image of a stack is labelled with its depth; evenly spaced depths are the distance of ImageJ's slices too.

    Raises:
        InputError: an array that is no real image or stack, a pixel size that is not positive, or an output as `check_output` refuses it.
    """
    if array.shape[:-2] != ((len(depth_A),) if depth_A else ()) or array.ndim < 2 or array.dtype.kind not in "buif" or not array.size:
        wanted = f"({len(depth_A)}, y, x) real numbers" if depth_A else "(y, x) real numbers"
        raise InputError("a TIFF holds one real image, or one for each depth", expected=wanted, got=f"shape {array.shape} of {array.dtype}",
                         remedy="write the phase and the amplitude of a complex image")
    if min(pitch_A) <= 0:
        raise InputError("a TIFF needs a positive pixel size", got=pitch_A)
    per_nm = (10 / pitch_A[1], 10 / pitch_A[0])  # TIFF counts pixels per unit, x first
    metadata: dict[str, Any] = {"unit": "nm", "axes": "ZYX" if depth_A else "YX"}
    if depth_A:
        metadata["Labels"] = [f"z = {z:g} A" for z in depth_A]
        steps = np.diff(depth_A)
        if len(steps) and np.allclose(steps, steps[0], rtol=1e-6):
            metadata["spacing"] = float(steps[0]) / 10
    with writing(path, force) as partial:
        tifffile.imwrite(partial, array.astype(np.float32), imagej=True, resolution=per_nm, metadata=metadata)
