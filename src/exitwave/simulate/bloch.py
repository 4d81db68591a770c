"""Bloch waves: the dynamical diffraction of a perfect crystal without slices, grids or transforms."""

from math import pi, tan
from typing import Literal

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from exitwave.core import Beam, record
from exitwave.core.constants import POTENTIAL_PER_FACTOR_VA2
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.core.fft import cis
from exitwave.matter import Structure, scattering_factor

UNCOUPLED_V = 1e-9  # a coefficient below this is a systematic absence
LARGEST = 6000  # beams: the eigenvectors of so many take 0.6 GB
Space = Literal["fresnel", "exact"]


@record
class BlochWaves:
    """The eigen-decomposition of a crystal's structure matrix for one direction of the beam.

    Row 0 of `hkl` (n, 3) is the incident beam. Bloch wave j has the eigenvalue `values_rad_per_A[j]` (complex where it is absorbed), the
    beams' coefficients `vectors[:, j]` and the excitation amplitude `excitation[j]`.
    """

    hkl: Int[Tensor, "n 3"]
    depth_A: float
    values_rad_per_A: Complex[Tensor, " n"]
    vectors: Complex[Tensor, "n n"]
    excitation: Complex[Tensor, " n"]


def fourier_coefficients_V(structure: Structure, hkl: Int[Tensor, "*n 3"], table: str = "lobato") -> Complex[Tensor, "*n"]:
    """V_G of the crystal in volts at Miller indices of its box, complex128.

    V_G = K / Omega sum_j o_j f_j(|G|) exp(-2 pi^2 u_j |G|^2) exp(-2 pi i G.r_j), K = h^2 / (2 pi m e): the coefficients whose sum over l is
    `projected_potential`. Differentiable in positions, occupancy and motion.

    Raises:
        InputError: an unknown table or element.
    """
    sides = torch.tensor(structure.cell_A, dtype=torch.float64)
    g = hkl.to(torch.float64).reshape(-1, 3) / sides  # (n, 3) in 1/A
    g2 = (g**2).sum(1)
    total = torch.zeros(len(g), dtype=torch.complex128)
    tensors = None if structure.u_tensor_A2 is None else structure.u_tensor_A2.to("cpu", torch.float64)
    for z in structure.numbers.unique().tolist():
        of = structure.numbers == z
        r, weight, u2 = (c[of].to("cpu", torch.float64) for c in (structure.positions_A, structure.occupancy, structure.u_iso_A2))
        phases = cis(-2 * pi * (g @ r.T), torch.complex128)  # (n, atoms)
        gUg = g2[:, None] * u2 if tensors is None else torch.einsum("gi,nij,gj->gn", g, tensors[of], g)
        damped = weight * torch.exp(-2 * pi**2 * gUg)
        total = total + scattering_factor(int(z), g2, table) * (phases * damped).sum(1)
    volume = structure.cell_A[0] * structure.cell_A[1] * structure.cell_A[2]
    return (total * (POTENTIAL_PER_FACTOR_VA2 / volume)).reshape(hkl.shape[:-1])


def detuning_rad_per_A(structure: Structure, beam: Beam, hkl: Int[Tensor, "n 3"], tilt_mrad: tuple[float, float] = (0.0, 0.0),
                       space: Space = "fresnel") -> Float[Tensor, " n"]:
    """2 pi s_G: 2 pi times the distance of G from the Ewald surface along z, negative outside the surface, float64.

    "exact": kz(G + k_t) - kz(k_t) - G_z with kz = sqrt(1/lambda^2 - k^2), the sphere. "fresnel": -lambda G^2 / 2 - G.tan(tilt) - G_z, the
    paraboloid of the paraxial wave equation, which is what multislice with Fresnel's kernel solves. `tilt_mrad` (y, x) is the beam's direction.
    """
    sides = torch.tensor(structure.cell_A, dtype=torch.float64)
    gx, gy, gz = (hkl.to(torch.float64) / sides).unbind(1)
    ty, tx = (tan(t * 1e-3) for t in tilt_mrad)
    if space == "fresnel":
        return 2 * pi * (-beam.wavelength_A / 2 * (gx**2 + gy**2) - gx * tx - gy * ty - gz)
    k0 = 1 / beam.wavelength_A
    slope = (1 + ty**2 + tx**2) ** 0.5
    kx, ky = k0 * tx / slope, k0 * ty / slope
    kz2 = k0**2 - (gx + kx) ** 2 - (gy + ky) ** 2
    if bool((kz2 <= 0).any()):
        raise InputError("a beam leaves the crystal sideways", expected=f"|G| below {k0:.4g} 1/A", remedy="take a smaller k_max_invA")
    return 2 * pi * (torch.sqrt(kz2) - k0 / slope - gz)


