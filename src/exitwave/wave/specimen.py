"""The object of simulation and of reconstruction, and the transmission it gives a wave."""

from dataclasses import replace

import torch
from jaxtyping import Complex
from torch import Tensor

from exitwave.core import Beam, Grid, record
from exitwave.core.errors import InputError
from exitwave.core.fft import crop_spectrum, pad_spectrum
from exitwave.optics import band


@record
class Specimen:
    """Slices of phase over the full field, slice 0 at the entrance.

    `phase_rad` is (*config, z, y, x) in rad for `at_beam`, real, or complex where it absorbs (positive imaginary part); incoherent
    configurations (frozen phonons) are averaged. `dz_A` (z,) is the distance from each slice to the next (the last: to the exit surface).
    `oversample` is the factor of the finer grid on which exp(i phase) is taken before it is cut back to this one: 1 means pointwise
    (|T| = 1 exactly), 2 removes the aliases of exp, so that sub-pixel shifts change nothing inside the band limit of an experiment.
    """

    grid: Grid
    dz_A: Tensor
    phase_rad: Tensor
    at_beam: Beam
    oversample: int = 1

    def __post_init__(self) -> None:
        want = (self.dz_A.shape[0], *self.grid.shape) if self.dz_A.ndim == 1 else None
        if want is None or tuple(self.phase_rad.shape[-3:]) != want:
            slices = self.dz_A.shape[0] if want else "z"
            raise InputError(
                "a specimen's phase does not fit its grid", expected=f"(*config, {slices}, {self.grid.shape[0]}, {self.grid.shape[1]}) with dz (z,)",
                got=f"{tuple(self.phase_rad.shape)} with dz {tuple(self.dz_A.shape)}",
            )


def at(specimen: Specimen, beam: Beam) -> Specimen:
    """The specimen as another beam of the same kind sees it: phase scales with sigma (electrons) or with wavelength (photons).

    Limits: a static potential, so absorption (imaginary phase) is scaled like phase, which holds near `at_beam` only; for photons
    delta ~ lambda^2, i.e. far from absorption edges. Where that is not enough give each energy a specimen of its own.

    Raises:
        InputError: a change from electrons to photons or back.
    """
    old = specimen.at_beam
    if beam.kind != old.kind:
        raise InputError("a specimen's phase cannot be carried to another kind of particle", expected=old.kind, got=beam.kind)
    if beam.energy_eV == old.energy_eV:
        return specimen
    scale = beam.sigma_rad_per_VA / old.sigma_rad_per_VA if beam.kind == "electron" else beam.wavelength_A / old.wavelength_A
    return replace(specimen, phase_rad=specimen.phase_rad * scale, at_beam=beam)


def transmission(
    specimen: Specimen, beam: Beam, dtype: torch.dtype = torch.complex64, *, band_limit: float | None = None
) -> Complex[Tensor, "*config z y x"]:
    """exp(i phase) for `beam`, on the specimen's grid; see `Specimen.oversample` for its aliasing.

    Pointwise (`oversample` 1) |T| = 1 exactly and `band_limit` is unused. From a finer grid T is cut at `band_limit` of Nyquist, the band of the
    wave it will meet: at 2/3 their product then aliases only beyond the band. Uncut, sub-pixel shifts change strong multiple scattering by
    percents even though each T is exact; cut, by 1e-4 to 1e-12 inside the band (docs/physics/forward.md has figures). What scatters beyond the
    band is then lost from the wave.
    """
    phase = at(specimen, beam).phase_rad
    if specimen.oversample > 1:
        fine = (specimen.grid.shape[0] * specimen.oversample, specimen.grid.shape[1] * specimen.oversample)
        wave = crop_spectrum(torch.fft.fft2(_exp_i(_upsampled(phase, fine), dtype)), specimen.grid.shape)
        return torch.fft.ifft2(wave * band(specimen.grid, band_limit, wave.device).to(dtype)) / specimen.oversample**2
    return _exp_i(phase, dtype)


def _exp_i(phase: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.exp(1j * phase.to(dtype)) if phase.is_complex() else torch.polar(torch.ones_like(phase), phase).to(dtype)


def _upsampled(phase: Tensor, shape: tuple[int, int]) -> Tensor:
    """Fourier interpolation of a real or complex field, real where it was real."""
    if phase.is_complex():
        return torch.complex(_upsampled(phase.real, shape), _upsampled(phase.imag, shape))
    scale = shape[0] * shape[1] / (phase.shape[-2] * phase.shape[-1])
    return torch.fft.ifft2(pad_spectrum(torch.fft.fft2(phase), shape)).real * scale

