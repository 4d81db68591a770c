"""Phase and log-amplitude together: least squares of both responses at every scan frequency."""

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import checkerboard, optics_of
from exitwave.recon.direct.normal import normal_sums, scan_tiles
from exitwave.recon.direct.stack import Progress, ignore


@record
class JointSpectra:
    """Spectra (y, h) of phase (rad) and log-amplitude, on the half plane of rfft2, not normalised, with the variance of each coefficient.

    Zero where the two responses cannot be told apart. `scan` is (Ry, Rx), `q2_invA2` (y, h) the squared scan frequency.
    """

    phase: Tensor
    amplitude: Tensor
    phase_variance: Tensor
    amplitude_variance: Tensor
    scan: tuple[int, int]
    q2_invA2: Tensor


def phase_and_amplitude(
    frames: FrameSource, g: Geometry, *, dispersion: float = 1.0, memory_bytes: int = 2**30, least: float = 1e-3,
    dtype: torch.dtype = torch.complex64, progress: Progress = ignore,
) -> JointSpectra:
    """Least squares of G(k, q) = i Phi(q) Gamma_-(k, q) + A(q) Gamma_+(k, q) over the bright pixels, Gamma_+- = t_- +- t_+.

    For an object exp(a + i phi) with small a and phi. What a strong phase scatters out of the bright field appears as negative a instead of
    leaking into the phase. Noise is taken as white over the disk; `least` is the smallest share of independence of the two responses (and of
    the largest phase response) that is solved.

    Raises:
        InputError, CalibrationError: as `exitwave.recon.direct.reconstruct`.
    """
    tiles = scan_tiles(g)
    sums = normal_sums(frames, g, optics_of(g), tiles, checkerboard(g.frame), parts="complex", noise="white", memory_bytes=memory_bytes, dtype=dtype,
                       progress=progress)
    b_phase, b_amplitude = sums.right.sum(0).unbind(-1)
    s_phase, s_amplitude, cross = sums.gram[..., 0, 0].real, sums.gram[..., 1, 1].real, sums.gram[..., 0, 1]
    counts, pixels = sums.counts, int(g.bright().sum())
    determinant = s_phase * s_amplitude - cross.abs() ** 2
    solved = (determinant > least * s_phase * s_amplitude) & (s_phase > least * s_phase.max())
    inverse = torch.where(solved, 1 / torch.where(solved, determinant, torch.ones_like(determinant)), torch.zeros_like(determinant))
    variance = dispersion * g.scan.shape[0] * g.scan.shape[1] / (pixels * counts)
    return JointSpectra(
        phase=(s_amplitude * b_phase - cross * b_amplitude) * inverse / counts,
        amplitude=(s_phase * b_amplitude - cross.conj() * b_phase) * inverse / counts,
        phase_variance=s_amplitude * inverse * variance,
        amplitude_variance=s_phase * inverse * variance,
        scan=g.scan.shape,
        q2_invA2=(tiles.qy**2 + tiles.qx**2)[0],
    )
