"""From a canvas of guide functions to an image in rad: what the mean pattern makes is taken out, noise, transfer and errors are stated."""

from dataclasses import replace

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
from exitwave.recon.live.guide_error import approximation
from exitwave.recon.live.guides import Guides
from exitwave.recon.live.layout import Layout, folded
from exitwave.recon.live.reach import Fill


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
    raw, counts, both = _spectra(x.canvas, guides), x.patterns.sum(0), x.exposure.sum(0)
    positions = _positions(x, field, fill)
    total = _total(counts, guides, positions)
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{total:.3g} counts per position")
    def clear(spectrum: Tensor, pattern: np.ndarray, exposure: np.ndarray) -> Tensor:
        made = _cleared(spectrum, pattern, exposure, x, guides, field, fill)
        return made if guides.filter is None else guides.filter(made)

    whole = clear(raw.sum(0), counts, both)
    halves = [clear(raw[h], x.patterns[h], x.exposure[h] if dealt else both) for h in (0, 1)]
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
    made = [wdd_image(torch.stack(two), ctf, power / (count * total), g, total, guides.upsample, dispersion, 1.0)
            for two in ([whole / 2, whole / 2], [h / 2 for h in halves])]
    return replace(made[0], halves=made[1].halves, pixels=len(guides.pixels))


def _phase_of(whole: Tensor) -> Tensor:
    return torch.fft.rfft2(torch.fft.ifft2(whole).imag)


def _positions(x: Exposed, field: Field, fill: Fill) -> int:
    """How many scan positions the counts are from."""
    return len(x.seen) if field.at is None and (fill == "none" or bool(x.seen.all())) else max(1, int(np.count_nonzero(x.seen & (x.layout.at >= 0))))


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


def _cleared(spectrum: Tensor, counts: np.ndarray, exposure: np.ndarray, x: Exposed, guides: Guides, field: Field, fill: Fill) -> Tensor:
    """A spectrum without what the mean pattern makes of the shape of the part that was scanned: sum_k m_k g_k convolved with the exposure e(R) is
    taken out, m_k = counts of k over sum e, and its mean put back as a whole scan has it. Where all was seen only aliases of the mean go."""
    made, keeps_mean = spectrum.clone(), guides.upsample == 1 or guides.parts == 2
    if field.at is None and (fill == "none" or (fill == "reached" and bool(x.seen.all()))):
        if guides.upsample > 1:
            made[:: field.shape[0], :: field.shape[1]] = 0
            made[0, 0] = spectrum[0, 0] if keeps_mean else 0
        return made
    placed = x.layout.at >= 0
    e = np.where(placed, x.seen if fill == "reached" else exposure, 0).astype(np.float64)
    if fill == "none" or not e.any():
        return spectrum
    mean = counts / e.sum()
    for phase in np.unique(x.layout.phase[e > 0]):
        some = (x.layout.phase == phase) & (e > 0)
        places = np.zeros(guides.canvas)
        np.add.at(places, tuple(x.layout.cell[some].T), e[some])
        made -= _pattern(mean, int(phase), x.layout, guides) * _transform(torch.from_numpy(places), guides)
    each = e.sum() / np.count_nonzero(x.seen & placed) * field.shape[0] * field.shape[1] * field.density
    made[0, 0] = _pattern(mean, 0, x.layout, guides)[0, 0] * each if keeps_mean else 0
    return made


def _pattern(mean: np.ndarray, phase: int, made: Layout, guides: Guides) -> Tensor:
    """The spectrum of sum_k mean_k g_k at a sub-pixel phase."""
    m = len(guides.pixels)
    canvas = np.zeros(made.rows * made.width)
    layered(canvas, made.width, guides.stencils[phase * m : (phase + 1) * m], guides.corner[:, 0] * made.width + guides.corner[:, 1] * made.parts,
            made.rim[0] * made.width + made.rim[1] * made.parts, mean)
    return _spectra(folded(canvas.reshape(made.rows, made.width), made), guides)


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


def _error(spectrum: Tensor, counts: np.ndarray, power: Tensor, guides: Guides, field: Field) -> float:
    return approximation(spectrum, power, float(counts @ guides.lost), _resized(guides.ctf, guides.grid, guides.canvas),
                         _resized(guides.ctf_lost, guides.grid, guides.canvas), guides.canvas[1], None if field.at is None else guides.phases)
