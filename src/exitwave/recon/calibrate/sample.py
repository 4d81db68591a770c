"""Choosing the scan frequencies that say most about the optics, and gathering their spectra over the bright pixels."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from exitwave.core.errors import CalibrationError
from exitwave.data import FrameSource
from exitwave.recon.calibrate.ramps import Spectra
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.stack import Progress, VirtualStack, ignore, spectra, virtual_stacks


def sample_spectra(
    frames: FrameSource,
    g: Geometry,
    dispersion: float,
    *,
    count: int = 120,
    least: float = 0.99,
    memory_bytes: int = 2**30,
    progress: Progress = ignore,
) -> Spectra:
    """Spectra of the bright pixels at the `count` frequencies of each ring in turn that stand highest above counting noise.

    Pixels that the aperture's edge cuts (under `least` of the plateau) are left out: their lit part is not centred, which would bend the ramp.
    Frequencies under 1.5 / field (drift, dose) and those beyond twice the aperture are left out.

    Raises:
        CalibrationError: nothing stands above the noise.
    """
    pixels = torch.nonzero(g.bright(least)).reshape(-1).numpy()
    qy, qx = scan_frequencies(g.scan)
    power = torch.zeros((qy.shape[0], qx.shape[1]))
    total = 0.0
    for stack in virtual_stacks(frames, pixels, memory_bytes, progress):
        total += float(stack.images.mean((1, 2), dtype=np.float64).sum())
        for block in _spectra_of(stack):
            power += (block.abs() ** 2).sum(0)
    noise = total / len(pixels) * g.scan.shape[0] * g.scan.shape[1] * dispersion
    q2 = qy**2 + qx**2
    field = min(g.scan.extent_A)
    usable = (q2 > (1.5 / field) ** 2) & (q2 < (2 * g.edge_invA) ** 2)
    usable[:, 0] &= qy[:, 0] > 0  # the other half of this column is the conjugate
    excess = power / len(pixels) / noise - 1
    score = torch.where(usable, excess * len(pixels) ** 0.5, torch.zeros_like(q2))  # in standard deviations of a mean over pixels
    clear = int((score > 4).sum())
    if clear < 2:
        raise CalibrationError(
            "no scan frequency stands above the noise, so neither rotation nor defocus can be measured",
            got=f"{clear} of {int(usable.sum())} frequencies",
            remedy="give --rotation-deg and --aberration C10_A=..., or scan longer",
        )
    chosen = _strongest_of_each_ring(score.reshape(-1), torch.sqrt(q2).reshape(-1) / (2 * g.edge_invA), count)
    flat = chosen.numpy()
    parts = []
    for stack in virtual_stacks(frames, pixels, memory_bytes, progress):  # read again rather than kept: a large scan needs several passes anyway
        parts += [block.reshape(-1, power.numel())[:, flat] for block in _spectra_of(stack)]
    width = power.shape[1]
    q = torch.stack([qy.reshape(-1)[chosen // width], qx.reshape(-1)[chosen % width]], -1)
    side = g.pixel_invA[0]
    inverse = torch.linalg.inv(g.axes_invA.T / side)
    order = torch.from_numpy(pixels)
    return Spectra(
        k_det=g.k_invA[order] @ inverse.T,
        q=q,
        g=torch.cat(parts),
        noise=noise,
        grid=np.stack(np.unravel_index(pixels, g.frame), -1),
        pixel_invA=side,
    )


def _strongest_of_each_ring(score: Tensor, radius: Tensor, count: int, rings: int = 10, least: float = 2.0) -> Tensor:
    """Flat indices of up to `count` frequencies that stand at least `least` above noise, the strongest of each ring in turn.

    Low frequencies are the strongest of most specimens but hardly resolve a ramp; taken in turn, every part of the list spans the band.
    """
    order = torch.argsort(score, descending=True)
    order = order[score[order] > least]
    ring = torch.clamp((radius[order] * rings).to(torch.int64), max=rings - 1)
    rank = torch.zeros_like(ring)
    for r in range(rings):
        members = ring == r
        rank[members] = torch.arange(int(members.sum()))
    return order[torch.argsort(rank * rings + ring)][:count]


def _spectra_of(stack: VirtualStack, block: int = 32) -> Iterator[Tensor]:
    for start in range(0, len(stack.pixels), block):
        yield spectra(stack.images[start : start + block], torch.complex64)
