"""Whether the mean pattern is the one that the calibration describes."""

from math import pi

import numpy as np

from exitwave.core.errors import CalibrationError
from exitwave.data import Calibration
from exitwave.recon.iterative.setup import Setup

RADIUS, CENTRE = 1 / 3, 1 / 3  # what may be wrong, in parts of the disk's radius


def check_disk(mean: np.ndarray, s: Setup, calibration: Calibration) -> None:
    """Refuse a calibration whose bright disk is not that of the mean pattern (ky, kx): it lies elsewhere, or is a third larger or smaller.

    The disk is what is brighter than half of the median inside the inner half of the calibrated one. Where nothing stands out (a specimen so thick
    that no disk is left), nothing is said.

    Raises:
        CalibrationError: with both radii or both places.
    """
    alive: np.ndarray = s.camera.mask.numpy() > 0
    y, x = np.indices(mean.shape)
    radius = s.edge_invA * s.beam.wavelength_A / (calibration.need("detector_mrad") * 1e-3)
    told = zip((calibration.centre_y_px, calibration.centre_x_px), mean.shape, strict=True)
    centre_px = [(n - 1) / 2 if q.value is None else float(q.value) for q, n in told]
    inner = alive & (np.hypot(y - centre_px[0], x - centre_px[1]) < max(0.5 * radius, 1.0))
    if not inner.any():
        return
    bright = alive & (mean > 0.5 * np.median(mean[inner]))
    if bright.sum() > 0.8 * alive.sum() > 1.2 * pi * radius**2 or not bright.any():
        return
    found = float(np.sqrt(bright.sum() / alive.mean() / pi))
    if abs(found - radius) > RADIUS * radius + 1:
        raise CalibrationError("the bright disk has another size than the calibration says", expected=f"a radius of {radius:.3g} px",
                               got=f"{found:.3g} px", remedy="check --semiangle-mrad and --detector-mrad, or run `exitwave calibrate`")
    away = float(np.hypot(y[bright].mean() - centre_px[0], x[bright].mean() - centre_px[1]))
    if away > CENTRE * radius + 1:
        expected, got = (f"{a:.3g}, {b:.3g} px" for a, b in (centre_px, (y[bright].mean(), x[bright].mean())))
        raise CalibrationError("the bright disk lies elsewhere than the calibration says", expected=expected, got=got,
                               remedy="run `exitwave calibrate`")
