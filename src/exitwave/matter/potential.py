"""The projected electrostatic potential of atoms, exact for every position."""

from functools import lru_cache
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
    in float64. Cost 2 n y x flops of real arithmetic for n atoms; memory the result plus 32 MiB of ramps (more where gradients are kept).
    Limits: independent neutral atoms; the extent of an atom along z is neglected (Si [001] in four slices a cell: 3e-4 of the incident
    intensity after 60 cells, see docs/physics/potential.md).

    Raises:
        InputError: a box larger than the grid, slices that do not reach every atom, an unknown table, a thickness that is not positive, a band
            limit outside 0..1.
    """
    _check(structure, grid, dz_A, band_limit)
    structure = isotropic_in_plane(structure, band_limit * grid.nyquist_invA)
    place = torch.device(device if device is not None else structure.positions_A.device)
    index = slice_index(structure, dz_A)
    columns = [c.to(place) for c in (structure.numbers, structure.positions_A, structure.occupancy, structure.u_iso_A2)]
    factors = {int(z): _factor(int(z), grid, band_limit, table, dtype, place) for z in structure.numbers.unique()}
    slices = []
    for s in range(dz_A.shape[0]):
        here = (index == s).to(place)
        spectrum = _spectrum([c[here] for c in columns], factors, grid, dtype, place)
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


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a table first made inside inference mode would later refuse autograd
def _factor(z: int, grid: Grid, band_limit: float, table: str, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "ky kx"]:
    """K f(k) inside the band, 0 outside, for the frequencies ky, kx >= 0 of the square that holds the band."""
    limit = band_limit * grid.nyquist_invA
    dy, dx = grid.dk_invA
    ky = torch.arange(min(grid.shape[0] // 2, int(limit / dy)) + 1, dtype=torch.float64, device=device)[:, None] * dy
    kx = torch.arange(min(grid.shape[1] // 2, int(limit / dx)) + 1, dtype=torch.float64, device=device)[None] * dx
    k2 = ky**2 + kx**2
    return (scattering_factor(z, k2, table) * POTENTIAL_PER_FACTOR_VA2 * (k2 < limit**2 * (1 - 1e-9))).to(dtype)


def _spectrum(
    atoms: list[Tensor], factors: dict[int, Tensor], grid: Grid, dtype: torch.dtype, place: torch.device
) -> Complex[Tensor, "y xh"]:
    """The half plane kx >= 0, which says it all for a real function; columns beyond the band are left out, rows there are zero."""
    numbers, positions, occupancy, u2 = atoms
    rows, columns = next(iter(factors.values())).shape if factors else (1, 1)
    even = torch.zeros(rows, columns, 2, dtype=dtype, device=place)
    odd = torch.zeros_like(even)
    step = max(1, RAMP_BYTES // (32 * (rows + columns)))
    for z, factor in factors.items():
        chosen = torch.nonzero(numbers == z)[:, 0]
        for part in chosen.split(step):
            if len(part):
                more_even, more_odd = _sites(positions[part], occupancy[part], u2[part], grid, (rows, columns), dtype)
                even, odd = even + factor[..., None] * more_even, odd + factor[..., None] * more_odd
    even, odd = torch.view_as_complex(even), torch.view_as_complex(odd)
    below, above = even - 1j * odd, even + 1j * odd  # at ky and -ky
    # the band never reaches the unpaired line of an even grid unless it is the whole grid
    above = above[1 : grid.shape[0] - rows + 1].flip(0)
    return torch.cat([below, below.new_zeros(grid.shape[0] - rows - above.shape[0], columns), above])


def _sites(
    positions: Tensor, occupancy: Tensor, u2: Tensor, grid: Grid, shape: tuple[int, int], dtype: torch.dtype
) -> tuple[Float[Tensor, "y x 2"], Float[Tensor, "y x 2"]]:
    """sum_j o_j exp(-2 pi^2 u_j k^2 - 2 pi i kx x_j) times cos and times sin of 2 pi ky y_j: two real matrix products for both signs of ky."""
    # exp(-2 pi^2 u^2 k^2) is separable like the ramps, so atoms of one element may move differently and still be one matrix product
    kind = torch.complex128 if dtype == torch.float64 else torch.complex64
    x, y, _ = positions.to(torch.float64).unbind(1)
    u2 = u2.to(torch.float64)
    ky, kx = (torch.arange(n, dtype=torch.float64, device=x.device) * dk for n, dk in zip(shape, grid.dk_invA, strict=True))
    ramp_y = cis(2 * pi * ky[:, None] * y, kind) * torch.exp(-2 * pi**2 * ky[:, None] ** 2 * u2).to(kind)  # (y, n)
    weight = occupancy.to(torch.float64)[:, None] * torch.exp(-2 * pi**2 * u2[:, None] * kx**2)
    ramp_x = torch.view_as_real(cis(-2 * pi * x[:, None] * kx, kind) * weight.to(kind)).reshape(len(x), -1)  # (n, 2 x)
    return (ramp_y.real @ ramp_x).reshape(*shape, 2), (ramp_y.imag @ ramp_x).reshape(*shape, 2)


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
