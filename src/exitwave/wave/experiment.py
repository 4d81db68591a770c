"""An experiment is a value, and `expected` is its only forward model."""

from collections.abc import Iterator, Sequence
from math import pi

import torch
from jaxtyping import Int
from torch import Tensor

from exitwave.core import Beam, Grid, record
from exitwave.core.errors import InputError
from exitwave.core.fft import cis, fft2, ifft2, real_dtype
from exitwave.optics import fresnel
from exitwave.wave.detectors import Detector
from exitwave.wave.multislice import multislice
from exitwave.wave.scan import Illumination, Scan, split_positions
from exitwave.wave.specimen import Specimen, transmission
from exitwave.wave.transfer import FarField, Transfer


@record
class Experiment:
    """Beam, illumination, specimen, scan, transfer, detectors and dose: everything that determines the mean measurement.

    `dose_e` is electrons per scan position (in the field where `scan` is None), a scalar or (n,) where it drifts. `tilt_mrad` (2,) is the
    beam's direction (y, x). `band_limit` cuts each propagation between slices, and each transmission taken on a finer grid
    (`Specimen.oversample` > 1), at that fraction of Nyquist (None: no cut).
    Spreads of focus, source, energy or tilt are weighted sums of experiments that share leaves: see `expected_mixture`.
    """

    beam: Beam
    illumination: Illumination
    specimen: Specimen
    transfer: Transfer
    detectors: tuple[Detector, ...]
    dose_e: Tensor
    scan: Scan | None = None
    tilt_mrad: Tensor | None = None
    band_limit: float | None = 2 / 3

    def __post_init__(self) -> None:
        if self.illumination.grid.pitch_A != self.specimen.grid.pitch_A:
            pitches = self.specimen.grid.pitch_A, self.illumination.grid.pitch_A
            raise InputError("illumination and specimen need the same pitch", expected=f"{pitches[0]} A", got=f"{pitches[1]} A")
        if self.scan is None and self.illumination.grid.shape != self.specimen.grid.shape:
            shapes = self.specimen.grid.shape, self.illumination.grid.shape
            raise InputError("without a scan the illumination fills the specimen's field", expected=shapes[0], got=shapes[1])
        positions = 1 if self.scan is None else self.scan.positions_A.shape[0]
        if self.dose_e.ndim and tuple(self.dose_e.shape) != (positions,):
            raise InputError("the dose is one number, or one for each scan position", expected=(positions,), got=tuple(self.dose_e.shape))
        if self.tilt_mrad is not None and tuple(self.tilt_mrad.shape) != (2,):
            raise InputError("the beam tilt is (y, x) in mrad", expected=(2,), got=tuple(self.tilt_mrad.shape))


def expected(x: Experiment, index: Int[Tensor, "b"] | None = None) -> tuple[Tensor, ...]:
    """Mean electrons per detector element at the scan positions `index` (default: all), one tensor (b, *c) for each detector.

    I = dose * detector( mean over configurations, sum over modes |transfer(exit wave)|^2 ). Differentiable in every tensor leaf: modes,
    phase, dz, positions, tilt, dose, and what they were made from. Without a scan b = 1. Whole-pixel positions are gathered from the
    specimen (periodic), the remaining fraction is a Fourier ramp on the illumination.
    """
    window, beam = x.illumination.grid, x.beam
    dtype = x.illumination.modes.dtype
    kernels = _kernels(x, dtype)
    psi, pixels = _placed(x, index)  # (b, p, y, x), (b, y, x) | None
    fields = transmission(x.specimen, beam, dtype, band_limit=x.band_limit)  # (*config, z, Y, X)
    fields = fields.reshape(-1, *fields.shape[-3:])
    intensity = torch.zeros((), dtype=real_dtype(dtype), device=psi.device)
    for field in fields.unbind(0):
        exit_wave, _ = multislice(psi, _patches(field, pixels), kernels)
        wave = x.transfer(exit_wave, window, beam)
        intensity = intensity + (wave.real**2 + wave.imag**2).sum(1) / fields.shape[0]  # (b, y, x)
    dose = x.dose_e if x.dose_e.ndim == 0 or index is None else x.dose_e[index]
    return tuple(_scaled(detector(intensity, window, beam), dose) for detector in x.detectors)


def expected_mixture(parts: Sequence[tuple[float, Experiment]], index: Int[Tensor, "b"] | None = None) -> tuple[Tensor, ...]:
    """The weighted sum of experiments: a quadrature over focus, source position, energy, tilt ... Weights usually sum to 1."""
    total: tuple[Tensor, ...] = ()
    for weight, x in parts:
        means = [weight * mean for mean in expected(x, index)]
        total = tuple(a + b for a, b in zip(total, means, strict=True)) if total else tuple(means)
    return total


def _kernels(x: Experiment, dtype: torch.dtype) -> list[Tensor]:
    """Propagators between slices, cut to the band, and one to the exit surface, uncut: no product follows that could alias.

    In the far field the last one only changes an unseen phase and is left out.
    """
    grid, dz = x.illumination.grid, x.specimen.dz_A
    inner = list(fresnel(grid, x.beam, dz[:-1], x.tilt_mrad, band_limit=x.band_limit, dtype=dtype).unbind(0)) if len(dz) > 1 else []
    return inner if isinstance(x.transfer, FarField) else [*inner, fresnel(grid, x.beam, dz[-1], x.tilt_mrad, band_limit=None, dtype=dtype)]


def _placed(x: Experiment, index: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The modes at each position (b, p, y, x), and the specimen pixels below each window (b, y, x), flat."""
    modes, window, field = x.illumination.modes, x.illumination.grid, x.specimen.grid
    if x.scan is None:
        return modes[None], None
    positions = x.scan.positions_A if index is None else x.scan.positions_A[index]
    whole, fraction = split_positions(positions, field.pitch_A)
    psi = ifft2(fft2(modes) * _ramp(fraction, window, modes.dtype)[:, None])  # (b, p, y, x)
    oy, ox = (torch.round(k * n).to(torch.int64) for k, n in zip(_unit_frequencies(window, positions.device), window.shape, strict=True))
    iy = (whole[:, :1] + oy) % field.shape[0]  # (b, y)
    ix = (whole[:, 1:] + ox) % field.shape[1]  # (b, x)
    return psi, iy[:, :, None] * field.shape[1] + ix[:, None, :]


def _ramp(fraction: Tensor, window: Grid, dtype: torch.dtype) -> Tensor:
    """exp(-2 pi i k.s) for shifts s (b, 2) in pixels, as the product of two short vectors."""
    ky, kx = _unit_frequencies(window, fraction.device)
    ramp_y = cis(-2 * pi * fraction[:, :1].to(torch.float64) * ky, dtype)  # (b, y)
    ramp_x = cis(-2 * pi * fraction[:, 1:].to(torch.float64) * kx, dtype)  # (b, x)
    return ramp_y[:, :, None] * ramp_x[:, None, :]


def _unit_frequencies(window: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    return tuple(torch.fft.fftfreq(n, dtype=torch.float64, device=device) for n in window.shape)  # type: ignore[return-value]


def _patches(field: Tensor, pixels: Tensor | None) -> Iterator[Tensor]:
    """Each slice (z, Y, X) below each window, (b, 1, y, x), cut when it is needed."""
    for plane in field.unbind(0):
        yield plane if pixels is None else plane.reshape(-1)[pixels][:, None]


def _scaled(mean: Tensor, dose: Tensor) -> Tensor:
    return mean * (dose if dose.ndim == 0 else dose.reshape(-1, *[1] * (mean.ndim - 1))).to(mean.dtype)
