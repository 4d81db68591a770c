"""What cutting guide functions and rounding places costs, estimated from the library, the mean pattern and the image's own spectrum."""

import numpy as np
import torch
from torch import Tensor

LEAST_SEEN = 1e-3  # of the largest squared transfer, for a ring's specimen to be told from its noise


def approximation(spectrum: Tensor, power: Tensor, lost: tuple[float, float], ctf: Tensor, ctf_lost: Tensor, columns: int,
                  places: int | None) -> float:
    """The rms of an image's error over the rms of the exact image (both about their means), from sums over its events.

    `spectrum` (Y, H) is that of the image as made, `power` (Y, H) its noise, `ctf` its transfer; `lost` and `ctf_lost` are noise energy and transfer
    of what was cut off, the former with twice its product with what was kept; `places` are the sub-pixel phases along an axis that positions were
    rounded to, None where nothing was rounded.

    What was cut off has the noise of its own energy and, of the specimen, ctf_lost times its spectrum; the specimen's power is taken alike in all
    directions, from rings of what the image has beyond its noise. Places rounded to 1 / phases move an event by up to half of that, so that a
    frequency q is off by |exp(2 pi i q d) - 1| <= pi (|qy| + |qx|) / phases, q in cycles per fine pixel; the mean of its square is stated.
    """
    ny, h = spectrum.shape
    twice = torch.full((h,), 2.0, dtype=torch.float64)
    twice[0] = 1
    if columns % 2 == 0:
        twice[-1] = 1
    seen = (spectrum.abs() ** 2).double() * twice
    seen[0, 0] = 0
    if not float(seen.sum()) > 0:
        return 0.0
    qy, qx = torch.fft.fftfreq(ny, dtype=torch.float64)[:, None], torch.fft.rfftfreq(columns, dtype=torch.float64)[None]
    cut = cross = 0.0
    if lost[0] > 0:
        specimen = _specimen(seen, power * twice, (ctf.abs() ** 2) * twice, qy, qx) * twice
        cut = lost[0] * ny * columns + float((specimen * ctf_lost.abs() ** 2).sum())
        cross = lost[1] * ny * columns + 2 * float((specimen * (ctf.conj() * ctf_lost).real).sum())
    whole = float(seen.sum()) + cut + cross
    moved = 0.0
    if places is not None:
        moved = float((seen * 2 * (1 - torch.sinc(qy / places) * torch.sinc(qx / places))).sum()) / float(seen.sum())
    return float(np.sqrt(cut / max(whole, cut) + moved))


def _specimen(seen: Tensor, power: Tensor, transfer2: Tensor, qy: Tensor, qx: Tensor) -> Tensor:
    """The specimen's power (Y, H), one number for each ring two frequency steps wide."""
    width = 2 * max(float(qy[qy > 0].min()), float(qx[qx > 0].min()))
    ring = (torch.sqrt(qy**2 + qx**2) / width).to(torch.int64)
    sums = [torch.zeros(int(ring.max()) + 1, dtype=torch.float64).index_add_(0, ring.reshape(-1), v.double().reshape(-1))
            for v in (seen - power, transfer2, torch.ones_like(seen))]
    known = sums[1] / sums[2] > LEAST_SEEN * float((sums[1] / sums[2]).max())
    strength = torch.where(known, (sums[0] / torch.where(known, sums[1], torch.ones_like(sums[1]))).clamp(min=0), torch.zeros_like(sums[0]))
    return strength[ring]
