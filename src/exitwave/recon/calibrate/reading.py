"""A calibration from fitted parameters and a verdict on their twin."""

from math import degrees, pi

import numpy as np
import torch

from exitwave.core.aberrations import cartesian
from exitwave.data import Calibration, Quantity
from exitwave.recon.calibrate.refine import Layout
from exitwave.recon.calibrate.twin import Verdict


def principal(layout: Layout, parameters: np.ndarray) -> np.ndarray:
    """The twin whose rotation lies in (-90, 90] degrees: rotation + 180 degrees goes with even aberrations negated and odd ones kept."""
    p, at = parameters.copy(), layout.members("rotation")[0]
    p[at] = (p[at] + pi) % (2 * pi) - pi
    if -pi / 2 < p[at] <= pi / 2:
        return p
    p = p * even_signs(layout)
    p[at] -= np.sign(p[at]) * pi
    return p


def even_signs(layout: Layout) -> np.ndarray:
    """-1 for the elements that the twin negates: aberrations that are even in k, whose radial order n is odd."""
    return np.array([-1.0 if name[0] == "C" and int(name[1]) % 2 else 1.0 for name in (n if n[1:].isdigit() else "-" for n in layout.names)])


def calibration_of(
    known: Calibration, layout: Layout, parameters: np.ndarray, covariance: np.ndarray, transpose: bool, verdict: Verdict
) -> Calibration:
    """What is known, with rotation, handedness, aberrations and, where they were fitted, centre and scale of the detector."""
    flipped = verdict.sign < 0
    values = parameters * even_signs(layout) if flipped else parameters
    at = layout.members("rotation")[0]
    rotation = (degrees(values[at]) + (180.0 if flipped else 0.0) + 180) % 360 - 180
    source = "measured" if "positive phase" in verdict.by else "given" if "given" in verdict.by else "assumed"
    found: dict[str, Quantity] = {}
    for n, m in layout.terms:
        found |= _term(n, m, values[layout.members(f"C{n}{m}")], covariance[np.ix_(*2 * (layout.members(f"C{n}{m}"),))])
    return _detector(known, layout, values, covariance).updated(
        rotation_deg=_measured(rotation, degrees(covariance[at, at] ** 0.5)),
        transpose=Quantity(value=transpose, sigma=None, source="measured"),
        twin=Quantity(value=verdict.by or None, sigma=None, source=source),  # type: ignore[arg-type]
        aberrations=found,
    )


def _term(n: int, m: int, value: np.ndarray, covariance: np.ndarray) -> dict[str, Quantity]:
    """Size and angle of one coefficient, each with its standard error."""
    name = f"C{n}{m}_A"
    if m == 0:
        return {name: _measured(value[0], covariance[0, 0] ** 0.5)}
    polar = cartesian(((n, m),), torch.from_numpy(value)[None]).polar()
    size = max(polar[name], 1e-9)
    along, across = value / size, np.array([-value[1], value[0]]) / size
    sideways = float(across @ covariance @ across) ** 0.5
    return {
        name: _measured(polar[name], float(along @ covariance @ along) ** 0.5),
        f"phi{n}{m}_deg": _measured(polar[f"phi{n}{m}_deg"], min(180.0 / m, degrees(sideways / size / m))),
    }


def _detector(known: Calibration, layout: Layout, values: np.ndarray, covariance: np.ndarray) -> Calibration:
    if centre := layout.members("centre"):
        y, x = (
            _measured(float(was.value or 0.0) + values[i], covariance[i, i] ** 0.5)
            for was, i in zip((known.centre_y_px, known.centre_x_px), centre, strict=True)
        )
        known = known.updated(centre_y_px=y, centre_x_px=x)
    if scale := layout.members("scale"):
        by, sigma = 1 + values[scale[0]], covariance[scale[0], scale[0]] ** 0.5
        pixel, semi = known.need("detector_mrad") * by, known.need("semiangle_mrad") * by
        known = known.updated(detector_mrad=_measured(pixel, pixel * sigma), semiangle_mrad=_measured(semi, semi * sigma))
    return known


def _measured(value: float, error: float) -> Quantity:
    return Quantity(value=float(value), sigma=float(error), source="measured")
