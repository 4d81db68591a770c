"""The fused pass from tensors: what it needs laid out beforehand, its results laid back."""

from math import pi

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core._columns import LANES, padded, rows_for, stages
from exitwave.core.threads import together_on
from exitwave.recon.iterative import _fused
from exitwave.recon.iterative.camera import Camera
from exitwave.recon.iterative.losses import Loss, plain, shift_of

GROUPS, LEAST_OF_GROUP = 16, 4  # sums that grow apart from each other whatever the number of threads, and patterns of each, at least
BANDS = 8  # of the field, that slopes are added to apart from each other
PART_BYTES = 32 * 2**20  # of slopes that wait to be deposited
ROOM_BYTES = 256 * 2**20  # of the planes in which the groups work, at most, but for the first group


@record
class Room:
    """How a batch is dealt out: groups, planes of each, the length of a plane, and patterns between deposits."""

    groups: int
    slots: int
    length: int
    together: int

    def bytes_of(self, modes: int, layers: int, itemsize: int) -> int:
        """What a batch takes, frames not counted."""
        planes = self.groups * 2 * (self.slots + modes + max(0, layers - 1)) + 2 * self.together * layers
        return planes * self.length * itemsize


def room_for(batch: int, modes: int, configs: int, slices: int, window: tuple[int, int], itemsize: int, *, kernels: bool, absorbs: bool) -> Room:
    """The room of a batch; nothing in it depends on the number of threads."""
    ny, nx = window
    length = max(rows_for(ny) * padded(nx), rows_for(nx) * padded(ny))
    slots = 2 + configs * modes * (1 + slices + (slices - 1 if kernels else 0))
    groups = max(1, min(GROUPS, batch // LEAST_OF_GROUP, ROOM_BYTES // (2 * slots * length * itemsize)))
    together = max(groups, PART_BYTES // (configs * slices * length * itemsize * (2 if absorbs else 1)))
    return Room(groups=groups, slots=slots, length=length, together=min(batch, together))


@record
class Gradients:
    """The loss of a batch, and what it grows by along each tensor; None where that is not wanted."""

    loss: float
    modes: Tensor | None
    phase: Tensor | None
    positions: Tensor | None
    kernels: Tensor | None
    background: Tensor | None


def batch_of(
    modes: Tensor, phase: Tensor, positions_px: Tensor, kernels: Tensor, background: Tensor | None, counts: np.ndarray, camera: Camera, loss: Loss,
    wanted: tuple[bool, ...],
) -> Gradients:
    """As `adjoint.negative_log_likelihood`, on the processor; `wanted` in the order of its tensors."""
    for_modes, for_phase, for_positions, for_kernels, for_background = (bool(w) for w in wanted[:5])
    (nm, ny, nx), (configs, slices, tall, wide) = modes.shape, phase.shape
    for_kernels, absorbs = for_kernels and len(kernels) > 0, for_phase and phase.is_complex()
    real = modes.real.numpy().dtype
    stride_x, stride_y = padded(nx), padded(ny)
    b, layers = len(positions_px), configs * slices
    room = room_for(b, nm, configs, slices, (ny, nx), real.itemsize, kernels=for_kernels, absorbs=absorbs)
    groups, slots, length, together = room.groups, room.slots, room.length, room.together
    n, (ky, kx) = ny * nx, camera.frame
    pixels = -(-ky * kx // LANES) * LANES
    modes_ri = _planes(modes / n**0.5, stride_x, length)
    kernels_ri = _planes(kernels / n, stride_x, length)
    field = _field(phase, real)
    whole = torch.round(positions_px)
    half = torch.tensor([ny // 2, nx // 2], dtype=torch.float64)
    starts = (whole - half).to(torch.int64).numpy()
    shifts = (positions_px - whole + half).to(torch.float64).numpy()
    planes, lines = np.empty((groups, 2, slots, length), real), np.zeros((groups, 4, max(pixels, stride_x, stride_y) + LANES), real)
    ramps = np.zeros((groups, 4, max(stride_x, stride_y)), real)
    sum_modes = np.zeros((groups, 2, nm, length if for_modes else 1), real)
    sum_kernels = np.zeros((groups, 2, max(1, slices - 1), length if for_kernels else 1), real)
    sum_background = np.zeros((groups, pixels if for_background else 1), real)
    gradient = np.zeros((2 if absorbs else 1, layers, wide * tall), real) if for_phase else None
    losses, places = np.zeros(b), np.zeros((b, 2))
    slope_im = np.empty((together, layers, length), real)
    slope_re = np.empty((together if absorbs else 1, layers, length if absorbs else 1), real)
    mask, below = _pixels(camera.mask, pixels, real), _pixels(background, pixels, real)
    uy, ux = np.fft.fftfreq(ny), np.zeros(stride_x, real)
    ux[:nx] = np.fft.fftfreq(nx)
    grids = (ny, nx, stride_x, stride_y, *stages(ny, real), *stages(nx, real))
    for first in range(0, b, together):
        part = slice(first, min(b, first + together))
        seen = np.empty((len(starts[part]), pixels), real)
        seen[:, ky * kx :] = 0
        np.copyto(seen[:, : ky * kx], plain(counts[part]).reshape(-1, ky * kx), casting="unsafe")
        model = _fused.Model(*modes_ri, *kernels_ri, *field, (wide, tall), starts[part], shifts[part], grids, uy, ux)
        frames = _fused.Seen(
            seen, mask, below, (ky, kx), camera.corner, camera.samples, _fused.POISSON if loss.kind == "poisson" else 1, real.type(loss.floor),
            real.type(shift_of(loss)), loss.dispersion,
        )
        made = _fused.Made(losses[part], sum_modes, sum_kernels, sum_background, slope_im, slope_re, places[part])
        work = (model, frames, made, _fused.Desk(planes, lines, ramps), (for_modes, for_phase, absorbs, for_positions, for_kernels, for_background))
        together_on(groups, lambda low, high, work=work: _fused.likelihood(low, high, *work))
        for i, slope in enumerate((slope_im, slope_re)[: 0 if gradient is None else len(gradient)]):
            under = (BANDS, slope[: len(seen)], starts[part], (ny, nx), stride_y, gradient[i], (wide, tall))
            together_on(BANDS, lambda low, high, under=under: _fused.deposit(low, high, *under))
    return Gradients(
        loss=float(losses.sum()),
        modes=_waves(sum_modes.sum(0), (ny, nx), stride_x) * (2 / n**0.5) if for_modes else None,
        phase=None if gradient is None else _laid_back(gradient, (configs, slices, wide, tall)),
        positions=torch.from_numpy(4 * pi * places) if for_positions else None,
        kernels=_waves(sum_kernels.sum(0), (ny, nx), stride_x) * (2 / n) if for_kernels else None,
        background=torch.from_numpy(sum_background.sum(0)[: ky * kx].reshape(ky, kx)) if for_background else None,
    )


def get_ready(dtype: torch.dtype = torch.complex64) -> None:
    """Load the compiled pass, or compile it: half a minute, once for an installation."""
    ones, still = torch.ones((1, 2, 2), dtype=dtype), torch.zeros((1, 2), dtype=torch.float64)
    batch_of(ones, torch.zeros((1, 1, 4, 4), dtype=dtype.to_real()), still, ones[:0], None, np.ones((1, 2, 2), np.uint8),
             Camera(frame=(2, 2), corner=(0, 0), mask=torch.ones(2, 2)), Loss(), (True, True, False, False, False))


def _planes(spectra: Tensor, stride: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary parts (n, length) of spectra (n, y, x), rows of `stride`."""
    count, ny, nx = spectra.shape
    made = np.zeros((2, count, length), spectra.real.numpy().dtype)
    for part, values in zip(made, (spectra.real, spectra.imag), strict=True):
        part[:, : ny * stride].reshape(count, ny, stride)[:, :, :nx] = values.numpy()
    return made[0], made[1]


def _waves(planes: np.ndarray, shape: tuple[int, int], stride: int) -> Tensor:
    """Spectra (n, y, x) from real and imaginary parts (2, n, length)."""
    ny, nx = shape
    real, imag = (torch.from_numpy(part[:, : ny * stride].reshape(-1, ny, stride)[:, :, :nx].copy()) for part in planes)
    return torch.complex(real, imag)


def _field(phase: Tensor, real: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary parts (c, z, X Y) of the transmission of a phase (c, z, Y, X), with whole vectors behind the last line."""
    configs, slices, tall, wide = phase.shape
    turned = phase.transpose(-1, -2).reshape(configs, slices, -1)
    angle = turned.real if turned.is_complex() else turned
    made = torch.zeros((2, configs, slices, tall * wide + LANES), dtype=angle.dtype)
    torch.cos(angle, out=made[0, :, :, : tall * wide])
    torch.sin(angle, out=made[1, :, :, : tall * wide])
    if turned.is_complex():
        made[:, :, :, : tall * wide] *= torch.exp(-turned.imag)
    return made[0].numpy().astype(real, copy=False), made[1].numpy().astype(real, copy=False)


def _pixels(frame: Tensor | None, length: int, real: np.dtype) -> np.ndarray:
    """A frame (ky, kx) in one line, zeros behind it; all zeros without one."""
    made = np.zeros(length, real)
    if frame is not None:
        made[: frame.numel()] = frame.detach().numpy().reshape(-1)
    return made


def _laid_back(gradient: np.ndarray, shape: tuple[int, int, int, int]) -> Tensor:
    """(c, z, Y, X) from the parts (X Y of each slice) along phase and absorption."""
    parts = [torch.from_numpy(part).reshape(shape).transpose(-1, -2).contiguous() for part in gradient]
    return parts[0] if len(parts) == 1 else torch.complex(parts[0], -parts[1])
