"""The projected electrostatic potential of atoms, exact for every position."""

from math import pi

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from exitwave.core.constants import POTENTIAL_PER_FACTOR_VA2
from exitwave.core.errors import InputError
from exitwave.core.fft import cis
from exitwave.core.grid import Grid
from exitwave.matter.anisotropic import isotropic_in_plane
from exitwave.matter.factors import scattering_factor
from exitwave.matter.structure import Structure

FACE_TOLERANCE_A = 1e-6  # an atom this close above a slice face belongs to the slice below it, whatever rounding says
RAMP_BYTES = 32 * 2**20  # phase ramps held at once


def projected_potential(structure: Structure, grid: Grid, dz_A: Float[Tensor, " z"], *, table: str = "lobato", band_limit: float = 0.9,
                        dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Float[Tensor, "z y x"]:
    """Potential of each slice projected along z, in V Angstrom, at the points of `grid`; multiply by the beam's sigma for a phase.

    v(k) = K sum_j o_j f_j(|k|) exp(-2 pi^2 u_j |k|^2) exp(-2 pi i k.r_j),  V(r) = (1/area) sum_k v(k) exp(2 pi i k.r)

    with K = h^2 / (2 pi m e) (Kirkland, Advanced Computing in Electron Microscopy, eq. 5.17 and 5.19, without his pixel splatting: the phase
    ramps are evaluated for each atom, so V is exact to rounding wherever atoms lie). Each atom is projected whole into the slice that holds
    its z; slice 0 is the entrance. z repeats with the box, and an atom on a face belongs to the slice downstream of it. The box may be
    smaller than the grid (vacuum around it) but not larger.

    v is zero outside a circle of `band_limit` times the smaller Nyquist frequency: the same for every direction, free of the unpaired Nyquist line
    of even grids, and at 0.9 narrow enough for exp(i sigma V) on a twice finer grid (`Specimen.oversample`) to keep aliases of the first three
    orders outside the circle.

    Differentiable in x, y, `u_iso_A2` and `occupancy`; the gradient in z is zero. `dtype` is that of the result and of the sums; ramps are built
    in float64. Cost 4 n y x flops of complex arithmetic for n atoms; memory the result plus 32 MiB of ramps (more where gradients are kept).
    Limits: independent neutral atoms; the extent of an atom along z is neglected (Si [001] in four slices a cell: 3e-4 of the incident
    intensity after 60 cells, see docs/physics/potential.md).

    Raises:
        InputError: a box larger than the grid, slices that do not reach every atom, an unknown table, a thickness that is not positive, a band
            limit outside 0..1.
    """
    _check(structure, grid, dz_A, band_limit)
    structure = isotropic_in_plane(structure, band_limit * grid.nyquist_invA)
    place = device if device is not None else structure.positions_A.device
    ky, kx = grid.k_invA(place)
    kx = kx[:, : grid.shape[1] // 2 + 1].abs()  # the half plane kx >= 0 says it all for a real function
    k2 = ky**2 + kx**2  # (y, x/2+1)
    scale = POTENTIAL_PER_FACTOR_VA2 * (k2 < (band_limit * grid.nyquist_invA) ** 2 * (1 - 1e-9)).to(k2.dtype)
    factors = {int(z): (scattering_factor(int(z), k2, table) * scale).to(dtype) for z in structure.numbers.unique()}
    index = slice_index(structure, dz_A)
    columns = [c.to(place) for c in (structure.numbers, structure.positions_A, structure.occupancy, structure.u_iso_A2)]
    slices = []
    for s in range(dz_A.shape[0]):
        here = (index == s).to(place)
        spectrum = _spectrum([c[here] for c in columns], factors, ky, kx, dtype)
        slices.append(torch.fft.irfft2(spectrum, s=grid.shape) / (grid.pitch_A[0] * grid.pitch_A[1]))
    return torch.stack(slices)  # (z, y, x)


def slice_index(structure: Structure, dz_A: Float[Tensor, " z"]) -> Int[Tensor, " n"]:
    """The slice of each atom: z taken modulo the box, faces at the running sum of `dz_A`.

    Raises:
        InputError: an atom below the last slice.
    """
    z = structure.positions_A.detach()[:, 2].to("cpu", torch.float64)
    z = torch.remainder(z + FACE_TOLERANCE_A, structure.cell_A[2])
    faces = torch.cumsum(dz_A.detach().to("cpu", torch.float64), 0)
    index = torch.searchsorted(faces, z, right=True)
    # rounding of the running sum may leave the last face a hair above the box
    index = torch.where((index == len(faces)) & (z < faces[-1] + 2 * FACE_TOLERANCE_A), len(faces) - 1, index)
    if bool((index >= len(faces)).any()):
        raise InputError("the slices end before the structure does", expected=f"thicknesses that add up to {float(z.max()):.4g} A or more",
                         got=f"{float(faces[-1]):.4g} A", remedy="use even_slices(structure, thickness_A)")
    return index


def _spectrum(atoms: list[Tensor], factors: dict[int, Tensor], ky: Tensor, kx: Tensor, dtype: torch.dtype) -> Complex[Tensor, "y xh"]:
    numbers, positions, occupancy, u2 = atoms
    kind = torch.complex128 if dtype == torch.float64 else torch.complex64
    total = torch.zeros(ky.shape[0], kx.shape[1], dtype=kind, device=positions.device)
    step = max(1, RAMP_BYTES // (32 * (ky.shape[0] + kx.shape[1])))
    for z, factor in factors.items():
        chosen = torch.nonzero(numbers == z)[:, 0]
        for part in chosen.split(step):
            total = total + factor * _sites(positions[part], occupancy[part], u2[part], ky, kx, kind)
    return total


def _sites(positions: Tensor, occupancy: Tensor, u2: Tensor, ky: Tensor, kx: Tensor, kind: torch.dtype) -> Complex[Tensor, "y xh"]:
    # exp(-2 pi^2 u^2 k^2) is separable like the ramps, so atoms of one element may move differently and still be one matrix product
    x, y, _ = positions.to(torch.float64).unbind(1)
    u2 = u2.to(torch.float64)
    ramp_y = cis(-2 * pi * ky * y, kind) * torch.exp(-2 * pi**2 * ky**2 * u2).to(kind)  # (y, n)
    weight = occupancy.to(torch.float64)[:, None] * torch.exp(-2 * pi**2 * u2[:, None] * kx**2)
    ramp_x = cis(-2 * pi * x[:, None] * kx, kind) * weight.to(kind)  # (n, xh)
    return ramp_y @ ramp_x


def _check(structure: Structure, grid: Grid, dz_A: Tensor, band_limit: float) -> None:
    (x, y, _), (height, width) = structure.cell_A, grid.extent_A
    if x > width * (1 + 1e-9) or y > height * (1 + 1e-9):
        raise InputError("the box of the structure is larger than the grid, so atoms would overlap",
                         expected=f"at most {width:.6g} x {height:.6g} A (x, y)", got=f"{x:.6g} x {y:.6g} A",
                         remedy="use grid_for(structure, pitch_A)")
    if dz_A.numel() < 1 or not bool((dz_A > 0).all()):
        raise InputError("slices need positive thicknesses", got=dz_A.detach().tolist()[:8])
    if not 0 < band_limit <= 1:
        raise InputError("the band limit of a potential is a fraction of Nyquist", expected="0 < band_limit <= 1", got=band_limit)
