"""Which aberrations a scan can tell, and their values: candidates fitted together, those that do not stand out taken away."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.aberrations import cartesian
from exitwave.recon.calibrate.likelihood import LikelihoodFit, missed_share
from exitwave.recon.calibrate.ramps import Spectra
from exitwave.recon.calibrate.refine import EXTRAS, LOOSE, Layout, Problem, descend, fit_problem, powers, responses_of, sampled, weights_at
from exitwave.recon.calibrate.uncertainty import Fit, given_zero, standard_errors
from exitwave.recon.direct.overlap import Aperture

STANDARD_ERRORS = 4.0  # how far from zero a candidate must lie: with five groups, one false find in some thousands of scans
LEAST_RAD = 0.1  # of phase at the aperture's edge: less changes no image, and what a weak, thin model misses looks like that much
LEAST_RAD = 0.1  # of phase at the aperture's edge: less changes no image, and what a weak, thin model misses looks like that much


@record
class Refined:
    """Parameters in physical units (A, rad, px, parts of one) in the order of `names`, and their covariance.

    `strength` is each candidate's distance from zero in standard errors when it was kept or dropped, `phase_rad` the size of its phase at the
    aperture's edge then; `misfit` the mean squared residual in units of counting noise, `model_error` the share of signal that is not explained.
    """

    layout: Layout
    parameters: np.ndarray
    covariance: np.ndarray
    strength: dict[str, float]
    phase_rad: dict[str, float]
    misfit: float
    model_error: float

    @property
    def higher(self) -> bool:
        """Whether anything beyond C10, C12 and the rotation was kept."""
        return len(self.layout.terms) > 2 or bool(self.layout.extras)


def refine(s: Spectra, optics: Aperture, start: LikelihoodFit, layout: Layout, *, wanted: tuple[str, ...] = (), centre_px: float = LOOSE) -> Refined:
    """The most likely values of a layout's parameters, candidates that are not significant left out.

    `start` is the blind fit (C10, C12, rotation, handedness). Frequencies of the inner half come first: there the phase depends on grad chi alone, so
    several radians of coma or spherical aberration do not lead astray. A candidate stays where its Wald statistic exceeds 16 (four standard
    errors) and the Bayesian information criterion, its elements x log(frequencies); those in `wanted` stay whatever they are.
    `centre_px` is how well the disk's centre is known, a prior where the centre is free.
    """
    s = sampled(s)
    p = _problem(s, optics, start, layout, centre_px)
    x = np.zeros(len(layout.names))
    x[:4] = start.parameters / layout.units(optics)[[0, 1, 2, layout.members("rotation")[0]]]
    x[layout.members("rotation")], x[3 : layout.members("rotation")[0]] = start.parameters[3] / 0.1, 0.0
    share = start.model_error
    radius = torch.linalg.norm(s.q, dim=1)
    for inner in (0.4, 0.7, 1.0) if len(layout.terms) > 2 else (1.0,):
        pick = torch.nonzero(radius <= torch.quantile(radius, inner)).reshape(-1)
        here = replace(p, s=replace(s, q=s.q[pick], g=s.g[:, pick].contiguous()))
        here = replace(here, weight=weights_at(here.s, _response(here, x), share))
        x = descend(here, x, close=1.0)
        share = _share(here, x)
    fit = fit_problem(here, x)
    strength: dict[str, float] = {}
    phase: dict[str, float] = {}
    for _ in range(2):
        kept, start_x, weak = _significant(fit, here.layout, wanted, strength, phase)
        if not weak:
            break
        here = replace(here, layout=kept, width=_widths(kept, centre_px))
        here = replace(here, weight=weights_at(here.s, _response(here, start_x), share))
        fit = fit_problem(here, start_x)
    units = here.layout.units(optics)
    return Refined(
        layout=here.layout,
        parameters=fit.x * units,
        covariance=fit.covariance * np.outer(units, units),
        strength=strength,
        phase_rad=phase,
        misfit=_misfit(here, fit.x),
        model_error=_share(here, fit.x),
    )


def _problem(s: Spectra, optics: Aperture, start: LikelihoodFit, layout: Layout, centre_px: float) -> Problem:
    plain = replace(optics, aberrations=cartesian((), torch.zeros(0, 2, dtype=torch.float64)))
    ones = torch.ones(len(s.q), dtype=torch.float64)
    return Problem(s=s, optics=plain, transpose=start.transpose, layout=layout, weight=ones, width=_widths(layout, centre_px))


def _widths(layout: Layout, centre_px: float) -> np.ndarray:
    """C10, C12 and the rotation are free; the rest is held loosely."""
    wide = {"C10": 1e3 * LOOSE, "C12": 1e3 * LOOSE, "rotation": 1e3 * LOOSE, "centre": centre_px}
    return np.array([wide.get(name, LOOSE) for name in layout.names])


def _significant(
    fit: Fit, layout: Layout, wanted: tuple[str, ...], strength: dict[str, float], phase: dict[str, float]
) -> tuple[Layout, np.ndarray, bool]:
    """(layout, its parameters, whether anything went) after taking away the weakest candidate until all stand out.

    A candidate stands out by its distance from zero and by its size, whichever is less.
    """
    gone: set[str] = set()
    free = [name for name in dict.fromkeys(layout.names) if name not in ("C10", "C12", "rotation", *wanted)]
    while True:
        scores = {}
        for name in free:
            i = layout.members(name)
            strength[name], phase[name] = standard_errors(fit, i), float(np.linalg.norm(fit.x[i]))
            large = 1.0 if name in EXTRAS else phase[name] / LEAST_RAD
            scores[name] = min(strength[name] / STANDARD_ERRORS, large)
        weakest = min(scores, key=lambda name: scores[name], default="")
        if not weakest or scores[weakest] >= 1:
            break
        fit = given_zero(fit, layout.members(weakest))
        free.remove(weakest)
        gone.add(weakest)
    stays = [i for i, name in enumerate(layout.names) if name not in gone]
    return layout.without(gone), fit.x[stays], bool(gone)


def _response(p: Problem, x: np.ndarray) -> Tensor:
    with torch.no_grad():
        return responses_of(p, torch.from_numpy(x))


def _share(p: Problem, x: np.ndarray) -> float:
    return missed_share(*(v.to(torch.float64) for v in powers(p, x)))


def _misfit(p: Problem, x: np.ndarray) -> float:
    m = len(p.s.k_det)
    return float(powers(p, x)[1].mean()) * m / max(1, m - 2)
