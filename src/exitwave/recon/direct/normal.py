"""Normal equations of the weak-object model at each scan frequency: what every optimal linear method (least squares, OBF, Wiener) is made of.

Beyond the scan's own Nyquist a measured frequency holds U^2 aliases of the specimen; each responds with its own Gamma(k, q + alias), so that many
detector pixels tell them apart. They are solved together: one column for each alias (and, for complex objects, one for each of phase and
log-amplitude).
"""

from dataclasses import field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.fft import real_dtype
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.overlap import Aperture, overlaps
from exitwave.recon.direct.stack import Progress, spectra, virtual_stacks

BLOCK_BYTES = 2 * 2**20  # responses of a few rows of frequencies stay in cache
SPECTRA_BYTES = 32 * 2**20  # of the pixels that are added at a time, twice, but a small share of the memory
Parts = Literal["phase", "complex"]
Noise = Literal["counts", "white"]


@record
class Tiles:
    """Frequencies of the aliases of a half plane: `qy` (tile, y, 1) and `qx` (tile, 1, h) in 1/A; `upsample` U makes U^2 tiles."""

    qy: Tensor
    qx: Tensor
    scan: tuple[int, int]
    upsample: int


@record
class NormalSums:
    """Gram matrices (y, h, c, c) = sum_k r* r / p and right sides (2, y, h, c) = sum_k r* d / p of the detector's two halves.

    r are the columns' responses, d the data over the mean counts of the whole illumination, p the share of the illumination that pixel k
    expects, or one where noise is taken as "white". `counts` per position stood for the illumination's share `power`. `squares` (y, h) is
    sum_k |d|^2 / p where that was asked for, else zero.
    """

    gram: Tensor
    right: Tensor
    counts: float
    power: float
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))


