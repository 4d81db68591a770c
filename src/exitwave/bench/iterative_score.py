"""How true a fitted phase is: what every program's object is measured by, after the same freedoms are taken out of it."""

from collections.abc import Mapping
from math import pi, sqrt

import numpy as np
import torch
from scipy.optimize import minimize

from exitwave.bench.iterative_scene import truth_at
from exitwave.core import InputError, record
from exitwave.data import Calibration
from exitwave.recon.direct.geometry import geometry
from exitwave.recon.direct.image import optics_of
from exitwave.recon.direct.overlap import gamma
from exitwave.signal import frc

FARTHEST_A = 1.0  # a free probe lets the object move a little: that is gauge, a step of the scan is not
COARSE_A = 0.2
MARGIN_A = 3.0  # of the scanned field that is not compared


@record
class Fitted:
    """A phase (z, y, x) in rad on pixels of `pitch_A`, with the scan positions (n, 2) in its pixels: those that the scan was meant to have, and those
    that were used or found."""

    phase: np.ndarray
    pitch_A: tuple[float, float]
    nominal_px: np.ndarray
    positions_px: np.ndarray


@record
class Score:
    """`slope` of the fitted on the true phase, `corr`elation, `rmse` in rad, `truth` its rms, `cutoff_invA` the last ring whose correlation with
    the truth is over one half, at most the band's edge, and `shift_A`, which was taken out."""

    slope: float
    corr: float
    rmse_rad: float
    truth_rad: float
    cutoff_invA: float
    shift_A: tuple[float, float]

    def said(self) -> Mapping[str, float]:
        """As a row of a benchmark has it."""
        return {"slope": self.slope, "corr": self.corr, "rmse_rad": self.rmse_rad, "truth_rad": self.truth_rad, "cutoff_invA": self.cutoff_invA}


def read_fitted(file: str) -> Fitted:
    """What a side of the benchmark saved."""
    with np.load(file) as held:
        pitch = tuple(float(v) for v in held["pitch_A"])
        return Fitted(phase=held["phase"], pitch_A=(pitch[0], pitch[1]), nominal_px=held["nominal_px"], positions_px=held["positions_px"])


def bound_rad(dose_e_per_A2: float, kmax_invA: float) -> float:
    """The least rms error of a phase of band `kmax`, all electrons used: each mode of a unit area has variance 1 / (4 dose), and there are pi
    kmax^2 of them in one A^2. For pixels of pitch d and their whole band 1 / d^2 it is 1 / (2 sqrt(dose d^2))."""
    return sqrt(pi * kmax_invA**2 / (4 * dose_e_per_A2))


def optics_bound_rad(known: Calibration, shape: tuple[int, int, int, int], dose_e_per_A2: float, kmax_invA: float, side_A: float) -> float:
    """The Cramer-Rao bound of a weak phase under these optics and this camera, the probe known: the sum of 1 / (dose side^2 sum_k |Gamma|^2 / p) over
    the frequencies q <= `kmax` of a square of `side_A`, zero left out (means and planes are not compared). Gamma(k, q) is the response of pixel
    k, p its share of the electrons; dark-field pixels, which answer to second order only, are left out."""
    g = geometry(known, shape)
    aperture, bright = optics_of(g), g.bright()
    ky, kx = (axis[:, None] for axis in g.k_invA[bright].T)
    share = aperture.intensity(ky, kx)
    steps = torch.arange(-int(kmax_invA * side_A), int(kmax_invA * side_A) + 1, dtype=torch.float64) / side_A
    qy, qx = (axis.reshape(-1) for axis in torch.meshgrid(steps, steps, indexing="ij"))
    inside = (qy**2 + qx**2 <= kmax_invA**2) & (qy**2 + qx**2 > 0)
    response = gamma(aperture, ky, kx, qy[inside][None], qx[inside][None], torch.complex128)
    return sqrt(float((1 / (response.abs() ** 2 / share).sum(0)).sum()) / (dose_e_per_A2 * side_A**2))


