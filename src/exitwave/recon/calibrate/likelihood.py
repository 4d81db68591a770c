"""Aberrations and rotation by maximum likelihood under the weak-object model, the specimen's phase and amplitude eliminated."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.aberrations import cartesian
from exitwave.recon.calibrate.ramps import Candidate, Spectra
from exitwave.recon.direct.geometry import turn
from exitwave.recon.direct.overlap import Aperture, overlaps

TERMS = ((1, 0), (1, 2))


@record
class LikelihoodFit:
    """Parameters (C10, C12a, C12b in A, rotation in rad), their covariance (4, 4), and the mean squared residual in units of counting noise.

    `explained` is the share of the (tempered) power that the model takes, `power` that power in units of the residual's variance: their product
    is the log-likelihood gained over no model at all. `model_error` is the share of a frequency's signal power that the weak-object model misses.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    transpose: bool
    misfit: float
    explained: float
    power: float
    model_error: float


def fit_likelihood(s: Spectra, optics: Aperture, start: Candidate, steps: int = 12, model_error: float = 1.0) -> LikelihoodFit:
    """Least squares of G(k, q) = i Phi(q) Gamma_-(k, q) + A(q) Gamma_+(k, q) over all pixels and frequencies, Phi(q) and A(q) free.

    Phi and A are the spectra of phase and log-amplitude; A also takes what a strong phase scatters out of the disk, which would otherwise pull on
    the defocus. Variable projection by Levenberg-Marquardt, the responses differentiated by central differences (Golub & Pereyra, Inverse
    Problems 19 (2003) R1, doi 10.1088/0266-5611/19/2/201).
    Counting noise is white (the disk is evenly lit); what the model leaves out of a strong specimen grows with its signal, so each frequency's
    variance is taken as noise + model_error * signal, and no few strong frequencies outvote the rest. At 0 this is maximum likelihood under
    counting noise. The covariance is the larger of the one expected from the mean residual and the one found from the scatter of the
    frequencies' own slopes (White, Econometrica 48 (1980) 817, doi 10.2307/1912934).
    """
    weight = tempering(s, model_error)
    s = replace(s, g=s.g * torch.sqrt(weight))
    p = np.array([*start.c_A, start.rotation_rad])
    unit = natural_units(optics)
    damping = 1e-3
    model, residual = _project(s, optics, p, start.transpose)
    loss = float((residual.abs() ** 2).sum())
    for _ in range(steps):
        normal, slopes = _normal(s, optics, p, start.transpose, model, residual, unit)
        slope = slopes.sum(1)
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
    count = max(1, residual.numel() - 2 * residual.shape[1] - 4)
    variance = loss / count
    normal, slopes = _normal(s, optics, p, start.transpose, model, residual, unit)
    power = float((s.g.abs() ** 2).sum())
    return LikelihoodFit(
        parameters=p,
        covariance=_covariance(normal, slopes, variance) * np.outer(unit, unit),
        transpose=start.transpose,
        misfit=float((residual.abs() ** 2 / weight).sum()) / count / max(s.noise, 1e-300),
        explained=1 - loss / power,
        power=power / variance,
        model_error=missed_share((combined(*model).abs() ** 2 / weight).mean(0) / s.noise, (residual.abs() ** 2 / weight).mean(0) / s.noise),
    )


def tempering(s: Spectra, model_error: float) -> Tensor:
    """Weight of each frequency (n,): noise over noise + model_error * signal."""
    excess = torch.clamp((s.g.abs() ** 2).mean(0) / s.noise - 1, min=0)
    return 1 / (1 + model_error * excess)


def missed_share(signal: Tensor, residual: Tensor) -> float:
    """Slope of residual over signal power, both (n,) in units of noise: what grows with the signal is not noise."""
    weight = 1 / (1 + signal)
    columns = torch.stack([weight, weight * signal], 1)
    slope = torch.linalg.lstsq(columns, (weight * residual)[:, None], driver="gelsd").solution[1]
    return min(1.0, max(0.0, float(slope)))


