"""Shifts of virtual images, measured one pixel patch at a time: the picture that shows whether the fitted optics are right."""

from math import pi

import numpy as np
import torch

from exitwave.core import record
from exitwave.recon.calibrate.ramps import Spectra
from exitwave.recon.direct.geometry import turn


@record
class ShiftPicture:
    """Shifts in A (y, x) in the scan frame of virtual images at detector frequencies `k_det` (m, 2) in 1/A, relative to the disk's middle."""

    k_det: np.ndarray
    measured_A: np.ndarray
    fitted_A: np.ndarray


def shift_picture(s: Spectra, parameters: np.ndarray, transpose: bool, wavelength_A: float, patches: int = 9) -> ShiftPicture:
    """Shifts of patches of pixels against the aligned mean image, beside lambda H B k of the fit.

    Each patch's image is compared with the mean of all images after the fitted shifts are undone; the remaining shift is the weighted slope
    of the phase difference over scan frequency, so `measured` differs from `fitted` by what the fit does not explain.
    """
    c10, c12a, c12b, rotation = parameters
    h = torch.tensor([[c10 - c12a, c12b], [c12b, c10 + c12a]], dtype=torch.float64) * wavelength_A
    b = turn(torch.tensor(rotation, dtype=torch.float64), transpose)
    shift = s.k_det @ b.T @ h  # (m, 2)
    phase = -2 * pi * shift @ s.q.T
    aligned = s.g * torch.polar(torch.ones_like(phase), phase)  # (m, n)
    mean = aligned.mean(0)
    radius = float(torch.linalg.norm(s.k_det, dim=1).max())
    cell = torch.floor((s.k_det / radius + 1) * patches / 2).to(torch.int64)
    label = cell[:, 0] * (patches + 1) + cell[:, 1]
    rows = []
    for value in torch.unique(label):
        members = label == value
        if int(members.sum()) < 3:
            continue
        cross = aligned[members].mean(0) * mean.conj()  # (n,)
        weight = cross.abs()
        normal = (s.q * weight[:, None]).T @ s.q
        residual = torch.linalg.lstsq(normal, (s.q * weight[:, None]).T @ torch.angle(cross)).solution / (2 * pi)
        rows.append((s.k_det[members].mean(0), shift[members].mean(0), residual))
    k, fitted, extra = (torch.stack([row[i] for row in rows]).numpy() for i in (0, 1, 2))
    return ShiftPicture(k_det=k, measured_A=fitted + extra, fitted_A=fitted)
