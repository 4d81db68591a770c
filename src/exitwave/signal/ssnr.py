"""Spectral signal-to-noise ratio in Fourier rings from two half images, unbiased, with its standard error."""

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Grid, record
from exitwave.core.errors import InputError
from exitwave.signal.rings import edge_taper, ring_numbers


@record
class RingSSNR:
    """`value` (n,): power of signal over power of noise of the mean of the two halves, at ring centres `q_invA` (n,), with its standard error
    `sigma` (n,). `pairs` (n,): independent complex coefficients in each ring. NaN (and an infinite sigma) where two or fewer say nothing."""

    q_invA: Tensor
    value: Tensor
    sigma: Tensor
    pairs: Tensor

    @property
    def frc(self) -> Tensor:
        """The correlation of the halves that goes with it: FRC = SSNR / (2 + SSNR), so SSNR = 2 FRC / (1 - FRC)."""
        return self.value / (2 + self.value)

    @property
    def frc_sigma(self) -> Tensor:
        """Standard error of `frc`, to first order."""
        return 2 * self.sigma / (2 + self.value) ** 2


def ring_ssnr(
    a: Float[Tensor, "y x"], b: Float[Tensor, "_ _"], pitch_A: tuple[float, float], *, rings: int | None = None, window: bool = True
) -> RingSSNR:
    """SSNR = (n - 1) / n * sum |A + B|^2 / sum |A - B|^2 - 1 over the n independent coefficients of a ring, zero frequency left out.

    Sum and difference of two halves with the same signal and independent noise of equal variance are independent, so this ratio is one of two
    gamma variables: the factor (n - 1) / n removes its bias exactly (without it pure noise has an SSNR of 1 / (n - 1)), and for a given specimen

        variance = [(n - 1) (1 + 2 SSNR) / n + (1 + SSNR)^2] / (n - 2),

    into which the measured SSNR (at least 0) is put. With n large it is Unser, Trus & Steven, Ultramicroscopy 23 (1987) 39,
    doi 10.1016/0304-3991(87)90225-7, and 2 FRC / (1 - FRC) with the arithmetic mean of the halves' powers in FRC. `window` tapers the edges
    of a field that is not periodic, which leaves fewer independent coefficients; coefficients that are zero in both halves count as not measured.

    Limits: halves that share noise (counts that cluster over both) raise it, halves that see different transfers lower it; noise is taken as
    equally strong all over a ring.

    Raises:
        InputError: images of different shapes.
    """
    if a.shape != b.shape:
        raise InputError("half images need the same shape", expected=tuple(a.shape), got=tuple(b.shape))
    grid = Grid(shape=(a.shape[0], a.shape[1]), pitch_A=pitch_A)
    taper = edge_taper(grid.shape) if window else torch.ones(grid.shape, dtype=torch.float64)
    fa, fb = (torch.fft.fft2((x.to(torch.float64) - x.to(torch.float64).mean()) * taper) for x in (a, b))
    numbers = ring_numbers(grid, rings)
    both, apart = (fa + fb).abs() ** 2, (fa - fb).abs() ** 2
    measured = (both + apart > 1e-20 * float((both + apart).max())).to(torch.float64)
    share = float((taper**2).mean() ** 2 / (taper**4).mean())  # of coefficients that a taper leaves independent
    n = numbers.summed(measured) * share / 2  # a coefficient and its mirror are one; those that are their own mirror are half of one
    value, sigma = unbiased(numbers.summed(both), numbers.summed(apart), n)
    return RingSSNR(q_invA=numbers.q_invA, value=value, sigma=sigma, pairs=n)


def unbiased(both: Tensor, apart: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """SSNR and its standard error from the powers of sum and difference over `pairs` independent complex coefficients."""
    enough = (pairs > 2) & (apart > 0)
    n = torch.where(enough, pairs, torch.full_like(pairs, 3.0))
    value = (n - 1) / n * both / torch.where(enough, apart, torch.ones_like(apart)) - 1
    s = torch.clamp(value, min=0)
    sigma = torch.sqrt(((n - 1) * (1 + 2 * s) / n + (1 + s) ** 2) / (n - 2))
    return torch.where(enough, value, torch.full_like(value, torch.nan)), torch.where(enough, sigma, torch.full_like(sigma, torch.inf))
