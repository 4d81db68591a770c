"""Slices of a weak specimen solved for together: what separate sections leave blurred into each other, as far as the data can tell slices apart."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage, optics_of
from exitwave.recon.direct.joint_image import Problem, joint_image, normal_problem
from exitwave.recon.direct.normal import Parts, assembled
from exitwave.recon.direct.optimal import Solved, solve
from exitwave.recon.direct.sections import depths, refocused
from exitwave.recon.direct.stack import Progress, ignore

LEAST = 0.02  # of the strongest response to a pattern of slices: weaker ones are not told apart from noise
ALONE = 0.99  # transfer of a slice to itself that counts as separated


@record
class Slices:
    """Phase images of slices at depths `z_A` (A, downstream of the plane that the calibrated C10 belongs to).

    `mixing` (m, n, y, h): the image of slice m holds sum_n mixing[m, n] Phi_n; its diagonal is the `ctf` of each image, the rest is leakage.
    `conditioning` (y, h): smallest over largest eigenvalue of the Gram matrix of the responses (each scaled to length 1), 1 where slices answer
    independently of each other and 0 where no detector pixel tells them apart. `separated` (m, y, h) is True where slice m was solved by itself.
    """

    z_A: tuple[float, ...]
    images: tuple[DirectImage, ...]
    mixing: Tensor
    conditioning: Tensor
    separated: Tensor

    @property
    def stack(self) -> Tensor:
        """(z, y, x) in rad."""
        return torch.stack([one.image for one in self.images])


def reconstruct_slices(
    frames: FrameSource,
    g: Geometry,
    method: str,
    slices_A: Sequence[float],
    *,
    parts: Parts = "phase",
    upsample: int = 1,
    dispersion: float = 1.0,
    counts_per_electron: float = 1.0,
    finite_pixels: bool = True,
    memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64,
    least: float = LEAST,
    progress: Progress = ignore,
) -> Slices:
    """Slices at `slices_A` by "lsq", "obf" or "wiener" from one system of equations.

    To first order a specimen of several weak slices scatters as the sum of its slices, each under the illumination at its depth z,

        G(k, q) = sum_n i Phi_n(q) Gamma_n(k, q),    t_- *= exp(i pi lambda z (k^2 - (k - q)^2)),    t_+ *= exp(i pi lambda z ((k + q)^2 - k^2)),

    i.e. Gamma with C10 + z_n: one column each in the normal equations (`exitwave.recon.direct.normal`). Toward q = 0 all slices answer alike: that
    part of a specimen cannot be placed in depth by any method (the missing cone). "lsq" solves a slice where its response stands out of those of
    the others: combinations of slices whose response is weaker than `least` of the strongest (an eigenvalue of the Gram matrix) are left out, and
    a slice that they take part in by more than 1 % is zero at that q (`separated`). "obf" and "wiener" divide what they cannot place
    among the slices: OBF by its symmetric square root, the posterior mean by the slices' measured powers; `mixing` says how. Other arguments are
    those of `exitwave.recon.direct.reconstruct`; with `parts` "complex" amplitudes are solved for beside the phases but not returned.

    Limits: multiple scattering is left out, i.e. second order in the phase between slices; specimen at other depths than those leaks into them.

    Raises:
        InputError: another method, depths that do not ascend; as `reconstruct`.
        MemoryBudgetError: the normal equations do not fit: they grow with the square of the count of slices.
    """
    z = depths(slices_A)
    if not 1 <= upsample <= 16 or not 0 < least < 1:
        raise InputError("the upsampling factor or the least response is out of range", expected="1 to 16, and between 0 and 1",
                         got=f"{upsample}, {least:g}")
    planes = tuple(optics_of(refocused(g, depth), finite_pixels) for depth in z)
    problem = normal_problem(frames, g, method, parts=parts, upsample=upsample, dispersion=dispersion, finite_pixels=finite_pixels,
                             memory_bytes=memory_bytes, dtype=dtype, progress=progress, planes=planes)
    solved = solve(problem.sums, method, problem.nu, problem.rings, least)
    tiles, count = problem.tiles, upsample**2
    mixing = solved.operator @ problem.sums.gram  # (y, h, c, c)
    solved, mixing, alone = _separated(solved, mixing) if method == "lsq" else (solved, mixing, solved.transfer > -1)
    electrons = problem.total / counts_per_electron

    def own(n: int) -> slice:
        return slice(n * count, (n + 1) * count)

    images = tuple(
        joint_image(g, tiles, method, solved.halves[..., own(n)], solved.transfer[..., own(n)], solved.noise[..., own(n)], electrons)
        for n in range(len(z))
    )
    pairs = [[torch.diagonal(mixing[..., own(m), own(n)], dim1=-2, dim2=-1).contiguous() for n in range(len(z))] for m in range(len(z))]
    return Slices(
        z_A=z,
        images=images,
        mixing=torch.stack([torch.stack([assembled(one, tiles) for one in row]) for row in pairs]),
        conditioning=assembled(_conditioning(problem, len(z), count), tiles),
        separated=torch.stack([assembled(alone[..., own(n)].to(torch.float64), tiles) > 0.5 for n in range(len(z))]),
    )


def _separated(solved: Solved, mixing: Tensor) -> tuple[Solved, Tensor, Tensor]:
    """Least squares without the columns that are not seen by themselves."""
    alone = solved.transfer > ALONE  # (y, h, c)
    keep = alone.to(torch.float64)
    return (
        replace(solved, halves=solved.halves * keep, transfer=solved.transfer * keep, noise=solved.noise * keep),
        mixing * keep[..., None],
        alone,
    )


def _conditioning(problem: Problem, slices: int, count: int) -> Tensor:
    """Of the phases of all slices at each alias (y, h, tile), whatever the other aliases are."""
    gram = problem.sums.gram[..., : slices * count, : slices * count]
    found = []
    for tile in range(count):
        one = gram[..., tile::count, tile::count]
        scale = torch.diagonal(one, dim1=-2, dim2=-1).real
        lit = (scale > 1e-9 * float(scale.max())).all(-1)
        root = torch.rsqrt(torch.where(lit[..., None], scale, torch.ones_like(scale)))
        values = torch.linalg.eigvalsh(one * root[..., :, None] * root[..., None, :])
        ratio = values[..., 0].clamp(min=0) / values[..., -1].clamp(min=1e-300)
        found.append(torch.where(lit, ratio, torch.zeros_like(ratio)))
    return torch.stack(found, -1)
