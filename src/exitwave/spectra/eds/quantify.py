"""Composition and mass thickness from counts of lines: zeta factors, Cliff-Lorimer, cross sections, one solver with its covariance."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from exitwave.core import record
from exitwave.core.errors import CalibrationError, InputError
from exitwave.core.threads import together_on
from exitwave.matter.xrays import EdsDetector, path_factor
from exitwave.spectra.eds.factors import Factors
from exitwave.spectra.eds.lines import LineSet

MAC_SIGMA = 0.05  # relative, of an absorption coefficient away from edges; soft lines are worse
STATUS = ("quantified", "no counts", "more counts than an infinitely thick specimen sends")


@record
class View:
    """How photons leave: path factors (..., q) over depth, relative weights (q,) of the detectors, d ln path / d elevation (q,) per radian."""

    paths: np.ndarray
    weights: np.ndarray
    change_per_rad: np.ndarray


@record
class Uncertain:
    """A value for all pixels, or one each (...), and its relative standard uncertainty, which all pixels share."""

    value: float | np.ndarray
    relative_sigma: float = 0.0


@record
class Shared:
    """What is uncertain for every pixel at once: the absorption coefficients (relative, each on its own) and the take-off angle."""

    mac_relative: float = MAC_SIGMA
    angle_mrad: float = 0.0


@record
class Composition:
    """What n elements there are in each pixel (...).

    `mass_kg_m2` (..., n), `total_kg_m2` (...), `weight` and `atomic` fractions (..., n). Covariances: of the masses from counts and from what all
    pixels share, `*_counts` and `*_shared` (..., n, n) each; averaging pixels reduces the first and never the second. `status` (...) indexes
    STATUS; pixels that could not be quantified are NaN.
    """

    elements: tuple[str, ...]
    mass_kg_m2: np.ndarray
    mass_counts: np.ndarray
    mass_shared: np.ndarray
    weight: np.ndarray
    atomic: np.ndarray
    atomic_counts: np.ndarray
    atomic_shared: np.ndarray
    status: np.ndarray

    @property
    def total_kg_m2(self) -> np.ndarray:
        """Mass thickness."""
        return np.asarray(self.mass_kg_m2.sum(-1))

    @property
    def total_sigma(self) -> np.ndarray:
        """Standard uncertainty of the mass thickness, counts and shared."""
        return np.asarray(np.sqrt((self.mass_counts + self.mass_shared).sum((-1, -2))))

    @property
    def atomic_sigma(self) -> np.ndarray:
        """Standard uncertainty (..., n) of the atomic fractions, counts and shared."""
        return np.sqrt(np.diagonal(self.atomic_counts + self.atomic_shared, axis1=-2, axis2=-1))


def view_of(detectors: Sequence[EdsDetector], slope: np.ndarray | tuple[float, float] = (0.0, 0.0),
            weights: Sequence[float] | None = None) -> View:
    """The geometry of detectors over a surface of that `slope` (..., 2) along (y, x), one for all pixels or one each.

    Detectors weigh as their solid angles, or as `weights` (live time times solid angle, say).

    Raises:
        InputError: no detector, or a surface that shadows one.
    """
    if not detectors:
        raise InputError("no detector", remedy="give an elevation, or leave absorption out")
    slopes = np.asarray(slope, float)
    paths = np.stack([path_factor(detector, slopes) for detector in detectors], axis=-1)
    share = np.array([d.solid_angle_sr for d in detectors] if weights is None else weights, float)
    if share.shape != (len(detectors),) or not np.all(share >= 0) or not share.sum() > 0:
        raise InputError("every detector weighs as much as it sees", expected=f"{len(detectors)} numbers, not all zero", got=share.tolist())
    tilt, mean = 1e-4, slopes.reshape(-1, 2).mean(0)
    raised = [EdsDetector(elevation_deg=min(90.0, d.elevation_deg + np.degrees(tilt)), azimuth_deg=d.azimuth_deg) for d in detectors]
    change = [float(np.log(path_factor(up, mean) / path_factor(d, mean)) / tilt) for up, d in zip(raised, detectors, strict=True)]
    return _merged(View(paths=paths, weights=share / share.sum(), change_per_rad=np.array(change)))


def _merged(view: View) -> View:
    """Detectors that see the same way out count as one."""
    if view.paths.ndim > 1:
        return view
    _, first, which = np.unique(np.round(np.stack([view.paths, view.change_per_rad]), 12), axis=1, return_index=True, return_inverse=True)
    weights = np.bincount(which.ravel(), view.weights)
    return View(paths=view.paths[first], weights=weights, change_per_rad=view.change_per_rad[first])


def quantify_zeta(counts: np.ndarray, variance: np.ndarray, lines: LineSet, factors: Factors, dose_e: Uncertain | None, view: View | None,
                  shared: Shared | None = None) -> Composition:
    """zeta-factor (or cross-section) quantification: composition and mass thickness from counts (..., n) and the electrons that made them.

    `variance` (..., n), or the covariance (..., n, n) that a fit gives where lines overlap. `dose_e` is electrons per pixel. Without `view` nothing
    is absorbed. Watanabe & Williams, J. Microsc. 221 (2006) 89.

    Raises:
        CalibrationError: no dose, or factors that are only ratios.
        InputError: shapes that do not fit, a dose that is not positive.
    """
    if dose_e is None:
        raise CalibrationError("zeta factors need the electrons per pixel", remedy="give a dose, or beam current and live time; without it "
                               "Cliff-Lorimer gives the composition where nothing is absorbed, or where thickness and density are known")
    if not factors.absolute:
        raise CalibrationError("k factors are ratios: they give no mass",
                               remedy="take cliff-lorimer, or zeta factors from a standard of known thickness")
    dose = np.asarray(dose_e.value, float)
    if not np.all(dose > 0):
        raise InputError("the dose is a positive number of electrons per pixel", got=float(dose.min()))
    return _solved(counts, variance, lines, factors, view, shared or Shared(), scale=np.asarray(1 / dose), total=np.zeros(1),
                   relative=dose_e.relative_sigma)


def quantify_cliff_lorimer(counts: np.ndarray, variance: np.ndarray, lines: LineSet, factors: Factors, mass_thickness_kg_m2: Uncertain | None,
                           view: View | None, shared: Shared | None = None) -> Composition:
    """Cliff-Lorimer: composition from ratios of counts. Absorption needs the mass thickness (thickness times the compound's own density).

    Without a mass thickness nothing is corrected and `mass_kg_m2` adds up to 1. Cliff & Lorimer, J. Microsc. 103 (1975) 203.

    Raises:
        CalibrationError: a view without a mass thickness.
        InputError: as `quantify_zeta`.
    """
    if view is not None and mass_thickness_kg_m2 is None:
        raise CalibrationError("absorption needs the mass thickness", remedy="give thickness and density of the compound, leave absorption out, "
                               "or take zeta, which finds it from the dose")
    known = mass_thickness_kg_m2 or Uncertain(value=1.0)
    total = np.asarray(known.value, float)
    if not np.all(total > 0):
        raise InputError("a mass thickness is positive", got=float(total.min()))
    return _solved(counts, variance, lines, factors, view, shared or Shared(), scale=np.ones(1), total=total, relative=known.relative_sigma)


def _solved(counts: np.ndarray, variance: np.ndarray, lines: LineSet, factors: Factors, view: View | None, shared: Shared, *, scale: np.ndarray,
            total: np.ndarray, relative: float) -> Composition:
    from exitwave.spectra.eds import _newton

    n, ahead, flat, alone, together = _checked(counts, variance, lines, factors)
    used = view or View(paths=np.ones(1), weights=np.ones(1), change_per_rad=np.zeros(1))
    mac = lines.mac_m2_kg if view is not None else np.zeros((n, n))
    paths = _rows(used.paths, ahead, len(used.weights), "path factors")
    pixels = len(flat)
    out = np.empty((pixels, n)), np.empty((pixels, n, n)), np.empty((pixels, n, n)), np.empty(pixels, np.int8)
    work = partial(
        _newton.quantify, counts=flat, variance=alone, covariance=together,
        scale=_each(scale, ahead, "dose"), total=_each(total, ahead, "thickness"),
        rel_scale=float(relative), rel_total=float(relative),
        z=np.ascontiguousarray(factors.zeta, float), z_cov=np.ascontiguousarray(factors.covariance),
        mu=np.ascontiguousarray(mac), mu_rel=float(shared.mac_relative), paths=paths,
        path_rel=used.change_per_rad * 1e-3 * shared.angle_mrad, weight=used.weights, out_m=out[0], out_count=out[1], out_shared=out[2],
        out_status=out[3],
    )
    together_on(pixels, lambda first, last: work(first, last))
    mass, from_counts, common, status = out
    return fractions(lines, mass.reshape(*ahead, n), from_counts.reshape(*ahead, n, n), common.reshape(*ahead, n, n), status.reshape(ahead))


def fractions(lines: LineSet, mass: np.ndarray, counts: np.ndarray, shared: np.ndarray, status: np.ndarray) -> Composition:
    """Weight and atomic fractions with their covariance, by the delta method."""
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = mass / mass.sum(-1, keepdims=True)
        moles = mass / lines.weights_g_mol
        held = moles.sum(-1, keepdims=True)
        atomic = moles / held
    n = len(lines.elements)
    turn = (np.eye(n) - atomic[..., :, None]) / (lines.weights_g_mol * held)[..., None, :]  # d atomic_i / d mass_j
    back = np.swapaxes(turn, -1, -2)
    return Composition(elements=lines.elements, mass_kg_m2=mass, mass_counts=counts, mass_shared=shared, weight=weight, atomic=atomic,
                       atomic_counts=turn @ counts @ back, atomic_shared=turn @ shared @ back, status=status)


def averaged(found: Composition, lines: LineSet) -> Composition:
    """The mean over all pixels that were quantified, mass by mass: what the specimen holds where it is not equally thick.

    Errors of counts average out. What pixels share is taken to move all of them alike, which is exact where they are alike and else too careful.
    """
    n = len(lines.elements)
    good = found.status.reshape(-1) == 0
    mass, counts, shared = (values.reshape(-1, *values.shape[found.status.ndim :])[good] for values in (found.mass_kg_m2, found.mass_counts,
                                                                                                   found.mass_shared))
    if not good.any():
        return fractions(lines, np.full(n, np.nan), np.full((n, n), np.nan), np.full((n, n), np.nan), np.asarray(1, np.int8))
    return fractions(lines, mass.mean(0), counts.sum(0) / len(counts) ** 2, shared.mean(0), np.asarray(0, np.int8))


def _checked(counts: np.ndarray, variance: np.ndarray, lines: LineSet,
             factors: Factors) -> tuple[int, tuple[int, ...], np.ndarray, np.ndarray, np.ndarray]:
    n = len(lines.lines)
    if factors.lines != lines.names:
        raise InputError("factors belong to other lines", expected=", ".join(lines.names), got=", ".join(factors.lines))
    if counts.ndim < 1 or counts.shape[-1] != n:
        raise InputError("counts have one column a line", expected=f"(..., {n})", got=counts.shape)
    ahead = counts.shape[:-1]
    if variance.shape not in (counts.shape, (*counts.shape, n)):
        raise InputError("variances have the shape of the counts, covariances one axis more", expected=counts.shape, got=variance.shape)
    flat = np.ascontiguousarray(counts.reshape(-1, n), float)
    alone = np.ascontiguousarray(variance.reshape(-1, n), float) if variance.shape == counts.shape else np.zeros((0, n))
    together = np.ascontiguousarray(variance.reshape(-1, n, n), float) if variance.shape != counts.shape else np.zeros((0, n, n))
    return n, ahead, flat, alone, together


def _each(values: np.ndarray, ahead: tuple[int, ...], what: str) -> np.ndarray:
    if values.size != 1 and values.shape != ahead:
        raise InputError(f"{what}: one for all pixels or one each", expected=ahead, got=values.shape)
    return np.ascontiguousarray(values.reshape(-1), float)


def _rows(values: np.ndarray, ahead: tuple[int, ...], q: int, what: str) -> np.ndarray:
    if values.shape not in ((q,), (*ahead, q)):
        raise InputError(f"{what}: one for all pixels or one each", expected=(*ahead, q), got=values.shape)
    return np.ascontiguousarray(values.reshape(-1, q), float)
