"""Waves through slices where no gradient is wanted: the same numbers as `multislice`, sooner and in less memory."""

from collections.abc import Collection, Iterable, Sequence
from math import pi

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from exitwave.core import record
from exitwave.core._columns import padded, rows_for, stages
from exitwave.core.errors import InputError
from exitwave.core.threads import together_on
from exitwave.wave import _through

TOGETHER = 4  # waves that take a slice one after the other, so that it is read from memory once
BLOCK_NUMBERS = 32768  # of one of the four arrays in which a block is transformed: they share a core's cache
SLACK = 64


@record
class Stack:
    """Slices ready for waves in windows of one shape: real and imaginary planes of the transmissions, and what the windows need."""

    window: _through.Window
    slices: _through.Slices

    @property
    def depth(self) -> int:
        """Slices."""
        return len(self.slices.order)

    @property
    def nbytes(self) -> int:
        """Of the planes."""
        return sum(plane.nbytes for plane in (self.slices.field_r, self.slices.field_i, self.slices.kernel_r, self.slices.kernel_i))


def stack(distinct: Complex[Tensor, "d Y X"], order: Sequence[int], kernels: Complex[Tensor, "u y x"], follows: Sequence[int]) -> Stack:
    """Transmissions `distinct`, slice z being `distinct[order[z]]`, and behind it (but for the last) the propagator `kernels[follows[z]]`.

    The shape of the kernels is the window's; frequencies at which every kernel is zero are never transformed. complex64.

    Raises:
        InputError: orders that do not fit together.
    """
    (_, tall, wide), (_, ny, nx) = distinct.shape, kernels.shape
    if len(order) != len(follows) + 1 or max(order) >= len(distinct) or (follows and max(follows) >= len(kernels)):
        raise InputError("slices and propagators do not fit together", expected=f"{len(order) - 1} propagators between", got=len(follows))
    window = _window(kernels)
    pitch = wide + window.block
    planes = np.empty((2, len(distinct), tall * pitch + SLACK), np.float32)
    _fill(planes, distinct, window.block)
    kernel = _packed(kernels / (ny * nx), window)
    slices = _through.Slices(planes[0], planes[1], np.array(order, np.int64), tall, wide, pitch, kernel[0], kernel[1],
                             np.array([*follows, 0], np.int64))
    return Stack(window=window, slices=slices)


def far_intensity(
    through: Stack, spectra: Complex[Tensor, "p y x"], shifts_px: Float[Tensor, "b 2"], starts: Int[Tensor, "b 2"], out: Float[Tensor, "b y x"],
    scale: float = 1.0,
) -> None:
    """Add `scale` times the diffracted intensity of each wave, summed over modes, to `out`.

    `spectra` are orthonormal transforms of the modes on the window; wave i is moved by `shifts_px[i]` (y, x) and stands in the field with its
    window's first pixel at `starts[i]`. Nothing behind the last slice but diffraction. Every number is the same whatever the number of threads.

    Raises:
        InputError: modes that reach beyond the frequencies that the kernels keep.
    """
    w = through.window
    modes = _packed(spectra / (w.ny * w.nx) ** 0.5, w, whole=True)
    waves = _through.Waves(modes[0], modes[1], _ramps(shifts_px, w), np.ascontiguousarray(starts.numpy()))
    flat = out.numpy().reshape(len(shifts_px), -1)
    made = _through.Made(flat, scale / (w.ny * w.nx))
    plan = _through.Plan((0, through.depth), through.depth - 1, True, True, True, (0, 1), 1)

    def work(low: int, high: int) -> None:
        room = _room(w, min(TOGETHER, high - low) * len(spectra))
        for first in range(low, high, TOGETHER):
            _through.work(first, min(high, first + TOGETHER), waves, through.slices, made, room, plan, w)

    together_on(len(shifts_px), work)


def onwards(wave: Complex[Tensor, "y x"], slices: Iterable[Complex[Tensor, "y x"]], kernels: Complex[Tensor, "u y x"], follows: Sequence[int], *,
            keep: Collection[int] = ()) -> list[Tensor]:
    """The waves (y, x) behind the slices in `keep` and their propagators, of one wave through slices that may come one by one.

    `follows[z]` is the propagator behind slice z. Threads share the wave. Frequencies at which every kernel is zero are left out from the start.
    """
    w = _window(kernels)
    kernel = _packed(kernels / (w.ny * w.nx), w)
    spectrum = _packed(torch.fft.fft2(wave)[None] / (w.ny * w.nx), w, whole=True)
    waves = _through.Waves(spectrum[0], spectrum[1], _ramps(torch.zeros(1, 2), w), np.zeros((1, 2), np.int64))
    rooms, made, kept = _shared(w), _through.Made(np.zeros((1, 1), np.float32), 1.0), []
    dealt = len(rooms)

    def step(slab: _through.Slices, plan: _through.Plan) -> None:
        together_on(dealt, lambda low, high: _through.work(0, 1, waves, slab, made, rooms[low], plan._replace(share=(low, high)), w))

    plan = _through.Plan((0, 0), -1, True, False, False, (0, 1), dealt)
    planes = np.zeros((2, 1, w.ny * (w.nx + w.block) + SLACK), np.float32)
    for z, t in enumerate(slices):
        _fill(planes, t[None], w.block)
        slab = _through.Slices(planes[0], planes[1], np.zeros(1, np.int64), w.ny, w.nx, w.nx + w.block, kernel[0], kernel[1],
                               np.array([follows[z]], np.int64))
        if z == 0:
            step(slab, plan)
        step(slab, plan._replace(slices=(0, 1), enter=False, columns=True))
        step(slab, plan._replace(slices=(0, 1), enter=False, rows=True))
        if z in keep:
            kept.append(_wave_of(rooms[0], w))
    return kept


