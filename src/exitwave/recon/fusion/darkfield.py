"""The tilt-corrected dark field: wedge images moved onto each other, with transfer and noise of every frequency."""

from math import floor

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.fusion.scattering import Law, WedgeOptics, fitted_law, wedge_optics, wedge_transfers
from exitwave.recon.fusion.wedges import DarkCounts, Wedges


@record
class DarkField:
    """The tilt-corrected dark field, in its own mean.

    `canvas` (2, y, x): counts of the two halves, deposited, their sum the counts measured. `halves` (2, y, h) spectra (numpy's,
    unnormalised) of each half over its mean; `ctf` (y, h): what the spectrum of the atoms' relative density is multiplied by, zero beyond the
    scan's own band; `noise` (y, h): variance of a coefficient of the whole over the count of pixels. `counts` per position.
    """

    canvas: Tensor
    halves: Tensor
    ctf: Tensor
    noise: Tensor
    counts: float
    law: Law
    optics: WedgeOptics


def dark_field(counts: DarkCounts, w: Wedges, g: Geometry, upsample: int = 1, dispersion: float = 1.0, law: Law | None = None) -> DarkField:
    """Each wedge's image moved by its own mean ray shift and deposited on a grid `upsample` times finer.

    Raises:
        InputError: no electron reached the dark field.
    """
    per_half = counts.images.mean((2, 3), dtype=np.float64)  # (2, wedges)
    if not (per_half.sum(1) > 0).all():
        raise InputError("no electron reached the dark field", expected="counts outside the bright disk", got=0, remedy="use a bright-field method")
    law = fitted_law(g, w, counts.mean) if law is None else law
    optics = wedge_optics(g, w, law)
    qy, qx = scan_frequencies(g.scan, upsample)
    taps = [[axis_taps(float(s) / pitch, upsample) for s, pitch in zip(shift, g.scan.pitch_A, strict=True)] for shift in optics.shift_A]
    canvas = np.zeros((2, g.scan.shape[0] * upsample, g.scan.shape[1] * upsample))
    for half in (0, 1):
        for image, (along_y, along_x) in zip(counts.images[half], taps, strict=True):
            deposit(canvas[half], image, along_y, along_x, upsample)
    kernels = torch.stack([response(y, qy, g.scan.pitch_A[0] / upsample) * response(x, qx, g.scan.pitch_A[1] / upsample) for y, x in taps])
    per_wedge = torch.from_numpy(per_half.sum(0))
    total = float(per_wedge.sum())
    share = (per_wedge / total).to(torch.complex128)
    ctf = torch.einsum("w,wyh,wyh->yh", share, kernels, wedge_transfers(g, optics, qy, qx))
    held = (qy.abs() <= 0.5 / g.scan.pitch_A[0] * (1 + 1e-9)) & (qx.abs() <= 0.5 / g.scan.pitch_A[1] * (1 + 1e-9))
    scale = upsample**2 / torch.from_numpy(per_half.sum(1))
    each = torch.einsum("aw,wyh->ayh", torch.from_numpy(per_half), kernels.abs() ** 2) * (dispersion * upsample**2)
    noise = (each / torch.from_numpy(per_half.sum(1) ** 2)[:, None, None]).sum(0) / 4  # of the halves' mean
    image = torch.from_numpy(canvas)
    return DarkField(
        canvas=image, halves=torch.fft.rfft2(image) * scale[:, None, None], ctf=torch.where(held, ctf, torch.zeros_like(ctf)), noise=noise,
        counts=total, law=law, optics=optics,
    )


def axis_taps(shift_px: float, upsample: int) -> tuple[int, list[float]]:
    """(first, shares): how a scan pixel's box, moved by `shift_px` steps, lies over the fine pixels first, first + 1, ... along one axis.

    The box is one scan step wide and centred on its position; fine pixels are 1 / `upsample` steps wide; shares are overlapped lengths, sum 1.
    """
    low = (shift_px - 0.5) * upsample
    first = floor(low + 0.5)
    edges = np.arange(first, first + upsample + 2) - 0.5
    overlap = np.minimum(edges[1:], low + upsample) - np.maximum(edges[:-1], low)
    shares = np.clip(overlap, 0.0, None)
    return first, (shares / shares.sum()).tolist()


def deposit(canvas: np.ndarray, image: np.ndarray, along_y: tuple[int, list[float]], along_x: tuple[int, list[float]], upsample: int) -> None:
    """Add an image (Ry, Rx) to a canvas (Ry U, Rx U) by areas of overlap, periodic: what is added sums to what was counted."""
    rows = np.zeros((canvas.shape[0], image.shape[1]))
    for j, share in enumerate(along_y[1]):
        rows[(np.arange(image.shape[0]) * upsample + along_y[0] + j) % canvas.shape[0]] += share * image
    for j, share in enumerate(along_x[1]):
        canvas[:, (np.arange(image.shape[1]) * upsample + along_x[0] + j) % canvas.shape[1]] += share * rows


def response(taps: tuple[int, list[float]], q_invA: Tensor, pitch_A: float) -> Tensor:
    """The transform of a deposit along one axis."""
    first, shares = taps
    steps = torch.arange(first, first + len(shares), dtype=torch.float64) * pitch_A
    angle = -2 * torch.pi * q_invA[..., None] * steps
    return (torch.polar(torch.ones_like(angle), angle) * torch.tensor(shares, dtype=torch.complex128)).sum(-1)
