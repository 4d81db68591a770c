"""Images by Wigner distribution deconvolution: strong phases and amplitudes, no linearisation."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from exitwave.core import Grid, aberrations, record
from exitwave.core.errors import InputError
from exitwave.data import FrameSource
from exitwave.recon.direct._kernels import gather
from exitwave.recon.direct.deconvolution import Camera, Pair, camera, conjugate_weights, lit_pixels, products
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.overlap import Aperture, pixel_averages
from exitwave.recon.direct.stack import Progress, ignore, spectra, virtual_stacks

BLOCK_BYTES = 4 * 2**20
RIDGES = (1e-10, 1.0)  # of the largest squared product there is, which is 1
ROUNDS = 30
LEAST_SEEN = 0.03


@record
class _Frequencies:
    """What the aperture passes of the fine half plane (Y, H): places `fine` (n, 2) in it and the frequencies `q` (n, 2), 1/A. Of the measured half
    plane they need the places `kept` (b,), flat, the mean first: frequency i is the `base[i]`-th of these, read conjugated where `mirrored`."""

    fine: Tensor
    kept: Tensor
    base: Tensor
    mirrored: Tensor
    q: Tensor
    shape: tuple[int, int]


@record
class _Sums:
    """Sums over the pixels so far: o (half of the detector, sign of q, n), and of a weak specimen's phase the transfer (n,) and sum |w|^2 share."""

    o: Tensor
    ctf: Tensor
    noise: Tensor


def reconstruct_wdd(
    frames: FrameSource,
    g: Geometry,
    *,
    upsample: int = 1,
    dispersion: float = 1.0,
    counts_per_electron: float = 1.0,
    finite_pixels: bool = True,
    ridge: float | None = None,
    memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64,
    progress: Progress = ignore,
) -> DirectImage:
    """Phase and log-amplitude of a thin specimen of any strength, by WDD on every live detector pixel.

    `ridge` is what the Wiener quotient adds to |Gamma^|^2 (whose largest value is 1); None takes the counting noise over the specimen's power,
    both measured, in rings of q. The image is arg T relative to the mean transmission, which must not vanish. `ctf` and `noise` are those of a
    weak specimen, the noise over the mean of |T|^2 (delta method). For the other arguments see `exitwave.recon.direct.reconstruct`.

    Raises:
        InputError: a scan with no signal, or a specimen whose mean transmission is lost in noise.
    """
    optics, grid, at = optics_of(g, finite_pixels), camera(g, finite_pixels), _frequencies(g, upsample)
    pixels = torch.nonzero(g.good).reshape(-1).numpy()
    (ny, nx), item = g.scan.shape, frames.dtype.itemsize
    room = int(memory_bytes * item / (item + 4.5))  # the spectra lie beside the images
    counts, power, kept = torch.zeros(len(g.good), dtype=torch.float64), torch.zeros(len(at.q), dtype=torch.float64), None
    for picked, data in _spectra(frames, pixels, at.kept, room, dtype, progress):
        counts[picked] = data[0].real.double() / (ny * nx)
        power += _power(data, at)
        kept = (picked, data) if len(picked) == len(pixels) else None
        del data
    lit = g.bright()
    total = float(counts[lit].sum() / optics.intensity(g.k_invA[lit, 0], g.k_invA[lit, 1]).sum())
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{total:.3g} counts per position")
    points = replace(optics, axes_invA=torch.zeros(2, 2, dtype=torch.float64))
    noise = dispersion * ny * nx * float(counts.sum())
    ridges = torch.full_like(power, ridge) if ridge is not None else _measured(power, noise, at, points, grid, dtype)
    sums = _Sums(o=torch.zeros((2, 2, len(at.q)), dtype=torch.complex128), ctf=torch.zeros(len(at.q), dtype=torch.complex128),
                 noise=torch.zeros(len(at.q), dtype=torch.float64))
    for picked, data in [kept] if kept else _spectra(frames, pixels, at.kept, room, dtype, progress):
        _add(sums, data, torch.from_numpy(picked), counts / total, g, at, ridges, optics, points, grid, dtype)
        del data
    o = torch.stack([sums.o.sum(0), 2 * sums.o[0], 2 * sums.o[1]])
    return _image(o, sums.ctf, sums.noise, at, g, total, upsample, dispersion, counts_per_electron)


