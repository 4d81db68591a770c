"""From a canvas of guide functions to an image in rad: what the mean pattern makes is taken out, noise, transfer and errors are stated."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.wdd import wdd_image
from exitwave.recon.live._guides import layered
from exitwave.recon.live.field import Field, on_field
from exitwave.recon.live.ground import Ground, cleared, positions_of
from exitwave.recon.live.guide_error import approximation
from exitwave.recon.live.guides import Guides
from exitwave.recon.live.layout import Layout
from exitwave.recon.live.reach import Fill
from exitwave.recon.live.rim import folded

LEAST_KEPT = 0.5  # of a complex image's mean, for its phase to be the imaginary part


@record
class Exposed:
    """A canvas (2, Y, X parts) of either half with the events (2, positions) of each scan position and (2, m) of each pixel that made it, and which
    positions were `seen`."""

    canvas: np.ndarray
    exposure: np.ndarray
    patterns: np.ndarray
    seen: np.ndarray
    layout: Layout


def guided_image(x: Exposed, guides: Guides, g: Geometry, field: Field, fill: Fill, *, dealt: bool, dispersion: float,
                 counts_per_electron: float) -> DirectImage:
    """The image. With `dealt` halves are random halves of the events, each over its own electrons, else the detector's, as in the dense methods.

    Raises:
        InputError: no counts.
    """
    ground = Ground(field=field, fill=fill, upsample=guides.upsample, keeps_mean=guides.upsample == 1 or guides.parts == 2, placed=x.layout.at >= 0,
                    phase=x.layout.phase, pattern=lambda mean, phase: _pattern(mean, phase, x.layout, guides),
                    places=lambda e, phase: _places(e, phase, x.layout, guides))
    raw, counts, both = _spectra(x.canvas, guides), x.patterns.sum(0), x.exposure.sum(0)
    positions = positions_of(x.seen, ground)
    total = _total(counts, guides, positions)
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{total:.3g} counts per position")
    def clear(spectrum: Tensor, pattern: np.ndarray, exposure: np.ndarray) -> Tensor:
        made = cleared(spectrum, pattern, exposure, x.seen, ground)
        return made if guides.filter is None else guides.filter(made)

    halves = [clear(raw[h], x.patterns[h], x.exposure[h] if dealt else both) for h in (0, 1)]
    whole = clear(raw.sum(0), counts, both) if dealt else halves[0] + halves[1]  # linear in counts where exposures are the same
    # Over half of all counts, or over each half's own.
    shares = [_total(x.patterns[h], guides, positions) / total if dealt else 0.5 for h in (0, 1)]
    scaled = [s / share if share > 0 else torch.zeros_like(s) for s, share in zip(halves, shares, strict=True)]
    power = _noise(counts, guides) if guides.noise is None else torch.from_numpy(guides.noise) * (total * positions)  # of the counts that it expects
    per_pixel = total * field.density
    if guides.parts == 1:
        seen, image = whole, _real_image([whole, *scaled], power, per_pixel, guides, g, dispersion)
    else:
        seen, image = _phase_of(whole), _complex_image(whole, scaled, power, per_pixel, guides, on_field(g, field), dispersion)
    return replace(image, electrons=total / counts_per_electron, approximation=_error(seen, counts, power, guides, field))


def _real_image(spectra: list[Tensor], power: Tensor, total: float, guides: Guides, g: Geometry, dispersion: float) -> DirectImage:
    gain, canvas = guides.upsample**2 / total, guides.canvas
    images = [torch.fft.irfft2(s * gain, s=canvas) for s in spectra]
    return DirectImage(method=guides.method, image=images[0], halves=(images[1], images[2]),
                       pitch_A=(g.scan.pitch_A[0] / guides.upsample, g.scan.pitch_A[1] / guides.upsample),
                       ctf=_resized(guides.ctf, guides.grid, canvas), noise=power * (dispersion * gain**2 / (canvas[0] * canvas[1])),
                       electrons=total, pixels=len(guides.pixels))


def _complex_image(whole: Tensor, halves: list[Tensor], power: Tensor, total: float, guides: Guides, g: Geometry, dispersion: float) -> DirectImage:
    """The phase of the whole and of each half, by the whole's scale."""
    ctf, count = _resized(guides.ctf, guides.grid, guides.canvas), guides.canvas[0] * guides.canvas[1] / guides.upsample**2
    made = wdd_image(torch.stack([whole, *halves]), ctf, power / (count * total), g, total, guides.upsample, dispersion, 1.0)
    return replace(made, pixels=len(guides.pixels))


