"""How true a direct image is, by measures that do not depend on how a method weighs its frequencies."""

import numpy as np
import torch

from exitwave.core import Grid, record
from exitwave.signal import frc


@record
class Quality:
    """`frc`: mean Fourier ring correlation with the truth up to the band's edge. `error`: what is left of the truth, relative and
    root-mean-square, when every ring of the image is first given the one real factor that suits it best; 0 is perfect, 1 is no better than nothing.
    """

    frc: float
    error: float


def quality(image: np.ndarray, truth: np.ndarray, pitch_A: float, band_invA: float) -> Quality:
    """An image (y, x) against the truth (y, x) on the same periodic grid, both seen up to the spatial frequency `band_invA`.

    With the ring correlation c_r and the truth's power P_r in ring r, the best factor leaves sqrt(sum P_r (1 - c_r^2) / sum P_r): the transfer
    of a method, also its sign, is undone ring by ring and alike for everyone.
    """
    a, b = (torch.from_numpy(np.array(x, np.float64)) for x in (image, truth))
    pitch = (pitch_A, pitch_A)
    rings = frc(a, b, pitch, window=False)
    some = (rings.q_invA <= band_invA) & (rings.pairs > 0)
    seen, power = rings.value[some], ring_power(b, pitch, len(some))[some]
    left = (power * (1 - seen**2)).sum() / power.sum()
    return Quality(frc=float(seen.mean()), error=float(torch.sqrt(left.clamp(min=0.0))))


def calibrated_error(image: np.ndarray, ctf: np.ndarray, truth: np.ndarray) -> float:
    """|image - CTF x truth| / |CTF x truth| with no free factor: whether an image is in radians, as its stated transfer (half plane) promises."""
    promised = np.fft.irfft2(np.fft.rfft2(truth) * ctf, s=truth.shape)
    away = (image - image.mean()) - (promised - promised.mean())
    return float(np.linalg.norm(away) / np.linalg.norm(promised - promised.mean()))


def ring_power(image: torch.Tensor, pitch_A: tuple[float, float], rings: int) -> torch.Tensor:
    """Power of an image in the first `rings` rings that `frc` uses."""
    grid = Grid(shape=(image.shape[0], image.shape[1]), pitch_A=pitch_A)
    q = torch.sqrt(grid.k2_invA2())
    width = grid.nyquist_invA / int(grid.nyquist_invA / max(grid.dk_invA))
    ring = (q / width).to(torch.int64)
    inside = (ring < rings) & (q > 0)
    power = torch.fft.fft2(image).abs() ** 2
    return torch.zeros(rings, dtype=torch.float64).index_add_(0, ring[inside], power[inside])

