"""The steps between transforms in torch's operations, for any device: what the fused pass does at once on the processor.

Shapes: waves (b, m, y, x) with corner origin, a slice of the field (Y, X), `whole` (b, 2) int64, frames (b, ky, kx).
"""

from math import pi

import torch
from torch import Tensor


def illuminate(modes: Tensor, ramp_y: Tensor, ramp_x: Tensor) -> Tensor:
    """modes (m, y, x), or (b, m, y, x), times each position's ramps (b, y) and (b, x)."""
    return modes * (ramp_y[:, None, :, None] * ramp_x[:, None, None, :])


def multiply(psi: Tensor, field: Tensor, whole: Tensor) -> Tensor:
    """psi times the field below each window."""
    return psi * field.reshape(-1)[below(field, whole, psi)][:, None]


def filter_(spectra: Tensor, kernel: Tensor, *, conjugated: bool = False) -> Tensor:
    """spectra times a propagator (y, x) or its conjugate, in place."""
    return spectra.mul_(kernel.conj() if conjugated else kernel)


def collect_(frames: Tensor, waves: Tensor, corner: tuple[int, int], samples: int, scale: float) -> None:
    """Add scale |waves|^2, summed over modes and over the samples x samples of each pixel, to frames."""
    intensity = (waves.real**2 + waves.imag**2).sum(1) * scale
    rows, columns = looked_at(waves, frames, corner, samples)
    seen = intensity[:, rows][:, :, columns]
    frames += seen.reshape(len(seen), frames.shape[1], samples, frames.shape[2], samples).sum((2, 4))


def spread_(waves: Tensor, weights: Tensor, corner: tuple[int, int], samples: int, scale: float) -> Tensor:
    """The adjoint of `collect_`: waves times scale and the weight (b, ky, kx) of their pixel, in place; zero where no pixel looks."""
    rows, columns = looked_at(waves, weights, corner, samples)
    every = torch.zeros((len(waves), *waves.shape[2:]), dtype=weights.dtype, device=waves.device)
    fine = weights.repeat_interleave(samples, 1).repeat_interleave(samples, 2) * scale
    every[:, rows[:, None], columns[None]] = fine
    return waves.mul_(every[:, None])


def back_through_(g: Tensor, psi: Tensor, field: Tensor, whole: Tensor, slope: Tensor) -> None:
    """Through one slice: g <- g conj(T), and slope (b, y, x) <- sum_m g psi*."""
    g *= field.reshape(-1)[below(field, whole, g)][:, None].conj()
    torch.sum(g * psi.conj(), 1, out=slope)


def deposit_(gradient: Tensor, loss_gradient: Tensor | None, slope: Tensor, whole: Tensor) -> None:
    """Add 2 Im slope below each window to gradient (Y, X), and -2 Re slope to that of absorption where there is one."""
    places = below(gradient, whole, slope[:, None]).reshape(-1)
    gradient.view(-1).index_add_(0, places, 2 * slope.imag.reshape(-1))
    if loss_gradient is not None:
        loss_gradient.view(-1).index_add_(0, places, -2 * slope.real.reshape(-1))


def gather_modes_(gradient: Tensor, spectra: Tensor, ramp_y: Tensor, ramp_x: Tensor) -> None:
    """Add 2 sum_b conj(ramp) spectra to gradient (m, y, x), or each pattern's to its own (b, m, y, x)."""
    if gradient.ndim == 4:
        gradient += 2 * illuminate(spectra, ramp_y.conj(), ramp_x.conj())
        return
    gradient += 2 * torch.einsum("bmyx,by,bx->myx", spectra, ramp_y.conj(), ramp_x.conj())


def gather_positions_(gradient: Tensor, spectra: Tensor, modes: Tensor, ramp_y: Tensor, ramp_x: Tensor) -> None:
    """Add d/d(position, px) to gradient (b, 2), through the ramps exp(-2 pi i u.s) on the modes."""
    frequencies = [torch.fft.fftfreq(n, dtype=torch.float64, device=modes.device) for n in modes.shape[-2:]]
    turned = (spectra.conj() * illuminate(modes, ramp_y, ramp_x)).imag.sum(1).to(torch.float64)  # (b, y, x)
    gradient += 4 * pi * torch.stack([(turned.sum(2) * frequencies[0]).sum(1), (turned.sum(1) * frequencies[1]).sum(1)], 1)


def gather_kernel_(gradient: Tensor, g: Tensor, psi: Tensor) -> None:
    """Add 2 sum_bm g conj(psi), spectra behind and before a propagator, to gradient (y, x)."""
    gradient += 2 * (g * psi.conj()).sum((0, 1))


def below(field: Tensor, whole: Tensor, waves: Tensor) -> Tensor:
    """Places (b, y, x) in the flattened field that lie below each window."""
    (tall, wide), (ny, nx) = field.shape, waves.shape[-2:]
    oy, ox = (torch.round(torch.fft.fftfreq(n, device=whole.device) * n).to(torch.int64) for n in (ny, nx))
    iy, ix = (whole[:, :1] + oy) % tall, (whole[:, 1:] + ox) % wide
    return iy[:, :, None] * wide + ix[:, None, :]


def looked_at(waves: Tensor, frames: Tensor, corner: tuple[int, int], samples: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the window that the frame's samples are, in the frame's order."""
    counts = [k * samples for k in frames.shape[-2:]]
    rows, columns = ((torch.arange(n, device=waves.device) - c) % size for n, c, size in zip(counts, corner, waves.shape[-2:], strict=True))
    return rows, columns
