"""Whether a scan is what every linear method takes it for: a thin, weak specimen, counted with independent noise."""

from collections.abc import Mapping
from dataclasses import fields
from math import isnan, nan, pi

import numpy as np
import torch

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import FrameSource
from exitwave.flow import MeanPattern, accumulate
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import checkerboard, optics_of
from exitwave.recon.direct.normal import normal_sums, scan_tiles
from exitwave.recon.direct.stack import Progress, ignore

PASSED = 0.9  # of the response that a thickness leaves where it counts as thin


@record
class Validity:
    """What the weak, thin model of phase and log-amplitude leaves unexplained.

    `misfit`: power that it leaves in the bright disk over the counting noise that is expected there, 1 where the model holds, with its standard
    error. `explained`: its share of the signal above the noise (nan where there is none). `thin_A`: the thickness at which the response at the
    aperture's edge has dropped to 0.9 of a thin specimen's. `paraxial_rad_per_100A`: what Fresnel propagation is off by at twice the aperture.
    `dark_share`: electrons outside of the aperture.
    """

    misfit: float
    misfit_sigma: float
    explained: float
    thin_A: float
    paraxial_rad_per_100A: float
    dark_share: float

    def as_json(self) -> dict[str, float | None]:
        """Name -> number; null where there is none."""
        return {f.name: None if isnan(getattr(self, f.name)) else getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]


def validity_in(tree: Mapping[str, float | None]) -> Validity:
    """The inverse of `Validity.as_json`."""
    return Validity(**{name: nan if value is None else value for name, value in tree.items()})


def validity(
    frames: FrameSource, g: Geometry, *, dispersion: float = 1.0, finite_pixels: bool = True, memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64, progress: Progress = ignore,
) -> Validity:
    """Fit phase and log-amplitude to every scan frequency inside the aperture's reach, and look at what is left.

    For each q the bright pixels' spectra d, divided by the square root of their noise, are split into the part along the two responses and the
    rest; the rest of M - 2 pixels is noise alone where the model holds. It does not say whether the calibration or the specimen is at fault.

    Raises:
        InputError: a scan with no signal, or fewer bright pixels than the fit needs.
    """
    pixels = int(g.bright().sum())
    if pixels < 8:
        raise InputError("too few bright pixels to judge by", expected="at least 8", got=pixels)
    sums = normal_sums(frames, g, optics_of(g, finite_pixels), scan_tiles(g), checkerboard(g.frame), parts="complex", memory_bytes=memory_bytes,
                       dtype=dtype, progress=progress, squares=True)
    total = sums.counts / sums.power
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{sums.counts:.3g} counts per position")
    noise = dispersion * g.scan.shape[0] * g.scan.shape[1] * total  # of one pixel's d
    values, vectors = torch.linalg.eigh(sums.gram)
    seen = values > 1e-4 * values.max()
    along = (vectors.mH @ sums.right.sum(0)[..., None])[..., 0].abs() ** 2 / torch.where(seen, values, torch.ones_like(values))
    fitted, free = (along * seen).sum(-1), pixels - seen.sum(-1)
    # Half-plane columns stand for two coefficients each, but for the first (and, of an even row, the last).
    twice = torch.full(fitted.shape, 2.0, dtype=torch.float64)
    twice[:, 0] = 1
    if g.scan.shape[1] % 2 == 0:
        twice[:, -1] = 1
    judged = seen.any(-1) * twice
    judged[0, 0] = 0
    left, expected = float((judged * (sums.squares - fitted)).sum()), float((judged * free).sum()) * noise
    signal = float((judged * (fitted - seen.sum(-1) * noise)).sum())
    return Validity(
        misfit=left / expected,
        misfit_sigma=float((judged * free).sum()) ** -0.5 * 2**0.5,
        explained=signal / (signal + max(0.0, left - expected)) if signal > 0 else float("nan"),
        thin_A=thin_A(g),
        paraxial_rad_per_100A=pi / 4 * g.beam.wavelength_A**3 * (2 * g.edge_invA) ** 4 * 100,
        dark_share=_dark(frames, g, memory_bytes),
    )


def thin_A(g: Geometry) -> float:
    """The thickness whose slices' responses at |q| = k_a, each defocused by its depth, add up to `PASSED` of a thin specimen's.

    In focus a slice at depth z turns t_- of pixel k by exp(i pi lambda z (k^2 - (k - q)^2)): the mean over -t/2..t/2 is a sinc. Limit: an
    estimate for weak slices; what they scatter twice is in `misfit`.
    """
    k = g.k_invA[g.bright()]
    q = torch.tensor([0.0, g.edge_invA], dtype=torch.float64)
    side = (k - q).square().sum(1)
    slope = 0.5 * g.beam.wavelength_A * (k.square().sum(1) - side)[side < g.edge_invA**2]  # q_z, 1/A
    low, high = 0.0, 1e7
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if float(torch.sinc(slope * middle).mean()) > PASSED else (low, middle)
    return low


def _dark(frames: FrameSource, g: Geometry, memory_bytes: int) -> float:
    mean = torch.from_numpy(np.asarray(accumulate(frames, MeanPattern(), memory_bytes).mean, dtype=np.float64)).reshape(-1)
    lit = torch.linalg.vector_norm(g.k_invA, dim=1) < g.edge_invA + g.pixel_invA[0]
    return float(mean[~lit & g.good].sum() / mean[g.good].sum())


def in_words(found: Validity, phase_rms_rad: float) -> list[str]:
    """What an operator should know, a sentence each."""
    off = abs(found.misfit - 1) / max(found.misfit_sigma, 1e-3)
    said = [f"left over: {found.misfit:.3g} +- {found.misfit_sigma:.2g} of the counting noise; a weak, thin specimen explains "
            f"{100 * found.explained:.3g} % of the signal"]
    if off > 5 and found.misfit > 1.02:
        said.append("more is left than noise: strong or thick specimen, source size, or calibration" if found.explained < 0.97 else
                    "a little more is left than noise: nothing that an image shows")
    if phase_rms_rad > 0.3:
        said.append(f"phase rms {phase_rms_rad:.2g} rad: linear methods are off by about half of that; try wdd")
    said.append(f"thin up to about {found.thin_A:.3g} A; {100 * found.dark_share:.2g} % of the electrons lie outside of the aperture")
    if found.paraxial_rad_per_100A > 0.05:
        said.append(f"Fresnel propagation is off by {found.paraxial_rad_per_100A:.2g} rad in 100 A: propagate exactly")
    return said