def reflections(structure: Structure, beam: Beam, k_max_invA: float, *, zones: int = 0, detuning_max_invA: float = 0.2,
                tilt_mrad: tuple[float, float] = (0.0, 0.0), table: str = "lobato") -> Int[Tensor, "n 3"]:
    """Beams (h, k, l) worth taking: transverse length up to `k_max_invA`, |l| up to `zones`, not further from the Ewald surface than
    `detuning_max_invA` in the upper Laue zones (every beam of zone 0 is taken). (0, 0, 0) comes first; those that a centred lattice never
    couples to it are left out.

    Raises:
        InputError: a limit that is not positive.
        MemoryBudgetError: more beams than a matrix may have.
    """
    if not 0 < k_max_invA < 1 / beam.wavelength_A or zones < 0 or detuning_max_invA <= 0:
        raise InputError("the limits of a set of beams are positive", got=f"k_max {k_max_invA}, zones {zones}, detuning {detuning_max_invA}")
    x, y, _ = structure.cell_A
    reach = (int(k_max_invA * x), int(k_max_invA * y), zones)
    if (2 * reach[0] + 1) * (2 * reach[1] + 1) * (2 * zones + 1) > 64 * LARGEST:
        raise MemoryBudgetError("a box this large has too many beams for Bloch waves", expected=f"under {LARGEST}", remedy="give one unit cell")
    hkl = _box(reach)
    size2 = (hkl[:, 0] / x) ** 2 + (hkl[:, 1] / y) ** 2
    far = detuning_rad_per_A(structure, beam, hkl, tilt_mrad).abs() > 2 * pi * detuning_max_invA
    hkl = hkl[(size2 <= k_max_invA**2) & (~far | (hkl[:, 2] == 0))]
    hkl = hkl[torch.argsort((hkl.to(torch.float64) ** 2).sum(1), stable=True)]
    hkl = hkl[_coupled(structure, hkl, table)]
    if len(hkl) > LARGEST:
        raise MemoryBudgetError("too many beams for Bloch waves", expected=f"under {LARGEST}", got=len(hkl), remedy="lower k_max_invA or zones")
    return hkl


def bloch_waves(structure: Structure, beam: Beam, hkl: Int[Tensor, "n 3"], *, tilt_mrad: tuple[float, float] = (0.0, 0.0),
                absorption: float = 0.0, space: Space = "fresnel", table: str = "lobato") -> BlochWaves:
    """Bloch waves of a crystal whose box is `structure`, for a plane wave that enters at z = 0 with the direction `tilt_mrad` (y, x).

    With psi = sum_G phi_G(z) exp(2 pi i G.r), d phi / dz = i A phi, A_GH = 2 pi s_G delta_GH + sigma V_(G-H), and phi = C exp(i gamma z) C^-1
    phi(0). `absorption` is the ratio of the imaginary to the real potential, V -> V (1 + i absorption), the same for every coefficient.
    Bethe, Ann. Phys. 392 (1928) 55, doi 10.1002/andp.19283921704; Humphreys, Rep. Prog. Phys. 42 (1979) 1825, doi 10.1088/0034-4885/42/11/002.
    Limits: forward scattering only, a perfect crystal with faces normal to z, no more beams than `hkl`. The cost grows as n^3.

    Raises:
        InputError: hkl that does not begin with (0, 0, 0), an absorption outside 0..1.
    """
    if len(hkl) == 0 or bool(hkl[0].any()):
        raise InputError("the incident beam (0, 0, 0) is the first of the list", got=hkl[:1].tolist())
    if not 0 <= absorption < 1:
        raise InputError("absorption is the ratio of the imaginary to the real potential", expected="0 <= absorption < 1", got=absorption)
    matrix = beam.sigma_rad_per_VA * _differences(structure, hkl, table)
    matrix = matrix * (1 + 1j * absorption) + torch.diag(detuning_rad_per_A(structure, beam, hkl, tilt_mrad, space)).to(matrix)
    start = torch.zeros(len(hkl), dtype=matrix.dtype)
    start[0] = 1
    if absorption == 0:
        values, vectors = torch.linalg.eigh(matrix)
        values, excitation = values.to(matrix.dtype), vectors.conj().T @ start
    else:
        values, vectors = torch.linalg.eig(matrix)
        excitation = torch.linalg.solve(vectors, start)
    return BlochWaves(hkl=hkl, depth_A=structure.cell_A[2], values_rad_per_A=values, vectors=vectors, excitation=excitation)