def score(image: np.ndarray, made: Fitted, truth: np.ndarray, pitch_A: tuple[float, float], kmax_invA: float, margin_A: float = MARGIN_A) -> Score:
    """`image` (y, x) on `made`'s pixels against the periodic `truth` (Y, X), whose pixel (0, 0) is the first position, both up to `kmax_invA`.

    Compared in the scanned field less `margin_A` on each side, after mean and plane of both and a shift of up to `FARTHEST_A` of the image are taken
    out: constants and ramps of the phase and a common shift of probe and object change no pattern (ramps go with the probe's tilt).
    """
    y, x, rows, columns = _inside(made, margin_A)
    seen = _levelled(_low_passed(image, made.pitch_A, kmax_invA)[rows, columns])
    if not np.any(seen):
        raise InputError("a phase that is the same everywhere has no score")

    def there(shift: np.ndarray) -> np.ndarray:
        return _levelled(truth_at(truth, pitch_A, y + shift[0], x + shift[1], kmax_invA))

    def unlike(shift: np.ndarray) -> float:
        true = there(shift)
        return 1 - float((true * seen).sum() / sqrt((true**2).sum() * (seen**2).sum())) + 10 * max(0.0, float(np.abs(shift).max()) - FARTHEST_A)

    steps = np.arange(-3, 4) * COARSE_A
    begin = min(((a, b) for a in steps for b in steps), key=lambda s: unlike(np.array(s)))
    shift = minimize(unlike, np.array(begin), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7, "initial_simplex": _around(begin)}).x
    true = there(shift)
    rings = frc(torch.from_numpy(seen), torch.from_numpy(true), made.pitch_A)
    end = rings.last_A(0.5)
    return Score(
        slope=float((true * seen).sum() / (true**2).sum()), corr=1 - unlike(shift), rmse_rad=float(np.sqrt(((true - seen) ** 2).mean())),
        truth_rad=float(true.std()), cutoff_invA=min(kmax_invA, 1 / end) if end else 0.0, shift_A=(float(shift[0]), float(shift[1])),
    )


def positions_rms_A(made: Fitted, true_A: np.ndarray) -> tuple[float, float]:
    """(before, after): rms distance along an axis of nominal and of found positions from the true ones (n, 2), mean and affine part taken out of the
    difference, since a shift, a stretch and a turn of all positions are shared with the object."""
    pitch = np.array(made.pitch_A)
    around = true_A - true_A.mean(0)
    basis = np.column_stack([np.ones(len(around)), around])

    def left(found: np.ndarray) -> float:
        off = (found - made.nominal_px[0]) * pitch - true_A
        return float(np.sqrt(((off - basis @ np.linalg.lstsq(basis, off, rcond=None)[0]) ** 2).mean()))

    return left(made.nominal_px), left(made.positions_px)


def _inside(made: Fitted, margin_A: float) -> tuple[np.ndarray, np.ndarray, slice, slice]:
    """Coordinates from the first position, and the pixels, of the scanned field less a margin."""
    axes, kept = [], []
    for axis in (0, 1):
        at, pitch = made.nominal_px[:, axis], made.pitch_A[axis]
        first, last = int(np.ceil(at.min() + margin_A / pitch)), int(np.floor(at.max() - margin_A / pitch))
        if last - first < 8:
            raise InputError("the scanned field less its margin is too small to compare", got=f"{last - first} pixels")
        kept.append(slice(first, last + 1))
        axes.append((np.arange(first, last + 1) - at[0]) * pitch)
    return axes[0], axes[1], kept[0], kept[1]


def _low_passed(image: np.ndarray, pitch_A: tuple[float, float], kmax_invA: float) -> np.ndarray:
    ky, kx = (np.fft.fftfreq(n, p) for n, p in zip(image.shape, pitch_A, strict=True))
    return np.asarray(np.fft.ifft2(np.fft.fft2(image) * (ky[:, None] ** 2 + kx[None] ** 2 <= kmax_invA**2)).real)


def _levelled(image: np.ndarray) -> np.ndarray:
    y, x = (axis.ravel() for axis in np.indices(image.shape))
    plane = np.column_stack([np.ones(image.size), y, x])
    return np.asarray(image - (plane @ np.linalg.lstsq(plane, image.ravel(), rcond=None)[0]).reshape(image.shape))


def _around(at: tuple[float, float]) -> np.ndarray:
    return np.array([at, (at[0] + COARSE_A, at[1]), (at[0], at[1] + COARSE_A)])
