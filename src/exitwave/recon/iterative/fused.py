"""The fused pass from tensors: what it needs laid out beforehand, its results laid back."""

from functools import lru_cache
from math import pi
from typing import Any

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
    (nm, ny, nx), (configs, slices, tall, wide), (ky, kx), own = modes.shape[-3:], phase.shape, camera.frame, modes.ndim == 4
    for_modes, for_phase, for_positions, for_kernels, for_background = wanted[0], wanted[1], wanted[2], wanted[3] and slices > 1, wanted[4]
    absorbs, b, real = for_phase and phase.is_complex(), len(positions_px), modes.real.numpy().dtype
    asked = for_modes, for_phase, absorbs, for_positions, for_kernels, for_background, own
    room = room_for(b, nm, configs, slices, (ny, nx), real.itemsize, kernels=for_kernels, absorbs=absorbs)
    model, frames = _model(modes, phase, positions_px, kernels, room), _seen(background, camera, loss, real)
    whole = _made(model, room, b, len(frames.mask), asked)
    strides, pixels = (model.grids[2], model.grids[3]), len(frames.mask)
    lines = np.zeros((room.groups, 4, max(pixels, *strides) + LANES), real)
    desk = _fused.Desk(np.empty((room.groups, 2, room.slots, room.length), real), lines, np.zeros((room.groups, 4, max(strides)), real))
    gradient = np.zeros((2 if absorbs else 1, configs * slices, wide * tall), real) if for_phase else None
    for first in range(0, b, room.together):
        part = slice(first, min(b, first + room.together))
        here = model._replace(starts=model.starts[part], shifts=model.shifts[part])
        made = whole._replace(losses=whole.losses[part], places=whole.places[part])
        if own:
            here = here._replace(modes_r=model.modes_r[part], modes_i=model.modes_i[part])
            made = made._replace(modes=whole.modes[part])
        work = here, frames._replace(counts=_lines_of(counts[part], pixels, real)), made, desk, asked
        together_on(room.groups, lambda low, high, work=work: _fused.likelihood(low, high, *work))
        for i, slope in enumerate((made.slope_im, made.slope_re)[: 0 if gradient is None else len(gradient)]):
            under = BANDS, slope[: len(here.starts)], here.starts, (ny, nx), strides[1], gradient[i], (wide, tall)
            together_on(BANDS, lambda low, high, under=under: _fused.deposit(low, high, *under))
    n = ny * nx
    return Gradients(
        loss=float(whole.losses.sum()),
        modes=_modes_back(whole.modes, (ny, nx), strides[0], own=own) * (2 / n**0.5) if for_modes else None,
        phase=None if gradient is None else _laid_back(gradient, (configs, slices, wide, tall)),
        positions=torch.from_numpy(4 * pi * whole.places) if for_positions else None,
        kernels=_waves(whole.kernels.sum(0), (ny, nx), strides[0]) * (2 / n) if for_kernels else None,
        background=torch.from_numpy(whole.background.sum(0)[: ky * kx].reshape(ky, kx)) if for_background else None,
    )


def get_ready(dtype: torch.dtype = torch.complex64) -> None:
    """Load the compiled pass, or compile it: half a minute, once for an installation."""
    ones, still = torch.ones((1, 2, 2), dtype=dtype), torch.zeros((1, 2), dtype=torch.float64)
    batch_of(ones, torch.zeros((1, 1, 4, 4), dtype=dtype.to_real()), still, ones[:0], None, np.ones((1, 2, 2), np.uint8),
             Camera(frame=(2, 2), corner=(0, 0), mask=torch.ones(2, 2)), Loss(), (True, True, False, False, False))