def beams_at(waves: BlochWaves, thickness_A: Float[Tensor, " t"]) -> tuple[Int[Tensor, "m 2"], Complex[Tensor, "t m"]]:
    """The transverse beams (h, k) that leave a crystal, and their amplitudes at each thickness, (0, 0) first: sum_l phi_(hkl) exp(2 pi i l z / c)."""
    z = thickness_A.to(torch.float64)
    amplitude = torch.exp(1j * z[:, None] * waves.values_rad_per_A) * waves.excitation @ waves.vectors.T  # (t, n)
    amplitude = amplitude * cis(2 * pi * z[:, None] * waves.hkl[:, 2] / waves.depth_A, amplitude.dtype)
    hk, place = torch.unique(waves.hkl[:, :2], dim=0, return_inverse=True)
    total = torch.zeros(len(z), len(hk), dtype=amplitude.dtype).index_add(1, place, amplitude)
    order = torch.argsort((hk**2).sum(1), stable=True)
    return hk[order], total[:, order]


def extinction_distance_A(structure: Structure, beam: Beam, hkl: tuple[int, int, int], table: str = "lobato") -> float:
    """xi_g = pi / (sigma |V_g|): the period in thickness of the two-beam fringes at the Bragg angle.

    Raises:
        InputError: a reflection that the structure extinguishes.
    """
    volts = abs(complex(fourier_coefficients_V(structure, torch.tensor([hkl]), table)[0]))
    if volts < UNCOUPLED_V:
        raise InputError("this reflection is a systematic absence", got=hkl)
    return pi / (beam.sigma_rad_per_VA * volts)


def two_beam_intensity(thickness_A: Float[Tensor, " t"], xi_A: float, s_invA: float = 0.0) -> Float[Tensor, " t"]:
    """The diffracted intensity of two beams, sin^2(pi t sqrt(1 + w^2) / xi) / (1 + w^2), w = s xi (Hirsch et al., Electron Microscopy of Thin
    Crystals, ch. 8)."""
    w2 = (s_invA * xi_A) ** 2
    return torch.sin(pi * thickness_A * (1 + w2) ** 0.5 / xi_A) ** 2 / (1 + w2)


def _box(reach: tuple[int, int, int]) -> Int[Tensor, "n 3"]:
    axes = [torch.arange(-r, r + 1) for r in reach]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def _differences(structure: Structure, hkl: Int[Tensor, "n 3"], table: str) -> Complex[Tensor, "n n"]:
    """V_(G-H) by lookup in one table of every difference that occurs."""
    span = hkl.max(0).values - hkl.min(0).values
    sides = [int(s) for s in span]
    volts = fourier_coefficients_V(structure, _box((sides[0], sides[1], sides[2])), table)
    gap = hkl[:, None] - hkl[None] + span  # (n, n, 3)
    width, depth = 2 * sides[1] + 1, 2 * sides[2] + 1
    return volts[(gap[..., 0] * width + gap[..., 1]) * depth + gap[..., 2]]


def _coupled(structure: Structure, hkl: Int[Tensor, "n 3"], table: str) -> Tensor:
    """Which beams scattering can reach from the first: those of its class under the lattice's centring."""
    cell = torch.tensor(structure.cell_A, dtype=torch.float64)
    kinds, counts = structure.numbers.unique(return_counts=True)
    rarest = structure.numbers == kinds[counts.argmin()]  # a translation of the crystal is one of its rarest element too
    places = structure.positions_A.detach()[rarest].to("cpu", torch.float64)
    keep = torch.ones(len(hkl), dtype=torch.bool)
    for shift in places[1:] - places[0]:  # a translation that maps the crystal onto itself makes beams with G.t off a whole number vanish
        if _is_lattice_vector(structure, shift / cell):
            turns = (hkl.to(torch.float64) * (shift / cell)).sum(1)
            keep &= (turns - torch.round(turns)).abs() < 1e-6
    return keep


def _is_lattice_vector(structure: Structure, by: Tensor) -> bool:
    cell = torch.tensor(structure.cell_A, dtype=torch.float64)
    columns = torch.stack([structure.numbers.to(torch.float64), structure.occupancy.detach().to(torch.float64),
                           structure.u_iso_A2.detach().to(torch.float64)], 1)
    if structure.u_tensor_A2 is not None:
        columns = torch.cat([columns, structure.u_tensor_A2.detach().to("cpu", torch.float64).flatten(1)], 1)
    here = structure.positions_A.detach().to("cpu", torch.float64) / cell
    gap = here[:, None] + by - here[None]
    same = ((gap - torch.round(gap)).abs() * cell < 1e-5).all(-1) & ((columns[:, None] - columns[None]).abs() < 1e-9).all(-1)
    return bool(same.any(1).all())
