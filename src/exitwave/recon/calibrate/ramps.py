"""Rotation, handedness, defocus and astigmatism from the phase ramps of virtual images.

For a thin specimen G(k, q) over the detector carries exp(i grad chi(k).q), in the triple overlap and in both side bands alike, so the transform
of G over detector pixels peaks at rho(q) = N q with N = lambda B^T H, B the detector-to-scan turn and H = [[C10 - C12a, C12b], [C12b, C10 + C12a]] in
(y, x). No shift is ever measured between images, so a crystal's lattice cannot alias.
"""

from math import pi

import numpy as np
import torch
from scipy.linalg import polar
from scipy.optimize import minimize
from torch import Tensor

from exitwave.core import record


@record
class Spectra:
    """Scan transforms of bright pixels at chosen frequencies.

    `k_det` (m, 2) pixel frequencies in the detector frame and `q` (n, 2) scan frequencies, (y, x) in 1/A; `g` (m, n) complex spectra;
    `noise` is the expected |g|^2 of counting noise in one pixel; `grid` (m, 2) the pixels' (row, column).
    """

    k_det: Tensor
    q: Tensor
    g: Tensor
    noise: float
    grid: np.ndarray
    pixel_invA: float


@record
class Candidate:
    """One reading of the linear map: coefficients in A (C10, C12a, C12b), rotation in rad, handedness, and its share of explained power."""

    c_A: tuple[float, float, float]
    rotation_rad: float
    transpose: bool
    score: float


def find_maps(s: Spectra, wavelength_A: float, edge_invA: float, keep: int = 4) -> list[np.ndarray]:
    """The best few linear maps N (2, 2) in A^2: a coarse search over defocus and angle for both handednesses, each refined in all four
    elements. N takes q in 1/A to rho in A, both (y, x)."""
    power, spacing = _ramp_power(s)
    weight = _weights(s)
    steps = _coarse_steps(s, spacing, wavelength_A)
    found: list[tuple[float, np.ndarray]] = []
    for mirrored in (False, True):
        scores = _coarse(power, spacing, s.q.numpy(), weight, wavelength_A, steps, mirrored)
        for c10, angle in _peaks(scores, steps, keep):
            start = wavelength_A * c10 * _turn(angle, mirrored).T
            found.append(_refine(s, weight, start, wavelength_A, edge_invA))
    found.sort(key=lambda item: -item[0])
    return [n for _, n in _distinct(found, wavelength_A, edge_invA)][: 2 * keep]


def readings(n: np.ndarray, wavelength_A: float) -> list[Candidate]:
    """Optics that give the map N, one for each handedness: N = B^T (lambda H) by polar decomposition, and with the sign of one eigenvalue of H
    exchanged, the other handedness. The rotation is in (-90, 90] degrees: its twin has rotation + 180 degrees and H negated."""
    found = []
    _, p = polar(n, side="right")  # p symmetric positive
    values, vectors = np.linalg.eigh(p)
    for flip in (1.0, -1.0):
        h = vectors @ np.diag(values * [flip, 1.0]) @ vectors.T / wavelength_A
        b = (n @ np.linalg.inv(h * wavelength_A)).T
        transpose = bool(np.linalg.det(b) < 0)
        r = b[:, ::-1] if transpose else b
        rotation = float(np.arctan2(r[0, 1], r[0, 0]))
        if abs(rotation) > pi / 2:
            rotation -= np.sign(rotation) * pi
            h = -h
        c = (float(h[0, 0] + h[1, 1]) / 2, float(h[1, 1] - h[0, 0]) / 2, float(h[0, 1]))
        found.append(Candidate(c_A=c, rotation_rad=rotation, transpose=transpose, score=0.0))
    return found


def _turn(angle: float, mirrored: bool) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, s], [-s, c]])  # acts on (y, x)
    return matrix[:, ::-1] if mirrored else matrix


def _weights(s: Spectra) -> np.ndarray:
    """How far a frequency's power stands above noise, capped so that no few strong ones decide alone; normalised by its power."""
    power = (s.g.abs() ** 2).mean(0).numpy()
    return np.clip(power / max(s.noise, 1e-300) - 1, 0.0, 10.0) / (np.maximum(power, 1e-300) * len(s.k_det) ** 2)


def _ramp_power(s: Spectra) -> tuple[np.ndarray, float]:
    """|transform over detector pixels|^2 (n, L, L) at rho spaced 1 / (L pixel), and that spacing in A."""
    rows, columns = (s.grid - s.grid.min(0)).T
    size = int(max(rows.max(), columns.max())) + 1
    length = 1 << int(np.ceil(np.log2(2 * size)))
    out = np.empty((len(s.q), length, length), np.float32)
    g = s.g.to(torch.complex64).T  # (n, m)
    for start in range(0, len(s.q), 64):
        block = torch.zeros((min(64, len(s.q) - start), length, length), dtype=torch.complex64)
        block[:, rows, columns] = g[start : start + 64]
        out[start : start + 64] = (torch.fft.fft2(block).abs() ** 2).numpy()
    return out, 1 / (length * s.pixel_invA)