def natural_units(optics: Aperture) -> np.ndarray:
    """A radian of phase at the aperture's edge for each coefficient, and 0.1 rad of rotation."""
    per = 1 / (np.pi * optics.beam.wavelength_A * optics.edge_invA**2)
    return np.array([per, per, per, 0.1])


def responses(s: Spectra, optics: Aperture, p: np.ndarray, transpose: bool) -> Tensor:
    """What phase and log-amplitude of the specimen do to the spectra, i (t_- - t_+) and t_- + t_+, (2, m, n), at the parameters."""
    b = turn(torch.tensor(p[3], dtype=torch.float64), transpose)
    k = s.k_det @ b.T
    values = torch.tensor([[p[0], 0.0], [p[1], p[2]]], dtype=torch.float64)
    here = replace(optics, aberrations=cartesian(TERMS, values), axes_invA=s.pixel_invA * b.T)
    minus, plus = overlaps(here, k[:, :1], k[:, 1:], s.q[:, 0], s.q[:, 1], s.g.dtype)
    return torch.stack([1j * (minus - plus), minus + plus])


def _project(s: Spectra, optics: Aperture, p: np.ndarray, transpose: bool) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((responses, (Phi, A) (2, n)), residual) with the best specimen at these parameters."""
    r = responses(s, optics, p, transpose)
    specimen = best_specimen(r, s.g)
    return (r, specimen), s.g - combined(r, specimen)


def combined(r: Tensor, specimen: Tensor) -> Tensor:
    """The spectra (m, n) that responses (2, m, n) and a specimen (2, n) give."""
    return r[0] * specimen[0] + r[1] * specimen[1]


def best_specimen(r: Tensor, g: Tensor) -> Tensor:
    """Least squares of the two responses to `g` (m, n) at each frequency, (2, n). A whisper of damping where they cannot be told apart."""
    phase, amplitude = r
    p, a = ((x.real**2 + x.imag**2).sum(0) for x in r)
    cross = (phase.conj() * amplitude).sum(0)
    on_p, on_a = (phase.conj() * g).sum(0), (amplitude.conj() * g).sum(0)
    floor = 1e-6 * (p + a + 1e-3 * (p + a).max())
    p, a = p + floor, a + floor
    determinant = p * a - (cross.real**2 + cross.imag**2)
    return torch.stack([a * on_p - cross * on_a, p * on_a - cross.conj() * on_p]) / determinant


def _normal(
    s: Spectra, optics: Aperture, p: np.ndarray, transpose: bool, model: tuple[Tensor, Tensor], residual: Tensor, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The normal matrix (4, 4) and every frequency's slope (4, n)."""
    jacobian = _jacobian(s, optics, p, transpose, model, unit)
    normal = np.array([[float((a.conj() * b).sum().real) for b in jacobian] for a in jacobian])
    return normal, np.stack([(a.conj() * residual).real.sum(0).numpy() for a in jacobian])


def _covariance(normal: np.ndarray, slopes: np.ndarray, variance: float) -> np.ndarray:
    inverse = np.linalg.pinv(normal)
    expected = inverse * variance / 2
    n = slopes.shape[1]
    found = inverse @ (slopes @ slopes.T) @ inverse * n / max(1, n - 4)
    return found if np.trace(found) > np.trace(expected) else expected


def _jacobian(s: Spectra, optics: Aperture, p: np.ndarray, transpose: bool, model: tuple[Tensor, Tensor], unit: np.ndarray) -> list[Tensor]:
    """d(model)/d(parameter / unit), without the part that the specimen would take (Kaufman's approximation)."""
    r, specimen = model
    columns = []
    for i in range(len(p)):
        shift = np.zeros(len(p))
        shift[i] = 0.02 * unit[i]
        d = combined((responses(s, optics, p + shift, transpose) - responses(s, optics, p - shift, transpose)) / 0.04, specimen)
        columns.append(d - combined(r, best_specimen(r, d)))
    return columns