def _frequencies(g: Geometry, upsample: int) -> _Frequencies:
    return _passed(g.scan.shape, g.scan.pitch_A, 2 * g.edge_invA + g.pixel_invA[0], upsample)


@lru_cache(maxsize=4)
def _passed(scan: tuple[int, int], pitch_A: tuple[float, float], edge_invA: float, upsample: int) -> _Frequencies:
    (ny, nx), (qy, qx) = scan, scan_frequencies(Grid(shape=scan, pitch_A=pitch_A), upsample)
    y, x = torch.nonzero(qy**2 + qx**2 <= edge_invA**2, as_tuple=True)
    column = x % nx
    mirrored = column > nx // 2
    base = torch.stack([torch.where(mirrored, -y, y) % ny, torch.where(mirrored, nx - column, column)], -1)
    keep = (base != 0).any(1) | ((y == 0) & (x == 0))  # aliases of the scan's mean hold the pattern, which no specimen made
    kept, place = torch.unique(base[keep] @ torch.tensor([nx // 2 + 1, 1]), return_inverse=True)
    return _Frequencies(fine=torch.stack([y, x], -1)[keep], kept=kept, base=place, mirrored=mirrored[keep],
                        q=torch.stack([qy[y, 0], qx[0, x]], -1)[keep], shape=(ny * upsample, nx * upsample))


def _spectra(
    frames: FrameSource, pixels: np.ndarray, kept: Tensor, room: int, dtype: torch.dtype, progress: Progress
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """The frequencies `kept` (b,) of as many pixels at a time as the memory holds, (b, m)."""
    for stack in virtual_stacks(frames, pixels, room, progress):
        ny, nx = stack.images.shape[1:]
        data = torch.empty((len(kept), len(stack.pixels)), dtype=dtype)
        block = max(8, BLOCK_BYTES // (ny * nx * 8))
        for start in range(0, len(stack.pixels), block):
            data[:, start : start + block] = spectra(stack.images[start : start + block], dtype).flatten(1)[:, kept].T
        picked = stack.pixels
        del stack
        yield picked, data


def _power(data: Tensor, at: _Frequencies) -> Tensor:
    """sum_k |G(k, q)|^2 (n,)."""
    parts = torch.view_as_real(data).flatten(1)
    total = torch.cat([rows.square().sum(1, dtype=torch.float64) for rows in parts.split(64)])
    return total[at.base]


def _measured(power: Tensor, noise: float, at: _Frequencies, points: Aperture, grid: Camera, dtype: torch.dtype) -> Tensor:
    """Noise over specimen power (n,), the other aliases of a frequency counted as noise.

    The specimen's power is one number for each ring two frequency steps wide (the mean, q = 0, is one by itself, the rim one), the likeliest for
    power = noise + sum over aliases (specimen x sum_k |Gamma|^2), found by expectation maximisation (Richardson, J. Opt. Soc. Am. 62 (1972) 55).
    """
    q, flat = torch.linalg.vector_norm(at.q, dim=1), replace(points, aberrations=aberrations({}))
    lit = lit_pixels(points, grid)
    seen = torch.cat([(products(flat, grid, lit, part[:, 0], part[:, 1], dtype).plus.abs() ** 2).sum(1, dtype=torch.float64)
                      for part in at.q.split(_together(grid))])
    width = 2 * max((float(column[column > 0].min()) for column in at.q.abs().T if column.any()), default=1.0)
    ring = torch.where(q > 0, (q / width).to(torch.int64) + 1, torch.zeros_like(q, dtype=torch.int64))
    ring = ring.clamp(max=int(ring[seen > LEAST_SEEN * seen.max()].max()))  # the rim would answer for whatever the rest leaves
    base = at.base

    def in_rings(values: Tensor) -> Tensor:
        return torch.zeros(int(ring.max()) + 1, dtype=torch.float64).index_add_(0, ring, values)

    weight = in_rings(seen).clamp(min=1e-12)
    specimen = (in_rings(power - noise) / weight).clamp(min=1e-6 * noise)
    for _ in range(ROUNDS):
        mine = specimen[ring] * seen
        model = noise + torch.zeros(int(base.max()) + 1, dtype=torch.float64).index_add_(0, base, mine)[base]
        specimen = (specimen * in_rings(seen * power / model) / weight).clamp(min=1e-6 * noise)
    return ((model - mine) / specimen[ring]).clamp(*RIDGES)


def _together(grid: Camera) -> int:
    """Frequencies whose weights stay in the cache."""
    return max(1, BLOCK_BYTES // (8 * grid.shape[0] * grid.shape[1]))


def _add(
    sums: _Sums, data: Tensor, picked: Tensor, shares: Tensor, g: Geometry, at: _Frequencies, ridges: Tensor, optics: Aperture, points: Aperture,
    grid: Camera, dtype: torch.dtype,
) -> None:
    """The part that the pixels `picked` (m,) with spectra (y, h, m) have in every sum; `shares` (pixels,) of the illumination's counts."""
    colours = torch.from_numpy(checkerboard(g.frame))[picked]
    lit = lit_pixels(points, grid)
    within, among = _matches(lit[0], picked, grid)
    share = shares[picked]
    for part in torch.arange(len(at.q)).split(_together(grid)):
        qy, qx = at.q[part].unbind(-1)
        pair, plus, minus = _weighed(points, grid, lit, at.q[part], ridges[part], dtype)
        o, noise = np.zeros((2, 2, len(part)), np.complex128), np.zeros(len(part))
        odd = torch.empty((len(part), len(picked)), dtype=dtype)  # the phase's weight is this over 2i
        gather(plus.numpy(), minus.numpy(), grid.begin, grid.frame, picked.numpy(), colours.numpy(), share.numpy(), data.numpy(),
               at.base[part].numpy(), at.mirrored[part].numpy(), o, noise, odd.numpy())
        sums.o[:, :, part] += torch.from_numpy(o)
        sums.noise[part] += torch.from_numpy(noise)
        left, right = pixel_averages(optics, lit[1][None, :, 0], lit[1][None, :, 1], qy[:, None], qx[:, None], dtype)
        response = (pair.minus.conj() * left - pair.plus * right)[:, within]
        sums.ctf[part] += 0.5 * (odd[:, among] * response).sum(1)


def _weighed(
    points: Aperture, grid: Camera, lit: tuple[Tensor, Tensor], q: Tensor, ridges: Tensor, dtype: torch.dtype
) -> tuple[Pair, Tensor, Tensor]:
    """The products at frequencies q (c, 2), and the conjugate weights (c, Y, X) at q and at -q."""
    qy, qx = q.unbind(-1)
    pair = products(points, grid, lit, qy, qx, dtype)
    plus, minus = (conjugate_weights(pair.spread(product), grid, sign * qy, sign * qx, ridges)
                   for sign, product in ((1, pair.plus), (-1, pair.minus)))
    return pair, plus, minus


def wdd_weights(g: Geometry, pixels: Tensor, upsample: int, ridge: float, finite_pixels: bool, dtype: torch.dtype) -> Tensor:
    """w (b, Y, X) on the whole fine plane for the detector pixels (b,), flat, zero where the aperture passes nothing: sum_k w G = T~(q) T~*(0), for
    the fixed `ridge` that makes it linear in the counts."""
    grid, at = camera(g, finite_pixels), _frequencies(g, upsample)
    points = replace(optics_of(g, finite_pixels), axes_invA=torch.zeros(2, 2, dtype=torch.float64))
    lit, (ny, nx), (y, x) = lit_pixels(points, grid), at.shape, at.fine.unbind(-1)
    cell = (grid.begin[0] + pixels // grid.frame[1]) * grid.shape[1] + grid.begin[1] + pixels % grid.frame[1]
    forth, back = (torch.empty((len(at.q), len(pixels)), dtype=dtype) for _ in range(2))
    for part in torch.arange(len(at.q)).split(_together(grid)):
        _, plus, minus = _weighed(points, grid, lit, at.q[part], torch.full((len(part),), ridge, dtype=torch.float64), dtype)
        forth[part], back[part] = plus.flatten(1)[:, cell].conj(), minus.flatten(1)[:, cell].conj()
    made = torch.zeros((len(pixels), ny, nx), dtype=dtype)
    made[:, -y % ny, -x % nx] = back.T
    made[:, y, x] = forth.T
    return made


def wdd_image(spectra: Tensor, ctf: Tensor, noise: Tensor, g: Geometry, total: float, upsample: int, dispersion: float,
              counts_per_electron: float) -> DirectImage:
    """The image, and those of two halves, from sums sum_k w G (3, Y, X) on the whole fine plane, each over counts of the same mean; `ctf` and
    `noise` (Y, H) are those of a weak specimen's phase for counts of mean one: sum_k w i Gamma and sum_k |w|^2 <I> / total.

    Raises:
        InputError: a specimen whose mean transmission is lost in noise.
    """
    at = _frequencies(g, upsample)
    y, x = at.fine.unbind(-1)
    o = torch.stack([spectra[:, y, x], spectra[:, -y % at.shape[0], -x % at.shape[1]]], 1)
    return _image(o, ctf[y, x], noise[y, x], at, g, total, upsample, dispersion, counts_per_electron)


def _matches(lit: Tensor, picked: Tensor, grid: Camera) -> tuple[Tensor, Tensor]:
    """Which of the grid's `lit` places are among the frame's pixels `picked`, and where there."""
    y, x = lit // grid.shape[1] - grid.begin[0], lit % grid.shape[1] - grid.begin[1]
    inside = (y >= 0) & (y < grid.frame[0]) & (x >= 0) & (x < grid.frame[1])
    where = torch.full((grid.frame[0] * grid.frame[1],), -1, dtype=torch.int64)
    where[picked] = torch.arange(len(picked))
    found = torch.where(inside, where[(y * grid.frame[1] + x).clamp(0, len(where) - 1)], torch.full_like(y, -1))
    return torch.nonzero(found >= 0).reshape(-1), found[found >= 0]


def _image(o: Tensor, ctf: Tensor, noise: Tensor, at: _Frequencies, g: Geometry, total: float, upsample: int, dispersion: float,
           counts_per_electron: float) -> DirectImage:
    """From sums o (3, sign, n), of all and of either half as if it were all, to the specimen."""
    count = g.scan.shape[0] * g.scan.shape[1] * total
    mean = float(o[0, 0, torch.nonzero((at.q == 0).all(1))[0, 0]].real) / count  # |T~(0)|^2
    if not mean > 1e-3:
        raise InputError("the specimen's mean transmission is lost", expected="at least 0.001 of the beam", got=f"{mean:.2g}",
                         remedy="use obf or icom, or calibrate again")
    objects = [_plane(one, at) * (upsample**2 / total / mean**0.5) for one in o]
    strength = objects[0].abs()
    half = (at.shape[0], at.shape[1] // 2 + 1)
    whole_ctf, whole_noise = torch.zeros(half, dtype=torch.complex128), torch.zeros(half, dtype=torch.float64)
    whole_ctf[at.fine[:, 0], at.fine[:, 1]] = ctf / mean
    whole_noise[at.fine[:, 0], at.fine[:, 1]] = noise * (dispersion * upsample**2 / total / mean / float((strength**2).mean()))
    whole_ctf[0, 0] = whole_noise[0, 0] = 0
    return DirectImage(
        method="wdd",
        image=torch.angle(objects[0]),
        halves=(torch.angle(objects[1]), torch.angle(objects[2])),
        pitch_A=(g.scan.pitch_A[0] / upsample, g.scan.pitch_A[1] / upsample),
        ctf=whole_ctf,
        noise=whole_noise,
        electrons=total / counts_per_electron,
        pixels=int(g.good.sum()),
        amplitude=torch.log(strength.clamp(min=1e-6)),
    )


def _plane(o: Tensor, at: _Frequencies) -> Tensor:
    """The object (Y, X) from o (sign, n)."""
    (ny, nx), (y, x) = at.shape, at.fine.unbind(-1)
    spectrum = torch.zeros(at.shape, dtype=torch.complex128)
    spectrum[-y % ny, -x % nx] = o[1]
    spectrum[y, x] = o[0]
    return torch.fft.ifft2(spectrum)
