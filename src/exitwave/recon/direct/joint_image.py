"""Images by the optimal methods: normal equations, solution, assembly."""

from dataclasses import replace

import torch
from torch import Tensor

from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.normal import Parts, Tiles, assembled, normal_sums, tiles_of
from exitwave.recon.direct.optimal import Solved, solve
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
) -> DirectImage:
    """An image by "lsq", "obf" or "wiener", all aliases of each measured frequency solved together.

    For the arguments and the result see `exitwave.recon.direct.reconstruct`; with `parts` "complex" the log-amplitude is solved beside the phase
    and returned as `amplitude`.

    Raises:
        InputError: an unknown method or kind of object, a scan with no signal.
        MemoryBudgetError: the normal equations do not fit.
    """
    if parts not in ("phase", "complex"):
        raise InputError("unknown kind of object", expected="phase or complex", got=parts)
    tiles, optics = tiles_of(g, upsample), optics_of(g, finite_pixels)
    columns = upsample**2 * (2 if parts == "complex" else 1)
    (ny, nx), h = g.scan.shape, tiles.qx.shape[2]
    needed = 3 * ny * h * columns**2 * 16
    if needed > memory_bytes:
        raise MemoryBudgetError("the normal equations do not fit", expected=f"at most {memory_bytes / 1e6:.4g} MB", got=f"{needed / 1e6:.4g} MB",
                                remedy=f"raise --memory to {2 * needed / 1e6:.0f}MB, or lower the upsampling")
    colours = checkerboard(g.frame)
    sums = normal_sums(frames, g, optics, tiles, colours, parts=parts, memory_bytes=memory_bytes - needed, dtype=dtype, progress=progress)
    total = sums.counts / sums.power
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{sums.counts:.3g} counts per position")
    scale = upsample**2 / total  # data are in units of the mean counts, on the fine grid
    nu = dispersion * scale**2 * ny * nx * total
    solved = solve(replace(sums, right=sums.right * scale), method, nu, _ring_numbers(tiles, parts))
    count = upsample**2
    phase = [assembled(half[..., :count], tiles) for half in solved.halves]
    shape = (ny * upsample, nx * upsample)
    halves = (2 * torch.fft.irfft2(phase[0], s=shape), 2 * torch.fft.irfft2(phase[1], s=shape))
    return DirectImage(
        method=method,
        image=(halves[0] + halves[1]) / 2,
        halves=halves,
        pitch_A=(g.scan.pitch_A[0] / upsample, g.scan.pitch_A[1] / upsample),
        ctf=assembled(solved.transfer[..., :count], tiles).to(torch.complex128),
        noise=assembled(solved.noise[..., :count], tiles) / (shape[0] * shape[1]),
        electrons=total / counts_per_electron,
        pixels=int(g.bright().sum()),
        amplitude=_amplitude(solved, tiles, shape) if parts == "complex" else None,
    )


def _ring_numbers(tiles: Tiles, parts: Parts) -> Tensor:
    """|q| of each column (y, h, c) in units of two frequency steps; amplitude has rings of its own."""
    step = 2 * float(max(tiles.qy.abs()[tiles.qy != 0].min(), tiles.qx.abs()[tiles.qx != 0].min()))
    rings = (torch.sqrt(tiles.qy**2 + tiles.qx**2) / step).permute(1, 2, 0)  # (y, h, tile)
    return rings if parts == "phase" else torch.cat([rings, rings + rings.max().ceil() + 1], -1)


def _amplitude(solved: Solved, tiles: Tiles, shape: tuple[int, int]) -> Tensor:
    return torch.fft.irfft2(assembled(solved.halves.sum(0)[..., len(tiles.qy) :], tiles), s=shape)
