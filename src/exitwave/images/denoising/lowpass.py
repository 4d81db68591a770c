"""A low-pass that the data themselves ask for: how much of each ring of frequencies of a denoised frame is signal."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.fft import dctn, idctn

from exitwave.core import Grid, InputError, record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.data.thinning import dealt
from exitwave.flow.check import frames_are_counts
from exitwave.signal import edge_taper, ring_numbers

STREAM = 12
LEAST = 0.15  # of a gain that is told from chance
Denoiser = Callable[[np.ndarray], Iterator[np.ndarray]]


@record
class LowPass:
    """`gain` (n,) at ring centres `q_px` (n,) in cycles a pixel, which never rises with frequency."""

    q_px: np.ndarray
    gain: np.ndarray

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The frame (y, x) with each frequency times its gain, float32; edges are mirrored (cosine transform) and its mean stays."""
        spectrum = dctn(frame.astype(np.float32), norm="ortho")
        qy, qx = (np.arange(n) / (2 * n) for n in frame.shape)
        factor = np.interp(np.hypot(qy[:, None], qx), self.q_px, self.gain)
        factor[0, 0] = 1.0
        return np.asarray(idctn(spectrum * factor.astype(np.float32), norm="ortho"), np.float32)

    @property
    def edge_px(self) -> float:
        """Where the gain first falls under one half, cycles a pixel; the last ring where it never does."""
        below = np.flatnonzero(self.gain < 0.5)
        return float(self.q_px[below[0]] if len(below) else self.q_px[-1])


def low_pass(frames: np.ndarray, denoiser: Denoiser, seed: int = DEFAULT_SEED) -> LowPass:
    """The gain 1 - |A - B|^2 / |A + B|^2 in rings, A and B two halves of the counts (n, y, x) dealt out at random and denoised.

    Halves have the same signal and independent noise; with E|A - B|^2 the noise of A + B this is Wiener's gain SSNR / (1 + SSNR), the SSNR that of
    `exitwave.signal.ring_ssnr`. A ring counts for all below it, so that a crystal's reflections pass whatever lies between them. Limits: it knows
    noise, not what the denoiser took away; a head that is not linear makes it approximate.

    Raises:
        InputError: values that are no whole counts, which cannot be dealt out.
    """
    if not frames_are_counts(frames):
        raise InputError("a low-pass from the data needs whole counts, which are dealt into halves", expected="integers >= 0",
                         remedy="leave the low-pass out, or give counts without a gain")
    first = np.stack([dealt(frame.astype(np.int64), generator_at(seed, i, STREAM)) for i, frame in enumerate(frames)])
    grid = Grid(shape=(frames.shape[1], frames.shape[2]), pitch_A=(1.0, 1.0))
    taper, numbers = edge_taper(grid.shape), ring_numbers(grid, max(4, min(grid.shape) // 8))
    both, apart = torch.zeros(numbers.count, dtype=torch.float64), torch.zeros(numbers.count, dtype=torch.float64)
    for one, other in zip(denoiser(first), denoiser(frames - first), strict=True):
        a, b = (torch.from_numpy(x.astype(np.float64)) for x in (one, other))
        fa, fb = (torch.fft.fft2((x - x.mean()) * taper) for x in (a, b))
        both += numbers.summed((fa + fb).abs() ** 2)
        apart += numbers.summed((fa - fb).abs() ** 2)
    found = torch.clamp(1 - apart / torch.clamp(both, min=1e-300), 0, 1).numpy()
    sure = np.where(found > LEAST, found, 0.0)
    return LowPass(q_px=numbers.q_invA.numpy(), gain=np.maximum.accumulate(sure[::-1])[::-1])
