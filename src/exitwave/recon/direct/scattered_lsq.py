"""The specimen that explains every frame where it was taken: least squares over all positions together.

Data d_jk = (I_jk - mean) / N of frame j and pixel k, expected share p_k, response r_k = i Gamma(k, q) of the weak-object model: minimise over Phi

    sum_jk |d_jk - sum_q r_k(q) Phi(q) exp(2 pi i q.R_j) / n|^2 / p_k

with each pixel's mean free (what vacuum gives is not assumed). The right side is the matched filter, a type-1 NUFFT of each virtual image. The
normal operator needs no positions any more: within one pixel it multiplies by the density of positions in real space (their Toeplitz kernel), on a
grid twice as fine as the band, so that nothing wraps. Solved by conjugate gradients with the diagonal as preconditioner.
"""

from dataclasses import replace
from math import floor

import numpy as np
import torch
from torch import Tensor

from exitwave.core import Grid, record
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.normal import NormalSums
from exitwave.recon.direct.optimal import solve
from exitwave.recon.direct.overlap import Aperture
from exitwave.recon.direct.scattered_field import Field, fast
from exitwave.recon.direct.scattered_operator import ROUNDS, Problem, conjugate_gradients, normal, response
from exitwave.recon.direct.scattered_transform import Scattered, local_area
from exitwave.recon.direct.stack import Progress, ignore, virtual_stacks

LEAST, RIDGE = 1e-4, 1e-3  # the weakest response that is solved, over the strongest; the ridge over the diagonal


@record
class Sums:
    """The matched filter of each half of the detector (2, y, h), sum_k |r|^2 / p (y, h), the counts per position."""

    right: Tensor
    gram: Tensor
    counts: float


