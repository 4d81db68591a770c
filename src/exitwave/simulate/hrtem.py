"""High-resolution TEM images: what a lens with finite coherence makes of an exit wave."""

from dataclasses import replace
from math import ceil, lgamma, log, pi, sqrt
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from exitwave.core import Beam, Grid
from exitwave.core.aberrations import Aberrations
from exitwave.core.errors import MemoryBudgetError
from exitwave.core.fft import cis, crop_spectrum, fft2, ifft2, pad_spectrum, real_dtype
from exitwave.matter.structure import fast_length
from exitwave.optics import chi_rad, shift_A, soft_disk
from exitwave.wave import Lens

Coherence = Literal["full", "quasi"]
REACH = 4.5  # standard deviations that a trapezoid covers
ERROR = 1e-5  # of a quadrature, relative to its integrand
MOST_IMAGES = 4000


def lens_image(exit_wave: Complex[Tensor, "*b y x"], grid: Grid, beam: Beam, lens: Lens, *, coherence: Coherence = "full",
               band_limit: float = 2 / 3) -> Float[Tensor, "*b y x"]:
    """The intensity that `lens` makes of an exit wave whose mean intensity is 1; what its aperture stops is gone.

    "quasi" damps the wave once by the envelopes of `optics.envelope`, which is right for weak objects. "full" adds the images of all foci and
    directions of illumination of the two Gaussian spreads, I(r) = sum_(d, q) w |F^-1[Psi(k) A(k + q) exp(-i chi(k + q; C10 + d))]|^2: the
    transmission cross coefficient TCC(k, k') = sum w t(k + q; d) t*(k' + q; d), with the coupling of source and focus, by quadrature with as
    many points as 1e-5 asks (`normal_nodes`). Ishizuka, Ultramicroscopy 5 (1980) 55, doi 10.1016/0304-3991(80)90011-6. Differentiable in the
    wave and the lens. Waves are looked at inside `band_limit` of Nyquist. Limit: the illumination's direction turns the exit wave's phase only
    (a specimen thinner than a few times 1 / (divergence * spatial frequency)); for more tilt the specimen itself (`wave.expected_mixture`).

    Raises:
        MemoryBudgetError: spreads that need more than 4000 images.
    """
    if coherence == "quasi":
        wave = lens(exit_wave, grid, beam)
        return wave.real**2 + wave.imag**2
    nodes = coherence_nodes(grid, beam, lens, band_limit)
    coarse = _enough(grid, beam, lens)
    scale = sqrt(coarse.shape[0] * coarse.shape[1] / (grid.shape[0] * grid.shape[1]))
    spectrum = crop_spectrum(fft2(exit_wave), coarse.shape) * scale
    total = torch.zeros(spectrum.shape, dtype=real_dtype(exit_wave.dtype), device=exit_wave.device)
    for weight, defocus, qy, qx in nodes:
        wave = ifft2(spectrum * _transfer(coarse, beam, lens, defocus, (qy, qx), exit_wave.dtype))
        total = total + weight * (wave.real**2 + wave.imag**2)
    return total if coarse.shape == grid.shape else ifft2(pad_spectrum(fft2(total), grid.shape)).real / scale


def refocused(lens: Lens, by_A: float) -> Lens:
    """The same lens with `by_A` added to C10."""
    old = lens.aberrations
    more = torch.tensor([by_A, 0.0], dtype=old.values_A.dtype, device=old.values_A.device)
    if (1, 0) not in old.terms:
        return replace(lens, aberrations=Aberrations(terms=((1, 0), *old.terms), values_A=torch.cat([more[None], old.values_A])))
    place = torch.tensor([[float(term == (1, 0))] for term in old.terms]).to(more)
    return replace(lens, aberrations=Aberrations(terms=old.terms, values_A=old.values_A + place * more))


def normal_nodes(phase_rad: float) -> list[tuple[float, float]]:
    """Weights and points (in standard deviations) that average exp(i a x), |a| up to `phase_rad`, over a normal x to 1e-5.

    Gauss and Hermite's rule of n points errs by a^2n n! / (2n)!; equal steps of 2 pi / (a + 5) out to 4.5 standard deviations need fewer where a
    is large.
    """
    equal = 2 * ceil(REACH * (phase_rad + 5) / (2 * pi)) + 1
    gauss = next((n for n in range(1, equal) if _hermite_error(n, phase_rad) < ERROR), equal)
    if gauss < equal:
        points, weights = np.polynomial.hermite_e.hermegauss(gauss)
    else:
        points = np.linspace(-REACH, REACH, equal)
        weights = np.exp(-(points**2) / 2)
    return list(zip((weights / weights.sum()).tolist(), points.tolist(), strict=True))


