"""What lies between the exit wave and the detector: diffraction, an imaging lens, or free space."""

from typing import Protocol, runtime_checkable

from jaxtyping import Complex
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, record
from exitwave.core.fft import fft2, ifft2
from exitwave.optics import fresnel, lens_transfer


@runtime_checkable
class Transfer(Protocol):
    """Takes the exit wave to the detector plane; sum |psi|^2 never grows."""

    def __call__(self, psi: Complex[Tensor, "*b y x"], grid: Grid, beam: Beam) -> Complex[Tensor, "*b y x"]: ...


@record
class FarField:
    """Diffraction: the detector sees |F psi|^2 on the reciprocal grid of the window, corner origin."""

    def __call__(self, psi: Complex[Tensor, "*b y x"], grid: Grid, beam: Beam) -> Complex[Tensor, "*b y x"]:
        return fft2(psi)


@record
class Lens:
    """An imaging lens (HRTEM, Lorentz); aberrations refer to the exit surface. Spreads are rms and act as quasi-coherent envelopes."""

    aberrations: Aberrations
    aperture_mrad: float | None = None
    focal_spread_A: float = 0.0
    divergence_mrad: float = 0.0

    def __call__(self, psi: Complex[Tensor, "*b y x"], grid: Grid, beam: Beam) -> Complex[Tensor, "*b y x"]:
        transfer = lens_transfer(
            grid, beam, self.aberrations, aperture_mrad=self.aperture_mrad, focal_spread_A=self.focal_spread_A,
            divergence_mrad=self.divergence_mrad, dtype=psi.dtype,
        )
        return ifft2(transfer * fft2(psi))


@record
class Drift:
    """Free space to a near-field detector; `distance_A` is a scalar tensor and a differentiable leaf."""

    distance_A: Tensor

    def __call__(self, psi: Complex[Tensor, "*b y x"], grid: Grid, beam: Beam) -> Complex[Tensor, "*b y x"]:
        return ifft2(fresnel(grid, beam, self.distance_A, band_limit=None, dtype=psi.dtype) * fft2(psi))