def _shared(w: _through.Window) -> list[_through.Room]:
    """A room a thread, all with the same wave."""
    first = _room(w, 1)
    parts = torch.get_num_threads() if w.ny * w.nx >= 192**2 else 1
    return [first, *(first._replace(block=np.zeros_like(first.block)) for _ in range(parts - 1))]


def _wave_of(room: _through.Room, w: _through.Window) -> Tensor:
    """The wave (y, x) of a half transform (ky, x)."""
    (k1, k2), whole = w.ky, torch.zeros(w.ny, w.nx, dtype=torch.complex64)
    rows = [torch.from_numpy(half[0, : (k1 + k2) * w.wide_x].reshape(k1 + k2, w.wide_x)[:, : w.nx]) for half in (room.half_r, room.half_i)]
    half = torch.complex(rows[0], rows[1])
    whole[:k1], whole[w.ny - k2 :] = half[:k1], half[k1:]
    return torch.fft.ifft(whole, dim=0) * w.ny


def _fill(planes: np.ndarray, distinct: Tensor, block: int) -> None:
    """Real and imaginary planes (2, d, .) of transmissions (d, Y, X), each row repeated from its start for a block behind its end."""
    _, tall, wide = distinct.shape
    pitch = wide + block
    for plane, part in zip(planes, (distinct.real, distinct.imag), strict=True):
        rows = plane[:, : tall * pitch].reshape(-1, tall, pitch)
        rows[..., :wide] = part.numpy()
        for at in range(wide, pitch, wide):
            rows[..., at : at + wide] = rows[..., : min(wide, pitch - at)]
        plane[:, tall * pitch :] = 0


def _window(kernels: Tensor) -> _through.Window:
    ny, nx = kernels.shape[-2:]
    seen = kernels.abs().amax(0) > 0
    kept = [_ends(seen.any(axis).numpy()) for axis in (1, 0)]
    real = np.dtype(np.float32)
    block = max(16, min(64, BLOCK_NUMBERS // max(ny, nx) // 8 * 8))
    return _through.Window(ny, nx, kept[0], kept[1], padded(nx), padded(ny + 8), block, *stages(ny, real), *stages(nx, real))


def _ends(seen: np.ndarray) -> tuple[int, int]:
    """How many frequencies to keep at the start and at the end of an axis."""
    n = len(seen)
    low, high = np.flatnonzero(seen[: (n + 1) // 2]), np.flatnonzero(seen[(n + 1) // 2 :][::-1])
    return int(low[-1]) + 1 if len(low) else 1, int(high[-1]) + 1 if len(high) else 0


def _packed(spectra: Tensor, w: _through.Window, whole: bool = False) -> np.ndarray:
    """(2, n, nx wide_y) real and imaginary parts in (kx, kept ky) from (n, ky, kx)."""
    (k1, k2), n = w.ky, len(spectra)
    if whole and bool((spectra[:, k1 : w.ny - k2].abs().amax() > 1e-6 * spectra.abs().amax()) if k1 + k2 < w.ny else False):
        raise InputError("the illumination reaches beyond the band of the propagators", remedy="take a finer pitch")
    made = np.zeros((2, n, w.nx * w.wide_y + SLACK), np.float32)
    kept = torch.cat([spectra[:, :k1], spectra[:, w.ny - k2 :]], 1)
    for plane, part in zip(made, (kept.real, kept.imag), strict=True):
        plane[:, : w.nx * w.wide_y].reshape(n, w.nx, w.wide_y)[:, :, : k1 + k2] = part.numpy().swapaxes(1, 2)
    return made


def _ramps(shifts_px: Tensor, w: _through.Window) -> np.ndarray:
    """exp(-2 pi i k s) along the kept ky and along kx (b, 4, .), made in double precision."""
    made = np.zeros((len(shifts_px), 4, max(w.wide_y, w.wide_x) + 8), np.float32)
    (k1, k2), shifts = w.ky, shifts_px.numpy().astype(float)
    uy, ux = np.fft.fftfreq(w.ny), np.fft.fftfreq(w.nx)
    for at, u, s in ((0, np.concatenate([uy[:k1], uy[w.ny - k2 :]]), shifts[:, :1]), (2, ux, shifts[:, 1:])):
        phase = -2 * pi * s * u
        made[:, at, : len(u)], made[:, at + 1, : len(u)] = np.cos(phase), np.sin(phase)
    return made


def _room(w: _through.Window, waves: int) -> _through.Room:
    kept = w.ky[0] + w.ky[1]
    half = np.zeros((2, waves, (rows_for(kept) + 8) * w.wide_x), np.float32)
    mid = np.zeros((2, (rows_for(w.nx) + 8) * w.wide_y), np.float32)
    return _through.Room(half[0], half[1], mid[0], mid[1], np.zeros((4, (max(w.ny, w.nx) + 8) * (w.block + 8)), np.float32))