def _phase_of(whole: Tensor) -> Tensor:
    return torch.fft.rfft2(torch.fft.ifft2(whole).imag)


def _total(counts: np.ndarray, guides: Guides, positions: int) -> float:
    """Counts per position that the whole illumination would give."""
    return float(counts[guides.counted].sum()) / positions / float(guides.light[guides.counted].sum())


def _spectra(canvas: np.ndarray, guides: Guides) -> Tensor:
    """(.., Y, H) of canvases (.., Y, X), or of complex guides (.., Y, X) from (.., Y, 2 X)."""
    if guides.parts == 1:
        return _transform(torch.from_numpy(canvas), guides)
    return _transform(torch.view_as_complex(torch.from_numpy(np.ascontiguousarray(canvas).reshape(*canvas.shape[:-1], -1, 2))), guides)


def _transform(canvas: Tensor, guides: Guides) -> Tensor:
    return torch.fft.fft2(canvas) if guides.parts == 2 else torch.fft.rfft2(canvas)


def _pattern(mean: np.ndarray, phase: int, made: Layout, guides: Guides) -> Tensor:
    """The spectrum of sum_k mean_k g_k at a sub-pixel phase."""
    m = len(guides.pixels)
    rim, canvas = made.rim, np.zeros(made.rim.rows * made.rim.width)
    layered(canvas, rim.width, guides.stencils[phase * m : (phase + 1) * m], made.start, rim.origin, mean)
    return _spectra(folded(canvas.reshape(rim.rows, rim.width), rim), guides)


def _places(e: np.ndarray, phase: int, made: Layout, guides: Guides) -> Tensor:
    """The spectrum of exposures e (positions,) at the cells of those of one sub-pixel phase."""
    some, places = (made.phase == phase) & (e > 0), np.zeros(guides.canvas)
    np.add.at(places, tuple(made.cell[some].T), e[some])
    return _transform(torch.from_numpy(places), guides)


def _resized(half: np.ndarray, made_on: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """A half plane (Y, H) of the canvas from that of a smaller grid, round which its transform does not reach."""
    values = torch.from_numpy(half)
    if made_on == canvas:
        return values
    small = torch.fft.irfft2(values.to(torch.complex128), s=made_on)
    (y, x), big = made_on, torch.zeros(canvas, dtype=torch.float64)
    big[:y, :x] = torch.roll(small, (y // 2, x // 2), (0, 1))
    whole = torch.fft.rfft2(torch.roll(big, (-(y // 2), -(x // 2)), (0, 1)))
    return whole if values.is_complex() else whole.real


def _noise(counts: np.ndarray, guides: Guides) -> Tensor:
    """sum_k c_k |w_k|^2 (Y, H)."""
    largest = max(float(counts.max()), 1.0)
    rows: np.ndarray = (counts / largest).astype(guides.power.dtype) @ guides.power.reshape(len(counts), -1)
    return _resized(rows.astype(np.float64).reshape(guides.power.shape[1:]) * largest, guides.table, guides.canvas).clamp(min=0)


@lru_cache(maxsize=2)
def _kept_energy(guides: Guides) -> np.ndarray:
    """sum_r |g|^2 (m,) of the stencils that begin on a cell, of complex ones the phase's part; of a library (known by identity) once."""
    made: np.ndarray = (guides.stencils[: len(guides.pixels), :, guides.parts - 1 :: guides.parts].astype(np.float64) ** 2).sum((1, 2))
    return made


def _error(spectrum: Tensor, counts: np.ndarray, power: Tensor, guides: Guides, field: Field) -> float:
    ctf, ctf_lost = (_resized(part, guides.grid, guides.canvas) for part in (guides.ctf, guides.ctf_lost))
    lost, kept, cross = float(counts @ guides.lost), guides.mean_kept, 0.0
    if kept != 1 and lost > 0:
        # The phase of a complex image is relative to its mean, of which `kept` is left: what the phase lost alike is no error.
        inside = float(counts @ _kept_energy(guides))
        lost += (1 - 1 / kept) ** 2 * inside
        cross = 2 * (1 - 1 / kept) / kept * inside
    found = approximation(spectrum / kept, power / kept**2, (lost, cross), ctf / kept, ctf_lost + (1 - 1 / kept) * ctf, guides.canvas[1],
                          None if field.at is None else guides.phases)
    return found if kept > LEAST_KEPT else max(found, 1 - kept)