def _hermite_error(n: int, phase_rad: float) -> float:
    exponent = 2 * n * log(max(phase_rad, 1e-300)) + lgamma(n + 1) - lgamma(2 * n + 1)
    return float(np.exp(min(exponent, 0.0)))


def coherence_nodes(grid: Grid, beam: Beam, lens: Lens, band_limit: float = 2 / 3) -> list[list[float]]:
    """(weight, focus in A, frequency ky, kx in 1/A), as many as the largest phase difference inside the aperture asks.

    Corners of the product whose weights add up to less than 1e-5 are left out.

    Raises:
        MemoryBudgetError: more than 4000.
    """
    edge = band_limit * grid.nyquist_invA
    spread = 1e-3 * lens.divergence_mrad / beam.wavelength_A
    if lens.aperture_mrad is not None:
        edge = min(edge, 1e-3 * lens.aperture_mrad / beam.wavelength_A)
    edge = edge + (REACH * spread if spread else 0.0)
    with torch.no_grad():
        angle = torch.linspace(0, 2 * pi, 33, dtype=torch.float64)[:, None]
        k = torch.linspace(0, edge, 65, dtype=torch.float64)[None]
        sy, sx = shift_A(lens.aberrations, beam, k * torch.sin(angle), k * torch.cos(angle))
    farthest = max(float((s.max() - s.min()).abs()) for s in (sy, sx)) + 2 * REACH * beam.wavelength_A * edge * lens.focal_spread_A
    foci = normal_nodes(pi * beam.wavelength_A * lens.focal_spread_A * edge**2)
    sources = normal_nodes(2 * pi * spread * farthest)
    count = len(foci) * len(sources) ** 2
    if count > MOST_IMAGES:
        raise MemoryBudgetError("the spreads of source and focus are too wide for the frequencies that the lens lets through",
                                expected=f"at most {MOST_IMAGES} images to add", got=count, remedy="give an aperture, or coherence quasi")
    (wf, f), (ws, q) = (np.array(nodes).T for nodes in (foci, sources))
    weights = wf[:, None, None] * ws[:, None] * ws
    table = np.stack([weights, *np.meshgrid(f * lens.focal_spread_A, q * spread, q * spread, indexing="ij")], -1).reshape(-1, 4)
    table = table[np.argsort(table[:, 0])]
    kept = table[np.cumsum(table[:, 0]) > ERROR] if count > 1 else table
    kept[:, 0] /= kept[:, 0].sum()
    return kept.tolist()  # type: ignore[no-any-return]


def _enough(grid: Grid, beam: Beam, lens: Lens) -> Grid:
    """The coarsest even grid of the same field that holds twice the frequencies inside the aperture, hence their intensity without aliases."""
    if lens.aperture_mrad is None:
        return grid
    edge = 1e-3 * (lens.aperture_mrad + REACH * lens.divergence_mrad) / beam.wavelength_A
    sides = [min(n, 2 * fast_length(2 * edge * length + 3)) for n, length in zip(grid.shape, grid.extent_A, strict=True)]
    return Grid(shape=(sides[0], sides[1]), pitch_A=(grid.extent_A[0] / sides[0], grid.extent_A[1] / sides[1]))


def _transfer(grid: Grid, beam: Beam, lens: Lens, defocus_A: float, q_invA: tuple[float, float], dtype: torch.dtype) -> Complex[Tensor, "y x"]:
    ky, kx = grid.k_invA(lens.aberrations.values_A.device)
    ky, kx = ky + q_invA[0], kx + q_invA[1]
    moved = refocused(lens, defocus_A) if defocus_A else lens
    t = cis(-chi_rad(moved.aberrations, beam, ky, kx), dtype)
    if lens.aperture_mrad is None:
        return t
    return t * soft_disk(ky, kx, 1e-3 * lens.aperture_mrad / beam.wavelength_A, grid.dk_invA).to(dtype)


def scherzer_C10_A(beam: Beam, c30_A: float) -> float:
    """C10 of Scherzer's focus, -sqrt(1.5 Cs lambda): underfocus for a positive C30."""
    return -sqrt(1.5 * abs(c30_A) * beam.wavelength_A) * (1 if c30_A >= 0 else -1)