@record
class _Steps:
    c10: np.ndarray
    angle: np.ndarray


def _coarse_steps(s: Spectra, spacing: float, wavelength_A: float) -> _Steps:
    """Defocus up to a probe that fills the real-space window, in steps of one ramp sample at the outer frequencies used."""
    reach = float(torch.quantile(torch.linalg.norm(s.q, dim=1), 0.9))
    radius = float(torch.linalg.norm(s.k_det, dim=1).max())
    highest = 1.05 / (2 * s.pixel_invA) / (wavelength_A * radius)
    step = 0.8 * spacing / (wavelength_A * reach)
    c10 = np.arange(step / 2, max(highest, 4 * step), step)
    turn = min(0.1, 0.8 * spacing / (wavelength_A * highest * reach))
    return _Steps(c10=c10, angle=np.arange(0.0, 2 * pi, turn))


def _coarse(power: np.ndarray, spacing: float, q: np.ndarray, weight: np.ndarray, wavelength_A: float, steps: _Steps, mirrored: bool) -> np.ndarray:
    """Summed weighted power (angles, defoci) under N = lambda C10 B^T, nearest ramp sample."""
    length = power.shape[-1]
    order = np.argsort(-weight * power.max((1, 2)))[:250]
    scores = np.zeros((len(steps.angle), len(steps.c10)), np.float32)
    for j in order:
        direction = np.stack([_turn(a, mirrored).T @ q[j] for a in steps.angle]) * (wavelength_A / spacing)  # (angles, 2)
        y = np.rint(direction[:, :1] * steps.c10).astype(np.int64) % length
        x = np.rint(direction[:, 1:] * steps.c10).astype(np.int64) % length
        scores += weight[j] * power[j][y, x]
    return scores


def _peaks(scores: np.ndarray, steps: _Steps, keep: int) -> list[tuple[float, float]]:
    """The highest local maxima; angles wrap."""
    padded = np.pad(np.pad(scores, ((1, 1), (0, 0)), mode="wrap"), ((0, 0), (1, 1)), constant_values=-1)
    neighbours = [
        padded[1 + a : 1 + a + scores.shape[0], 1 + c : 1 + c + scores.shape[1]] for a in (-1, 0, 1) for c in (-1, 0, 1) if (a, c) != (0, 0)
    ]
    highest = np.flatnonzero((scores >= np.max(neighbours, axis=0)).ravel())
    highest = highest[np.argsort(-scores.ravel()[highest])][:keep]
    return [(float(steps.c10[i % scores.shape[1]]), float(steps.angle[i // scores.shape[1]])) for i in highest]


def _refine(s: Spectra, weight: np.ndarray, start: np.ndarray, wavelength_A: float, edge_invA: float) -> tuple[float, np.ndarray]:
    """Climb the summed power in all four elements of N, low frequencies first so that astigmatism cannot throw the start off the peak."""
    unit = 1 / edge_invA**2  # one ramp resolution at the aperture's edge
    radius = torch.linalg.norm(s.q, dim=1)
    n = start / unit
    score = 0.0
    for share in (0.35, 0.7, 1.0):
        pick = torch.nonzero(radius <= torch.quantile(radius, share)).reshape(-1)
        q, g, w = s.q[pick], s.g[:, pick].to(torch.complex128), torch.from_numpy(weight)[pick]

        def loss(flat: np.ndarray, q: Tensor = q, g: Tensor = g, w: Tensor = w) -> tuple[float, np.ndarray]:
            m = torch.tensor(flat.reshape(2, 2) * unit, dtype=torch.float64, requires_grad=True)
            phase = -2 * pi * s.k_det @ (m @ q.T)  # (m, n)
            explained = (w * (g * torch.polar(torch.ones_like(phase), phase)).sum(0).abs() ** 2).sum() / w.sum()
            (slope,) = torch.autograd.grad(explained, m)
            return -float(explained.detach()), -slope.numpy().ravel() * unit

        best = minimize(loss, n.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 30})
        n, score = best.x.reshape(2, 2), -float(best.fun)
    return score, n * unit


def _distinct(found: list[tuple[float, np.ndarray]], wavelength_A: float, edge_invA: float) -> list[tuple[float, np.ndarray]]:
    kept: list[tuple[float, np.ndarray]] = []
    for score, n in found:
        if all(np.abs(n - other).max() * edge_invA**2 > 0.02 for _, other in kept):
            kept.append((score, n))
    return kept
