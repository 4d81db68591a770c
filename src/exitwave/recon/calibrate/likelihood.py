"""Aberrations and rotation by maximum likelihood under the weak-phase model, the specimen's spectrum eliminated."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.aberrations import cartesian
from exitwave.recon.calibrate.ramps import Candidate, Spectra
from exitwave.recon.direct.geometry import turn
from exitwave.recon.direct.overlap import Aperture, gamma

TERMS = ((1, 0), (1, 2))


@record
class LikelihoodFit:
    """Parameters (C10, C12a, C12b in A, rotation in rad), their covariance (4, 4), and the mean squared residual in units of counting noise.

    `explained` is the share of the spectra's power that the model takes.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    transpose: bool
    misfit: float
    explained: float


def fit_likelihood(s: Spectra, optics: Aperture, start: Candidate, steps: int = 12) -> LikelihoodFit:
    """Least squares of G(k, q) = i Phi(q) Gamma(k, q; parameters) over all pixels and frequencies, Phi(q) free (variable projection).

    Levenberg-Marquardt with Gamma differentiated by central differences. Noise is white (the disk is evenly lit), so this is maximum likelihood
    for weak specimens; the covariance uses the residual actually found, so it also holds part of the model's error.
    Golub & Pereyra, Inverse Problems 19 (2003) R1, doi 10.1088/0266-5611/19/2/201.
    """
    p = np.array([*start.c_A, start.rotation_rad])
    unit = natural_units(optics)
    damping = 1e-3
    model, residual = _project(s, optics, p, start.transpose)
    loss = float((residual.abs() ** 2).sum())
    normal = np.eye(4)
    for _ in range(steps):
        jacobian = _jacobian(s, optics, p, start.transpose, model, unit)
        normal = np.array([[float((a.conj() * b).sum().real) for b in jacobian] for a in jacobian])
        slope = np.array([float((a.conj() * residual).sum().real) for a in jacobian])
        improved = False
        for _ in range(6):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), slope)
            trial = p + step * unit
            new_model, new_residual = _project(s, optics, trial, start.transpose)
            new_loss = float((new_residual.abs() ** 2).sum())
            if new_loss < loss:
                gain, improved = (loss - new_loss) / loss, True
                p, model, residual, loss = trial, new_model, new_residual, new_loss
                damping = max(damping / 5, 1e-9)
                break
            damping *= 8
        if not improved or (gain < 1e-10 and np.abs(step).max() < 1e-4):
            break
    count = max(1, residual.numel() - residual.shape[1] - 4)
    variance = loss / count
    covariance = np.linalg.pinv(normal) * variance / 2 * np.outer(unit, unit)
    power = float((s.g.abs() ** 2).sum())
    return LikelihoodFit(
        parameters=p, covariance=covariance, transpose=start.transpose, misfit=variance / max(s.noise, 1e-300), explained=1 - loss / power
    )


def natural_units(optics: Aperture) -> np.ndarray:
    """A radian of phase at the aperture's edge for each coefficient, and 0.1 rad of rotation."""
    per = 1 / (np.pi * optics.beam.wavelength_A * optics.edge_invA**2)
    return np.array([per, per, per, 0.1])


def response(s: Spectra, optics: Aperture, p: np.ndarray, transpose: bool) -> Tensor:
    """i Gamma (m, n) at the parameters."""
    b = turn(torch.tensor(p[3], dtype=torch.float64), transpose)
    k = s.k_det @ b.T
    values = torch.tensor([[p[0], 0.0], [p[1], p[2]]], dtype=torch.float64)
    here = replace(optics, aberrations=cartesian(TERMS, values), axes_invA=s.pixel_invA * b.T)
    return 1j * gamma(here, k[:, :1], k[:, 1:], s.q[:, 0], s.q[:, 1], s.g.dtype)


def _project(s: Spectra, optics: Aperture, p: np.ndarray, transpose: bool) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((response, Phi), residual) with the best Phi(q) at these parameters."""
    r = response(s, optics, p, transpose)
    size = (r.real**2 + r.imag**2).sum(0)
    phi = (r.conj() * s.g).sum(0) / torch.clamp(size, min=1e-9 * float(size.max()))
    return (r, phi), s.g - phi * r


def _jacobian(s: Spectra, optics: Aperture, p: np.ndarray, transpose: bool, model: tuple[Tensor, Tensor], unit: np.ndarray) -> list[Tensor]:
    """d(model)/d(parameter / unit), without the part that Phi would take (Kaufman's approximation)."""
    r, phi = model
    size = torch.clamp((r.real**2 + r.imag**2).sum(0), min=1e-30)
    columns = []
    for i in range(len(p)):
        shift = np.zeros(len(p))
        shift[i] = 0.02 * unit[i]
        d = (response(s, optics, p + shift, transpose) - response(s, optics, p - shift, transpose)) / 0.04
        d = d - r * ((r.conj() * d).sum(0) / size)
        columns.append(phi * d)
    return columns