def _model(modes: Tensor, phase: Tensor, positions_px: Tensor, kernels: Tensor, room: Room) -> _fused.Model:
    """Everything that patterns are made from, laid out. Another layout or type of an array would be compiled anew."""
    nm, ny, nx = modes.shape[-3:]
    real, n, stride_x = modes.real.numpy().dtype, ny * nx, padded(nx)
    positions, half = positions_px.numpy(), (ny // 2, nx // 2)
    whole, grids = np.round(positions), _window(ny, nx, real)
    planes = _planes(modes.reshape(-1, ny, nx) / n**0.5, stride_x, room.length)
    return _fused.Model(
        *(plane.reshape(-1, nm, room.length) for plane in planes), *_planes(kernels / n, stride_x, room.length), *_field(phase, real),
        sides=(phase.shape[3], phase.shape[2]), starts=(whole - half).astype(np.int64), shifts=np.ascontiguousarray(positions - whole + half),
        grids=grids.grids, uy=grids.uy, ux=grids.ux,
    )


@record
class Window:
    """What transforms of a window need, and its frequencies."""

    grids: tuple[Any, ...]
    uy: np.ndarray
    ux: np.ndarray


@lru_cache(maxsize=8)
def _window(ny: int, nx: int, real: np.dtype) -> Window:
    ux = np.zeros(padded(nx), real)
    ux[:nx] = np.fft.fftfreq(nx)
    return Window(grids=(ny, nx, padded(nx), padded(ny), *stages(ny, real), *stages(nx, real)), uy=np.fft.fftfreq(ny), ux=ux)


def _seen(background: Tensor | None, camera: Camera, loss: Loss, real: np.dtype) -> _fused.Seen:
    """The camera and what its pixels cost, the counts still to come."""
    (ky, kx), (cy, cx) = camera.frame, camera.corner
    pixels = -(-ky * kx // LANES) * LANES
    return _fused.Seen(
        counts=np.empty((0, pixels), real), mask=_pixels(camera.mask, pixels, real), background=_pixels(background, pixels, real), shape=(ky, kx),
        corner=(int(cy), int(cx)), samples=int(camera.samples), kind=_fused.POISSON if loss.kind == "poisson" else 1, floor=real.type(loss.floor),
        shift=real.type(shift_of(loss)), dispersion=float(loss.dispersion),
    )


def _made(model: _fused.Model, room: Room, b: int, pixels: int, asked: tuple[bool, ...]) -> _fused.Made:
    """Room for results; one number where a kind of them is not asked for."""
    for_modes, _, absorbs, _, for_kernels, for_background, own = asked
    (configs, slices), real, groups, length = model.field_r.shape[:2], model.field_r.dtype, room.groups, room.length
    return _fused.Made(
        losses=np.zeros(b), modes=np.zeros((b if own else groups, 2, model.modes_r.shape[1], length if for_modes else 1), real),
        kernels=np.zeros((groups, 2, max(1, slices - 1), length if for_kernels else 1), real),
        background=np.zeros((groups, pixels if for_background else 1), real), slope_im=np.empty((room.together, configs * slices, length), real),
        slope_re=np.empty((room.together if absorbs else 1, configs * slices, length if absorbs else 1), real), places=np.zeros((b, 2)),
    )


def _lines_of(counts: np.ndarray, pixels: int, real: np.dtype) -> np.ndarray:
    """Counts (b, ky, kx) as (b, pixels), zeros behind each."""
    flat = plain(counts).reshape(len(counts), -1)
    made = np.empty((len(flat), pixels), real)
    made[:, flat.shape[1] :] = 0
    np.copyto(made[:, : flat.shape[1]], flat, casting="unsafe")
    return made


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


def _modes_back(planes: np.ndarray, shape: tuple[int, int], stride: int, *, own: bool) -> Tensor:
    """Spectra (m, y, x) summed over groups, or (b, m, y, x), from planes (groups or b, 2, m, length)."""
    if not own:
        return _waves(planes.sum(0), shape, stride)
    b, _, nm, length = planes.shape
    return _waves(planes.swapaxes(0, 1).reshape(2, b * nm, length), shape, stride).reshape(b, nm, *shape)


def _field(phase: Tensor, real: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary parts (c, z, X Y) of the transmission of a phase (c, z, Y, X), with whole vectors behind the last line."""
    configs, slices, tall, wide = phase.shape
    turned = np.swapaxes(phase.resolve_conj().numpy(), -1, -2).reshape(configs, slices, -1)
    made = np.empty((2, configs, slices, tall * wide + LANES), turned.real.dtype)
    made[..., tall * wide :] = 0
    np.cos(turned.real, out=made[0, ..., : tall * wide])
    np.sin(turned.real, out=made[1, ..., : tall * wide])
    if np.iscomplexobj(turned):
        made[..., : tall * wide] *= np.exp(-turned.imag)
    return made[0].astype(real, copy=False), made[1].astype(real, copy=False)


def _pixels(frame: Tensor | None, length: int, real: np.dtype) -> np.ndarray:
    """A frame (ky, kx) in one line, zeros behind it; all zeros without one."""
    made = np.zeros(length, real)
    if frame is not None:
        made[: frame.numel()] = frame.detach().numpy().reshape(-1)
    return made


def _laid_back(gradient: np.ndarray, shape: tuple[int, int, int, int]) -> Tensor:
    """(c, z, Y, X) from the parts (X Y of each slice) along phase and absorption."""
    parts = [torch.from_numpy(np.ascontiguousarray(part.reshape(shape).swapaxes(-1, -2))) for part in gradient]
    return parts[0] if len(parts) == 1 else torch.complex(parts[0], -parts[1])
