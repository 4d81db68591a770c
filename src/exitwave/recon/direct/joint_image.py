"""Images by the optimal methods: normal equations, solution, assembly."""

from dataclasses import replace

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.kept import KeptNormal, kept_sums, solved_again
from exitwave.recon.direct.normal import NormalSums, Parts, Tiles, assembled, normal_sums, tiles_of
from exitwave.recon.direct.optimal import METHODS, Solved, solve
from exitwave.recon.direct.overlap import Aperture
from exitwave.recon.direct.stack import Progress, ignore


def reconstruct_optimal(
    frames: FrameSource,
    g: Geometry,
    method: str,
    *,
    parts: Parts = "phase",
    upsample: int = 1,
    dispersion: float = 1.0,
    counts_per_electron: float = 1.0,
    finite_pixels: bool = True,
    memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64,
    progress: Progress = ignore,
    kept: KeptNormal | None = None,
) -> DirectImage:
    """An image by "lsq", "obf" or "wiener", all aliases of each measured frequency solved together.

    For the arguments and the result see `exitwave.recon.direct.reconstruct`; with `parts` "complex" the log-amplitude is solved beside the phase
    and returned as `amplitude`. `kept` (`exitwave.recon.direct.kept`) makes a phase image of this geometry in less time, the same to rounding.

    Raises:
        InputError: an unknown method or kind of object, a scan with no signal.
        MemoryBudgetError: the normal equations do not fit.
    """
    if kept is not None:
        return joint_solution(kept_sums(frames, g, kept, memory_bytes, dtype, progress), kept, g, method, dispersion, counts_per_electron)
    problem = normal_problem(frames, g, method, parts=parts, upsample=upsample, dispersion=dispersion, finite_pixels=finite_pixels,
                             memory_bytes=memory_bytes, dtype=dtype, progress=progress)
    solved = solve(problem.sums, method, problem.nu, problem.rings)
    tiles, count = problem.tiles, upsample**2
    return replace(
        joint_image(g, tiles, method, solved.halves[..., :count], solved.transfer[..., :count], solved.noise[..., :count],
                    problem.total / counts_per_electron),
        amplitude=_amplitude(solved, tiles) if parts == "complex" else None,
    )


def joint_solution(sums: NormalSums, kept: KeptNormal, g: Geometry, method: str, dispersion: float, counts_per_electron: float) -> DirectImage:
    """The phase image that these normal equations of a scan give, solved as `kept` says or anew.

    Raises:
        InputError: no signal.
    """
    problem = _scaled(sums, kept.tiles, kept.tiles.upsample, dispersion, g, 1)
    solved = solve(problem.sums, method, problem.nu, problem.rings) if kept.solved is None else solved_again(kept.solved, problem.sums, problem.nu)
    return joint_image(g, kept.tiles, method, solved.halves, solved.transfer, solved.noise, problem.total / counts_per_electron)


@record
class Problem:
    """Normal equations in rad: `nu` is the noise of the right side over the Gram matrix, `rings` (y, h, c) the ring of each column that a prior is
    shared in, `total` the counts per position of the whole illumination."""

    sums: NormalSums
    tiles: Tiles
    nu: float
    rings: Tensor
    total: float


def normal_problem(
    frames: FrameSource,
    g: Geometry,
    method: str,
    *,
    parts: Parts,
    upsample: int,
    dispersion: float,
    finite_pixels: bool,
    memory_bytes: int,
    dtype: torch.dtype,
    progress: Progress,
    planes: tuple[Aperture, ...] = (),
) -> Problem:
    """The normal equations of a scan for one slice, or for the slices of `planes` together.

    Raises:
        InputError: an unknown method or kind of object, a scan with no signal.
        MemoryBudgetError: they do not fit.
    """
    if method not in METHODS:
        raise InputError(f"unknown optimal method {method!r}", expected=", ".join(METHODS))
    if parts not in ("phase", "complex"):
        raise InputError("unknown kind of object", expected="phase or complex", got=parts)
    tiles, optics = tiles_of(g, upsample), optics_of(g, finite_pixels)
    groups = max(1, len(planes)) * (2 if parts == "complex" else 1)
    ny, h = g.scan.shape[0], tiles.qx.shape[2]
    needed = (3 if not planes else 6) * ny * h * (groups * upsample**2) ** 2 * 16
    if needed > memory_bytes:
        raise MemoryBudgetError("the normal equations do not fit", expected=f"at most {memory_bytes / 1e6:.4g} MB", got=f"{needed / 1e6:.4g} MB",
                                remedy=f"raise --memory to {2 * needed / 1e6:.0f}MB, lower the upsampling or solve for fewer slices")
    sums = normal_sums(frames, g, optics, tiles, checkerboard(g.frame), parts=parts, memory_bytes=memory_bytes - needed, dtype=dtype,
                       progress=progress, planes=planes)
    return _scaled(sums, tiles, upsample, dispersion, g, groups)


def _scaled(sums: NormalSums, tiles: Tiles, upsample: int, dispersion: float, g: Geometry, groups: int) -> Problem:
    """In rad."""
    (ny, nx), total = g.scan.shape, sums.counts / sums.power
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{sums.counts:.3g} counts per position")
    scale = upsample**2 / total  # data are in units of the mean counts, on the fine grid
    return Problem(sums=replace(sums, right=sums.right * scale), tiles=tiles, nu=dispersion * scale**2 * ny * nx * total,
                   rings=_ring_numbers(tiles, groups), total=total)


def joint_image(g: Geometry, tiles: Tiles, method: str, halves: Tensor, transfer: Tensor, noise: Tensor, electrons: float) -> DirectImage:
    """The phase image of one slice from the solution (2, y, h, tile), transfer and noise (y, h, tile) of its aliases."""
    u, (ny, nx) = tiles.upsample, tiles.scan
    shape = (ny * u, nx * u)
    made = [2 * torch.fft.irfft2(assembled(half, tiles), s=shape) for half in halves]
    return DirectImage(
        method=method,
        image=(made[0] + made[1]) / 2,
        halves=(made[0], made[1]),
        pitch_A=(g.scan.pitch_A[0] / u, g.scan.pitch_A[1] / u),
        ctf=assembled(transfer, tiles).to(torch.complex128),
        noise=assembled(noise, tiles) / (shape[0] * shape[1]),
        electrons=electrons,
        pixels=int(g.bright().sum()),
    )


def _ring_numbers(tiles: Tiles, groups: int) -> Tensor:
    """|q| of each column (y, h, c) in units of two frequency steps; every group of tiles (a slice, its amplitude) has rings of its own."""
    step = 2 * max((float(q[q > 0].min()) for q in (tiles.qy.abs(), tiles.qx.abs()) if q.any()), default=1.0)  # a scan of one row has one axis
    rings = (torch.sqrt(tiles.qy**2 + tiles.qx**2) / step).permute(1, 2, 0)  # (y, h, tile)
    return torch.cat([rings + group * (rings.max().ceil() + 1) for group in range(groups)], -1)


def _amplitude(solved: Solved, tiles: Tiles) -> Tensor:
    shape = (tiles.scan[0] * tiles.upsample, tiles.scan[1] * tiles.upsample)
    return torch.fft.irfft2(assembled(solved.halves.sum(0)[..., len(tiles.qy) :], tiles), s=shape)