def tiles_of(g: Geometry, upsample: int) -> Tiles:
    """The aliases of the scan's half plane on a grid `upsample` times finer."""
    (ny, nx), u = g.scan.shape, upsample
    fine_y = torch.fft.fftfreq(ny * u, g.scan.pitch_A[0] / u, dtype=torch.float64).reshape(u, ny)
    fine_x = torch.fft.fftfreq(nx * u, g.scan.pitch_A[1] / u, dtype=torch.float64).reshape(u, nx)[:, : nx // 2 + 1]
    order = [(a, b) for a in range(u) for b in range(u)]
    return Tiles(
        qy=torch.stack([fine_y[a] for a, _ in order])[:, :, None],
        qx=torch.stack([fine_x[b] for _, b in order])[:, None, :],
        scan=(ny, nx),
        upsample=u,
    )


def scan_tiles(g: Geometry) -> Tiles:
    """The scan's half plane by itself, as `scan_frequencies` has it: an even row ends with the positive frequency, where `tiles_of` has the negative
    one (of a sampled image they are one coefficient)."""
    qy, qx = scan_frequencies(g.scan)
    return Tiles(qy=qy[None], qx=qx[None], scan=g.scan.shape, upsample=1)


def responses(planes: tuple[Aperture, ...], k: Tensor, tiles: Tiles, parts: Parts, dtype: torch.dtype, rows: slice = slice(None)) -> Tensor:
    """(y, h, c, b): Gamma_- of every tile in these rows, plane after plane, then for complex objects Gamma_+; a phase responds with i Gamma_-.

    A plane is the illumination as it is at one depth of the specimen.
    """
    qy, qx = tiles.qy[:, rows].permute(1, 2, 0)[..., None], tiles.qx.permute(1, 2, 0)[..., None]  # (y, 1, tile, 1), (1, h, tile, 1)
    sides = [overlaps(plane, k[:, 0], k[:, 1], qy, qx, dtype) for plane in planes]  # (y, h, tile, b)
    columns = [minus - plus for minus, plus in sides]
    if parts == "complex":
        columns += [minus.add_(plus) for minus, plus in sides]
    return columns[0] if len(columns) == 1 else torch.cat(columns, 2)


def normal_sums(
    frames: FrameSource,
    g: Geometry,
    optics: Aperture,
    tiles: Tiles,
    colours: np.ndarray,
    *,
    parts: Parts,
    memory_bytes: int,
    dtype: torch.dtype,
    progress: Progress,
    planes: tuple[Aperture, ...] = (),
    noise: Noise = "counts",
    squares: bool = False,
) -> NormalSums:
    """One pass (or as many as the memory asks for) over the bright pixels. `planes` are slices of the specimen that are solved for together, each as
    the illumination at its depth; none: one slice at `optics`. `noise` says how a pixel's noise goes: with the counts that it expects, or alike.
    `squares` asks for the data's own power.

    The scan's mean (base frequency 0) is the pattern itself, which the model does not hold: that frequency and its aliases stay zero.
    """
    pixels = torch.nonzero(g.bright()).reshape(-1).numpy()
    planes = planes or (optics,)
    columns = len(tiles.qy) * len(planes) * (2 if parts == "complex" else 1)
    ny, h = tiles.qy.shape[1], tiles.qx.shape[2]
    sums = torch.zeros((ny, h, columns + 2 if squares else columns, columns + 2), dtype=torch.complex128)
    size = max(1, min(SPECTRA_BYTES, memory_bytes // 16) // (ny * h * (32 if dtype == torch.complex128 else 16)))
    counts = power = 0.0
    for stack in virtual_stacks(frames, pixels, memory_bytes, progress):
        for start in range(0, len(stack.pixels), size):
            pick, images = stack.pixels[start : start + size], stack.images[start : start + size]
            k = g.k_invA[torch.from_numpy(pick)]
            share = optics.intensity(k[:, 0], k[:, 1])  # (b,)
            power += float(share.sum())
            counts += float(images.mean((1, 2), dtype=np.float64).sum())
            data = spectra(images, dtype).permute(1, 2, 0).contiguous()  # (y, h, b)
            weight = (torch.rsqrt(share) if noise == "counts" else torch.ones_like(share)).to(data.real.dtype)
            _add(sums, planes, k, tiles, parts, data, weight, torch.from_numpy(colours[pick]))
        del stack, images, data  # the next pass needs their memory
    return _finished(sums, columns, parts, counts, power)


def gram_of(g: Geometry, optics: Aperture, tiles: Tiles, dtype: torch.dtype) -> Tensor:
    """The Gram matrices (y, h, c, c) of a phase alone, which need no data."""
    pixels = torch.nonzero(g.bright()).reshape(-1)
    columns, ny, h = len(tiles.qy), tiles.qy.shape[1], tiles.qx.shape[2]
    sums = torch.zeros((ny, h, columns, columns + 2), dtype=torch.complex128)
    for pick in pixels.split(max(1, SPECTRA_BYTES // (ny * h * 16))):
        k = g.k_invA[pick]
        weight = torch.rsqrt(optics.intensity(k[:, 0], k[:, 1])).to(real_dtype(dtype))
        _add(sums, (optics,), k, tiles, "phase", torch.zeros((ny, h, len(pick)), dtype=dtype), weight, torch.zeros_like(pick))
    return _finished(sums, columns, "phase", 0.0, 0.0).gram


def right_of(g: Geometry, optics: Aperture, tiles: Tiles, pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """What one count's spectrum of one has in the right side of the normal equations of a phase, for each of the pixels: (y, h, c, b)."""
    k = g.k_invA[pixels]
    share = optics.intensity(k[:, 0], k[:, 1]).to(real_dtype(dtype))
    right = responses((optics,), k, tiles, "phase", dtype).conj() * (-1j / share)
    right[0, 0] = 0  # the scan's mean is the pattern, as in `_finished`
    return right


def _finished(sums: Tensor, columns: int, parts: Parts, counts: float, power: float) -> NormalSums:
    """Blocks of the sums (y, h, columns and maybe data, columns and data), with the i that a phase responds with, and the mean's frequency left
    out."""
    gram, right = sums[:, :, :columns, :columns], sums[:, :, :columns, columns:].permute(3, 0, 1, 2)
    turn = torch.full((columns,), 1j, dtype=torch.complex128)
    if parts == "complex":
        turn[columns // 2 :] = 1
        gram = gram * (turn.conj()[:, None] * turn)
    right = right * turn.conj()
    gram[0, 0], right[:, 0, 0] = 0, 0
    squares = torch.diagonal(sums[:, :, columns:, columns:], dim1=2, dim2=3).real.sum(-1)
    return NormalSums(gram=gram, right=right, counts=counts, power=power, squares=squares)


def _add(sums: Tensor, planes: tuple[Aperture, ...], k: Tensor, tiles: Tiles, parts: Parts, data: Tensor, weight: Tensor, colour: Tensor) -> None:
    """Add b pixels of `weight` (b,), a few rows of frequencies at a time so that their responses stay in cache: (c, b) @ (b, c + 2) for each
    frequency."""
    ny, h, pixels = data.shape
    columns = sums.shape[3] - 2
    fewer = max(1, BLOCK_BYTES // (h * (columns + 2) * pixels * data.element_size()))
    masks = torch.stack([colour == 0, colour == 1]).to(weight.dtype) * weight  # (2, b)
    for start in range(0, ny, fewer):
        rows = slice(start, min(ny, start + fewer))
        both = torch.empty((rows.stop - start, h, columns + 2, pixels), dtype=data.dtype)
        both[:, :, :columns] = responses(planes, k, tiles, parts, data.dtype, rows).mul_(weight)
        torch.mul(data[rows, :, None], masks, out=both[:, :, columns:])
        adjoint = both[:, :, : sums.shape[2]].conj()
        sums[rows] += adjoint @ both.transpose(2, 3)


def assembled(columns: Tensor, tiles: Tiles) -> Tensor:
    """Half planes (*, Y, H) of the fine grid from a value for each tile (*, y, h, tile); the mirrored ones are conjugates of what was solved."""
    (ny, nx), u = tiles.scan, tiles.upsample
    full = columns.movedim(-1, -3).unflatten(-3, (u, u))  # (ty, tx, y, h)
    rows = full.transpose(-3, -2).flatten(-4, -3)  # (Y, tx, h)
    c = torch.arange(u * nx // 2 + 1)
    tile, base = c // nx, c % nx
    direct = base <= nx // 2
    mirrored = (u * nx - c) % (u * nx)
    there = rows[..., torch.where(direct, tile, mirrored // nx), torch.where(direct, base, mirrored % nx)]  # (Y, H)
    back = there[..., (-torch.arange(u * ny)) % (u * ny), :]
    return torch.where(direct, there, back.conj() if back.is_complex() else back)


def dissected(fine: Tensor, tiles: Tiles) -> Tensor:
    """The other way round: a value for each tile (*, y, h, tile) from half planes (*, Y, H) of the fine grid."""
    (ny, nx), u = tiles.scan, tiles.upsample
    column = (torch.arange(u)[:, None] * nx + torch.arange(nx // 2 + 1)).reshape(-1)  # (tx h,)
    direct = column < fine.shape[-1]
    mirrored = (u * nx - column) % (u * nx)
    there = fine[..., torch.where(direct, column, mirrored)]
    back = there[..., (-torch.arange(u * ny)) % (u * ny), :].conj()
    rows = torch.where(direct, there, back).unflatten(-2, (u, ny)).unflatten(-1, (u, -1))  # (ty, y, tx, h)
    return rows.transpose(-3, -2).flatten(-4, -3).movedim(-3, -1)