def reconstruct_joint(
    frames: FrameSource,
    g: Geometry,
    positions_A: Tensor,
    method: str,
    *,
    field: Field,
    dispersion: float = 1.0,
    counts_per_electron: float = 1.0,
    finite_pixels: bool = True,
    memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64,
    progress: Progress = ignore,
) -> DirectImage:
    """An image by "lsq", "obf" or "wiener" from scattered positions; `g.scan` is the image's raster. For the rest see `reconstruct_scattered`.

    lsq has a ridge of 1e-3 of the diagonal, which calms what no position saw; wiener has the ring-averaged power that it measures; obf is lsq times
    the root of the diagonal. `ctf` and `noise` are those of positions that lie evenly and densely: the normal operator's diagonal stands for it.

    Raises:
        InputError: no signal.
        MemoryBudgetError: the field does not fit.
    """
    problem = _problem(g, optics_of(g, finite_pixels), positions_A, field, memory_bytes, dtype)
    sums = matched(frames, g, problem, positions_A, field, memory_bytes, progress)
    total = sums.counts / float(problem.share.sum())
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{sums.counts:.3g} counts per position")
    area = field.grid.extent_A[0] * field.grid.extent_A[1]
    covered = min(1.0, len(positions_A) * local_area(positions_A, field.grid.extent_A) / area)
    gram = sums.gram * (len(positions_A) / (problem.pixels * covered))  # where positions are
    least = (1e-9 if method == "wiener" else LEAST) * gram.max()
    problem = _keeping(replace(problem, inside=problem.inside & (gram > least)), memory_bytes // 2)
    gram, right = torch.where(problem.inside, gram, 1.0), torch.where(problem.inside, sums.right, 0) / total
    nu, ridge = dispersion * problem.pixels / total, torch.zeros_like(gram)
    solved = _solved(problem, right * (1 + RIDGE), gram * RIDGE, gram, progress)
    if method == "wiener":
        ridge = nu / prior_power(solved.sum(0), torch.where(problem.inside, gram, 0), nu, g.scan)
        solved = _solved(problem, right, ridge, gram, progress, solved * gram / (gram + ridge))
    factor = problem.inside * (torch.sqrt(gram) if method == "obf" else torch.ones_like(gram))
    halves = [torch.fft.irfft2(placed(2 * factor * half, g.scan), s=g.scan.shape) for half in solved]
    return DirectImage(
        method=method,
        image=(halves[0] + halves[1]) / 2,
        halves=(halves[0], halves[1]),
        pitch_A=field.grid.pitch_A,
        ctf=placed(factor * gram / (gram + ridge), g.scan).to(torch.complex128),
        noise=placed(factor**2 * gram / (gram + ridge) ** 2, g.scan) * (nu * covered / problem.pixels),
        electrons=total / counts_per_electron,
        pixels=len(problem.k),
    )


def placed(band: Tensor, grid: Grid) -> Tensor:
    """A half plane of the band (y, h) among all frequencies of the image."""
    whole = torch.zeros((grid.shape[0], grid.shape[1] // 2 + 1), dtype=band.dtype)
    low = (band.shape[0] + 1) // 2
    whole[:low, : band.shape[1]] = band[:low]
    if low > 1:
        whole[1 - low :, : band.shape[1]] = band[low:]
    return whole


def prior_power(solution: Tensor, gram: Tensor, nu: float, grid: Grid) -> Tensor:
    """The specimen's power (y, h) in rings that makes a least-squares solution most likely, as the Wiener method of rasters measures it."""
    qy, qx = scan_frequencies(grid)
    rings = torch.sqrt(qy**2 + qx**2) / (2 * max(grid.dk_invA))
    right = torch.stack([placed(gram * solution, grid), torch.zeros(rings.shape, dtype=solution.dtype)])[..., None]
    columns = placed(gram, grid)[..., None, None].to(torch.complex128)
    made = solve(NormalSums(gram=columns, right=right, counts=1.0, power=1.0), "wiener", nu, rings[..., None])
    if made.prior is None:
        raise InputError("the Wiener solution states no prior")
    low = (gram.shape[0] + 1) // 2
    power = made.prior[:, : gram.shape[1], 0]
    return torch.cat([power[:low], power[len(power) - low + 1 :]])


def matched(
    frames: FrameSource, g: Geometry, x: Problem, positions_A: Tensor, field: Field, memory_bytes: int, progress: Progress
) -> Sums:
    """One pass (or as many as the memory asks for) over the bright pixels."""
    colours, pixels = checkerboard(g.frame), torch.nonzero(g.bright()).reshape(-1).numpy()
    transform = Scattered(positions_A, _on(field, (len(x.qy), 2 * x.qx.shape[1] - 1)), 1e-12 if x.dtype == torch.complex128 else 1e-7)
    right = torch.zeros((2, *x.inside.shape), dtype=torch.complex128)
    gram, counts = torch.zeros(x.inside.shape, dtype=torch.float64), 0.0
    for stack in virtual_stacks(frames, pixels, memory_bytes // 2, progress):
        for at in range(0, len(stack.pixels), x.size):
            pick = stack.pixels[at : at + x.size]
            flat = stack.images[at : at + x.size].reshape(len(pick), -1).astype(np.float64)
            mean = flat.mean(1)
            k = g.k_invA[torch.from_numpy(pick)]
            share = x.optics.intensity(k[:, 0], k[:, 1])[:, None, None]
            r = response(x, k)
            product = (r.conj() / share.to(r.real.dtype)) * transform(flat - mean[:, None]).to(x.dtype)
            for half in (0, 1):
                right[half] += product[torch.from_numpy(colours[pick] == half)].sum(0)
            gram += ((r.real**2 + r.imag**2) / share).sum(0)
            counts += float(mean.sum())
        del stack
    return Sums(right=right, gram=gram, counts=counts)


def _on(field: Field, shape: tuple[int, int]) -> Field:
    extent = field.grid.extent_A
    return Field(grid=Grid(shape=shape, pitch_A=(extent[0] / shape[0], extent[1] / shape[1])), origin_A=field.origin_A)


def _problem(g: Geometry, optics: Aperture, positions_A: Tensor, field: Field, memory_bytes: int, dtype: torch.dtype) -> Problem:
    band = 2 * g.edge_invA + optics.pixel_invA
    top = [min((n - 1) // 2, floor(band * side)) for n, side in zip(field.grid.shape, field.grid.extent_A, strict=True)]
    wide = (fast(4 * top[0] + 1), fast(4 * top[1] + 1))
    needed = 12 * 16 * wide[0] * wide[1]
    if needed > memory_bytes:
        raise MemoryBudgetError("the image's field does not fit", expected=f"at most {memory_bytes / 1e6:.4g} MB", got=f"{needed / 1e6:.4g} MB",
                                remedy=f"raise --memory to {2 * needed / 1e6:.0f}MB, or lower --field-A or raise --pitch-A")
    low = _on(field, (2 * top[0] + 1, 2 * top[1] + 1))
    qy, qx = scan_frequencies(low.grid)
    kernel = Scattered(positions_A, _on(field, wide), 1e-9)(np.ones((1, len(positions_A))))[0]
    kernel[wide[0] // 2], kernel[:, wide[1] // 2] = 0, 0
    q, k = torch.sqrt(qy**2 + qx**2), g.k_invA[g.bright()]
    spread = torch.cat([kernel[: top[0] + 1], kernel[wide[0] - top[0] :]])[:, : top[1] + 1]
    return Problem(optics=optics, k=k, share=optics.intensity(k[:, 0], k[:, 1]), qy=qy, qx=qx, inside=(q > 0) & (q <= band),
                   counts=torch.fft.irfft2(kernel, s=wide), spread=spread, pixels=field.grid.shape[0] * field.grid.shape[1], dtype=dtype, kept=[])


def _keeping(x: Problem, room: int) -> Problem:
    """The same problem with as many responses at hand as fit into `room` bytes."""
    each = x.size * x.inside.numel() * (16 if x.dtype == torch.complex128 else 8)
    return replace(x, kept=[response(x, k) for k in x.k.split(x.size)[: room // each]])


def _solved(x: Problem, right: Tensor, ridge: Tensor, gram: Tensor, progress: Progress, start: Tensor | None = None) -> Tensor:
    scale = torch.where(x.inside, 1 / (gram + ridge), 0)

    def operator(spectrum: Tensor) -> Tensor:
        return normal(x, spectrum) + ridge * spectrum

    return conjugate_gradients(operator, right, scale, start, lambda number: progress(number, ROUNDS))
