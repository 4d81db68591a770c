"""The bright-field disk in the mean pattern: centre, radius, ellipticity."""

import numpy as np
from scipy.ndimage import label
from scipy.optimize import least_squares
from scipy.special import erfc

from exitwave.core import record
from exitwave.core.errors import CalibrationError
from exitwave.data import Quantity


@record
class DiskFit:
    """Centre (index of frame pixels), mean radius sqrt(a b) in pixels, axis ratio minus one and the long axis's angle from +x toward +y."""

    centre_y_px: Quantity
    centre_x_px: Quantity
    radius_px: Quantity
    ellipticity: Quantity
    ellipticity_deg: Quantity
    edge_px: float


def fit_disk(mean: np.ndarray, alive: np.ndarray) -> DiskFit:
    """Least squares of a plateau with an elliptic, blurred edge on a flat background, robust against features in the disk.

    Raises:
        CalibrationError: no disk is seen, or it is cut by the frame's edge.
    """
    cy, cx, radius = _first_guess(np.where(alive, mean, 0.0))
    y, x = np.indices(mean.shape)
    near = alive & (np.hypot(y - cy, x - cx) < 1.5 * radius + 2)
    top = float(np.median(mean[near & (np.hypot(y - cy, x - cx) < 0.7 * radius)]))
    yy, xx, values = y[near].astype(float), x[near].astype(float), mean[near] / top

    def model(p: np.ndarray) -> np.ndarray:
        return p[6] + (p[5] - p[6]) * 0.5 * erfc((_radius(yy - p[0], xx - p[1], p[3], p[4]) - p[2]) / (np.sqrt(2) * abs(p[7])))

    fit = least_squares(lambda p: model(p) - values, [cy, cx, radius, 0.0, 0.0, 1.0, 0.0, 0.5], loss="soft_l1", f_scale=0.1)
    cy, cx, radius, e_cos, e_sin = fit.x[:5]
    slack = 0.02 * radius + 0.5
    if cy - radius < -slack or cx - radius < -slack or cy + radius > mean.shape[0] - 1 + slack or cx + radius > mean.shape[1] - 1 + slack:
        raise CalibrationError(
            "the bright-field disk is cut by the frame's edge",
            got=f"centre ({cy:.1f}, {cx:.1f}), radius {radius:.1f} px in a {mean.shape} frame",
            remedy="use a shorter camera length or a smaller aperture",
        )
    # A pixel's residual is a model error shared by its neighbours rather than noise, hence the factor two.
    variance = 4 * 2 * fit.cost / max(1, len(values) - len(fit.x))
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac) * variance
    sigma = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    size = float(np.hypot(e_cos, e_sin))
    angle_sigma = float(np.degrees(0.5 * np.hypot(sigma[3], sigma[4]) / max(size, 1e-12)))
    return DiskFit(
        centre_y_px=Quantity(value=float(cy), sigma=float(sigma[0]), source="measured"),
        centre_x_px=Quantity(value=float(cx), sigma=float(sigma[1]), source="measured"),
        radius_px=Quantity(value=float(radius), sigma=float(sigma[2]), source="measured"),
        ellipticity=Quantity(value=size, sigma=float(np.hypot(sigma[3], sigma[4])), source="measured"),
        ellipticity_deg=Quantity(value=float(np.degrees(0.5 * np.arctan2(e_sin, e_cos))), sigma=min(90.0, angle_sigma), source="measured"),
        edge_px=float(abs(fit.x[7])),
    )


def _radius(y: np.ndarray, x: np.ndarray, e_cos: float, e_sin: float) -> np.ndarray:
    """Elliptic radius for a small axis ratio 1 + e, area kept: |k| (1 - e/2 cos 2(phi - phi_e))."""
    r2 = x**2 + y**2
    double = e_cos * (x**2 - y**2) + e_sin * 2 * x * y
    r = np.sqrt(r2)
    return r - 0.5 * double / np.maximum(r, 1e-9)


def _first_guess(mean: np.ndarray) -> tuple[float, float, float]:
    """Centroid and radius of the largest blob over half of the plateau.

    The plateau is the level of the brightest pixels after the top few, so a hot spot does not set it.
    """
    ordered = np.sort(mean.ravel())[::-1]
    bright = ordered[: max(8, int((ordered > 0.5 * ordered[min(4, len(ordered) - 1)]).sum()))]
    blobs, count = label(mean > 0.5 * np.median(bright))
    if count == 0:
        raise CalibrationError("no bright-field disk is seen in the mean pattern")
    sizes = np.bincount(blobs.ravel())[1:]
    inside = blobs == 1 + int(np.argmax(sizes))
    if inside.sum() < 9 or inside.mean() > 0.95:
        raise CalibrationError(
            "no bright-field disk is seen in the mean pattern",
            expected="a disk of at least three pixels with background around it",
            got=f"{int(inside.sum())} bright pixels of {inside.size}",
        )
    y, x = np.nonzero(inside)
    return float(y.mean()), float(x.mean()), float(np.sqrt(inside.sum() / np.pi))
