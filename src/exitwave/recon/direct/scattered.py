"""Direct phase images from any scan positions: spirals, drift, jitter. Nothing is regridded: frames stay where they were taken."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError, suggest
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.moments import icom_moments, icom_weighed
from exitwave.recon.direct.optimal import METHODS as OPTIMAL
from exitwave.recon.direct.overlap import Aperture
from exitwave.recon.direct.scattered_field import Field, check_positions, field_of
from exitwave.recon.direct.scattered_lsq import reconstruct_joint
from exitwave.recon.direct.scattered_transform import Scattered, density
from exitwave.recon.direct.stack import Progress, ignore, virtual_stacks
from exitwave.recon.direct.weights import WEIGHTS, WHOLE_DETECTOR, transfer, weight_named

METHODS = (*WEIGHTS, *OPTIMAL)
BLOCK_BYTES = 4 * 2**20


def reconstruct_scattered(
    frames: FrameSource,
    g: Geometry,
    positions_A: Tensor,
    method: str,
    *,
    field: Field | None = None,
    dispersion: float = 1.0,
    counts_per_electron: float = 1.0,
    finite_pixels: bool = True,
    memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64,
    progress: Progress = ignore,
) -> DirectImage:
    """A direct phase image, its transfer and its noise, from frames taken at `positions_A` (n, 2), y then x, in frame order.

    `g.scan` is not used; `field` is `field_of(g, positions_A)` where None. The weights ssb, parallax, flipped-parallax and icom act on

        O(q) = sum_k w(k, q) sum_j v_j (I(R_j, k) - m_k) exp(-2 pi i q.R_j) / N

    with v_j the area that position j stands for (`density`) and m_k the mean pattern, which no specimen made. On an exact raster that is
    `reconstruct`, upsampled where the pitch is finer than the step (the image's mean, which holds no phase, is zero). lsq, obf and wiener solve
    for the specimen that explains every frame where it was taken (`exitwave.recon.direct.scattered_lsq`). The image equals CTF x phase where
    positions are; `noise` counts the whole field, of which they cover a part.

    Raises:
        InputError: an unknown method, positions that are not one for each frame, not finite or on one line, NaN or negative counts, no signal.
        MemoryBudgetError: the field does not fit.
    """
    if method not in METHODS:
        raise InputError(f"{method!r} is no method for scattered positions", remedy=suggest(method, METHODS))
    positions = check_positions(positions_A, frames.shape[0] * frames.shape[1])
    place = field_of(g, positions) if field is None else field
    g = replace(g, scan=place.grid)
    if method in OPTIMAL:
        return reconstruct_joint(frames, g, positions, method, field=place, dispersion=dispersion, counts_per_electron=counts_per_electron,
                                 finite_pixels=finite_pixels, memory_bytes=memory_bytes, dtype=dtype, progress=progress)
    optics = optics_of(g, finite_pixels)
    areas = density(positions, place.grid.extent_A) / (place.grid.pitch_A[0] * place.grid.pitch_A[1])  # in image pixels
    transform = Scattered(positions, place, 1e-12 if dtype == torch.complex128 else 1e-7)
    pixels = torch.nonzero(g.good if method in WHOLE_DETECTOR else g.bright()).reshape(-1).numpy()
    if method == "icom":
        sums = _from_moments(frames, g, optics, transform, areas, memory_bytes, progress)
    else:
        sums = _from_stack(frames, g, optics, transform, areas, pixels, method, memory_bytes, dtype, progress)
    power = float(optics.intensity(g.k_invA[pixels, 0], g.k_invA[pixels, 1]).sum())
    total = sums.counts / power
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{sums.counts:.3g} counts per position")
    made = [torch.fft.irfft2(s / total, s=place.grid.shape) for s in (sums.halves[0] + sums.halves[1], 2 * sums.halves[0], 2 * sums.halves[1])]
    count = place.grid.shape[0] * place.grid.shape[1]
    return DirectImage(
        method=method,
        image=made[0],
        halves=(made[1], made[2]),
        pitch_A=place.grid.pitch_A,
        ctf=sums.ctf,
        noise=sums.noise * (dispersion * float((areas**2).sum()) / (count * total**2)),
        electrons=total / counts_per_electron,
        pixels=len(pixels),
    )


@record
class _Sums:
    """Weighed spectra of the detector's halves, transfer, sum_k |w|^2 <I>, and the mean counts per position."""

    halves: tuple[Tensor, Tensor]
    ctf: Tensor
    noise: Tensor
    counts: float


def _from_stack(
    frames: FrameSource, g: Geometry, optics: Aperture, transform: Scattered, areas: Tensor, pixels: np.ndarray, method: str, memory_bytes: int,
    dtype: torch.dtype, progress: Progress,
) -> _Sums:
    weight, colours, v = weight_named(method), checkerboard(g.frame), areas.numpy()
    qy, qx = scan_frequencies(g.scan)
    shape = (qy.shape[0], qx.shape[1])
    halves = (torch.zeros(shape, dtype=torch.complex128), torch.zeros(shape, dtype=torch.complex128))
    ctf, noise, counts = torch.zeros(shape, dtype=torch.complex128), torch.zeros(shape, dtype=torch.float64), 0.0
    size = max(2, BLOCK_BYTES // (shape[0] * shape[1] * (16 if dtype == torch.complex128 else 8)))
    for stack in virtual_stacks(frames, pixels, memory_bytes, progress):
        for at in range(0, len(stack.pixels), size):
            pick = stack.pixels[at : at + size]
            data, mean = centred(stack.images[at : at + size], v)
            k = g.k_invA[torch.from_numpy(pick)]
            weighed = weight(optics, k[:, 0, None, None], k[:, 1, None, None], qy, qx, dtype)
            product = weighed.weight * transform(data).to(dtype)
            first = torch.from_numpy(colours[pick] == 0)
            halves[0].add_(product[first].sum(0))
            halves[1].add_(product[~first].sum(0))
            ctf += (weighed.weight * weighed.response).sum(0)
            size2 = (weighed.weight.real**2 + weighed.weight.imag**2).expand(len(k), -1, -1)
            noise += torch.einsum("byx,b->yx", size2, mean.to(size2.dtype))
            counts += float(mean.sum())
        del stack
    return _Sums(halves=halves, ctf=ctf, noise=noise, counts=counts)


def _from_moments(
    frames: FrameSource, g: Geometry, optics: Aperture, transform: Scattered, areas: Tensor, memory_bytes: int, progress: Progress
) -> _Sums:
    """iCOM needs three images of each half of the detector, whatever the number of its pixels."""
    qy, qx = scan_frequencies(g.scan)
    moments, second = icom_moments(frames, g, torch.from_numpy(checkerboard(g.frame)), memory_bytes, progress)
    v = areas.numpy()
    flat = moments.reshape(2, 3, -1)
    data, _ = centred(flat[:, :2].reshape(4, -1).numpy(), v)
    made = transform(data).reshape(2, 2, qy.shape[0], -1)
    halves, noise = icom_weighed(made, second, qy, qx)
    ctf = transfer(weight_named("icom"), optics, g.k_invA[g.bright(1e-9)], qy, qx)
    counts = float((flat[:, 2].sum(0) * areas).sum() / areas.sum())
    return _Sums(halves=(halves[0], halves[1]), ctf=ctf, noise=noise, counts=counts)


def centred(images: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """v_j (I_j - m) as float64 (m, n) and the means m weighed by v."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    mean = flat @ v / v.sum()
    return (flat - mean[:, None]) * v, torch.from_numpy(mean)
