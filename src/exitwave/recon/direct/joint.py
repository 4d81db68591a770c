"""Phase and log-amplitude together: least squares of both responses at every scan frequency."""

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.data import FrameSource
from exitwave.recon.direct.dense import blocks, optics_of
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.overlap import overlaps
from exitwave.recon.direct.stack import Progress, ignore, spectra, virtual_stacks


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
    frames: FrameSource, g: Geometry, *, dispersion: float = 1.0, memory_bytes: int = 2**30, least: float = 1e-3, progress: Progress = ignore
) -> JointSpectra:
    """Least squares of G(k, q) = i Phi(q) Gamma_-(k, q) + A(q) Gamma_+(k, q) over the bright pixels, Gamma_+- = t_- +- t_+.

    For an object exp(a + i phi) with small a and phi. What a strong phase scatters out of the bright field appears as negative a instead of
    leaking into the phase. Noise is taken as white over the disk; `least` is the smallest share of independence of the two responses (and of
    the largest phase response) that is solved.

    Raises:
        InputError, CalibrationError: as `exitwave.recon.direct.reconstruct`.
    """
    optics = optics_of(g)
    pixels = torch.nonzero(g.bright()).reshape(-1).numpy()
    qy, qx = scan_frequencies(g.scan)
    shape = (qy.shape[0], qx.shape[1])
    b_phase, b_amplitude, cross = (torch.zeros(shape, dtype=torch.complex128) for _ in range(3))
    s_phase, s_amplitude = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    counts = 0.0
    for stack in virtual_stacks(frames, pixels, memory_bytes, progress):
        for pick, images in blocks(stack.pixels, stack.images, shape[0] * shape[1], torch.complex64):
            k = g.k_invA[torch.from_numpy(pick)]
            minus, plus = overlaps(optics, k[:, 0, None, None], k[:, 1, None, None], qy, qx, torch.complex64)
            phase, amplitude = 1j * (minus - plus), minus + plus  # (b, y, h)
            data = spectra(images, torch.complex64)
            b_phase += (phase.conj() * data).sum(0)
            b_amplitude += (amplitude.conj() * data).sum(0)
            cross += (phase.conj() * amplitude).sum(0)
            s_phase += (phase.real**2 + phase.imag**2).sum(0)
            s_amplitude += (amplitude.real**2 + amplitude.imag**2).sum(0)
            counts += float(images.mean((1, 2), dtype=np.float64).sum())
    determinant = s_phase * s_amplitude - cross.abs() ** 2
    solved = (determinant > least * s_phase * s_amplitude) & (s_phase > least * s_phase.max())
    inverse = torch.where(solved, 1 / torch.where(solved, determinant, torch.ones_like(determinant)), torch.zeros_like(determinant))
    variance = dispersion * g.scan.shape[0] * g.scan.shape[1] / (len(pixels) * counts)
    return JointSpectra(
        phase=(s_amplitude * b_phase - cross * b_amplitude) * inverse / counts,
        amplitude=(s_phase * b_amplitude - cross.conj() * b_phase) * inverse / counts,
        phase_variance=s_amplitude * inverse * variance,
        amplitude_variance=s_phase * inverse * variance,
        scan=g.scan.shape,
        q2_invA2=qy**2 + qx**2,
    )
