"""The normal operator of scattered positions, and conjugate gradients: no positions are left in them, only their density in real space."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.fft import real_dtype
from exitwave.recon.direct.overlap import Aperture, gamma

BLOCK_BYTES = 2**20  # images of one block stay in the nearest caches
ROUNDS, TOLERANCE = 40, 3e-3


@record
class Problem:
    """What conjugate gradients need: the pixels' frequencies `k` (m, 2) and shares (m,), the band's frequencies `qy` (y, 1) and `qx` (1, h) (odd
    heights, so that each has its mirror), those that are solved (`inside` (y, h)), the density of positions `counts` (Y, X) on a grid twice as
    fine and its transform `spread` (y, h) in the band. `pixels` is the image's count of pixels; `kept` holds responses that fit in memory."""

    optics: Aperture
    k: Tensor
    share: Tensor
    qy: Tensor
    qx: Tensor
    inside: Tensor
    counts: Tensor
    spread: Tensor
    pixels: int
    dtype: torch.dtype
    kept: list[Tensor]

    @property
    def size(self) -> int:
        """Detector pixels of one cache-sized block, for two right sides."""
        return max(1, BLOCK_BYTES // (2 * self.counts.numel() * (8 if self.dtype == torch.complex128 else 4)))

    def responses(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(share, i Gamma (b, y, h)) of each block, zero outside the band."""
        for number, (k, share) in enumerate(zip(self.k.split(self.size), self.share.split(self.size), strict=True)):
            yield share, self.kept[number] if number < len(self.kept) else response(self, k)


def response(x: Problem, k: Tensor) -> Tensor:
    """i Gamma (b, y, h) of a block of pixels at the frequencies that are solved."""
    return torch.where(x.inside, 1j * gamma(x.optics, k[:, 0, None, None], k[:, 1, None, None], x.qy, x.qx, x.dtype), 0)


def normal(x: Problem, spectrum: Tensor) -> Tensor:
    """The normal operator on half planes (s, y, h)."""
    total = torch.zeros_like(spectrum)
    small, mean = spectrum.to(x.dtype), (x.spread / x.spread[0, 0]).to(x.dtype)
    counts = x.counts.to(real_dtype(x.dtype))
    for share, r in x.responses():
        back = halved(widened(r * small[:, None], counts.shape) * counts, r.shape)  # (s, b, y, h)
        back = back - back[..., :1, :1] * mean  # the pixel's mean is free
        total += (back * (r.conj() / share.to(r.real.dtype)[:, None, None])).sum(1)
    return total * (counts.numel() / x.pixels)


def widened(half: Tensor, shape: torch.Size) -> Tensor:
    """The real images (*b, Y, X) of half planes (*b, y, h) of odd height."""
    low = (half.shape[-2] + 1) // 2
    gap = torch.zeros((*half.shape[:-2], shape[0] - half.shape[-2], half.shape[-1]), dtype=half.dtype)
    rows = torch.fft.ifft(torch.cat([half[..., :low, :], gap, half[..., low:, :]], -2), dim=-2)
    return torch.fft.irfft(rows, n=shape[1], dim=-1)


def halved(images: Tensor, shape: torch.Size) -> Tensor:
    """The half planes (*b, y, h) of real images (*b, Y, X), cut to the band."""
    low = (shape[-2] + 1) // 2
    columns = torch.fft.fft(torch.fft.rfft(images, dim=-1)[..., : shape[-1]], dim=-2)
    return torch.cat([columns[..., :low, :], columns[..., columns.shape[-2] - low + 1 :, :]], -2)


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor], right: Tensor, scale: Tensor, start: Tensor | None, progress: Callable[[int], None], rounds: int = ROUNDS
) -> Tensor:
    """Solve for right sides (s, y, h) at once, each with its own steps, from `start` (None: zero); `scale` (y, h) inverts the preconditioner.

    Stops where every residual is below `TOLERANCE` of its right side. Hestenes & Stiefel, J. Res. Natl. Bur. Stand. 49 (1952) 409,
    doi 10.6028/jres.049.044.
    """
    mirrored = torch.full(right.shape[-1:], 2.0, dtype=torch.float64)  # the half plane's other columns
    mirrored[0] = 1

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (mirrored * (a.conj() * b).real).sum((-2, -1), keepdim=True)

    x, residual = (torch.zeros_like(right), right) if start is None else (start, right - operator(start))
    direction = z = residual * scale
    rho = inner(residual, z)
    goal = TOLERANCE**2 * inner(right, right * scale)
    for number in range(rounds):
        progress(number)
        if bool((rho <= goal).all()):
            break
        moved = operator(direction)
        step = rho / torch.clamp(inner(direction, moved), min=1e-300)
        x, residual = x + step * direction, residual - step * moved
        z = residual * scale
        before, rho = rho, inner(residual, z)
        direction = z + rho / torch.clamp(before, min=1e-300) * direction
    return x
