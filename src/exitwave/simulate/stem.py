"""STEM images: every detector of an experiment from one pass over the scan."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError, record
from exitwave.core.fft import fft2
from exitwave.flow.accumulate import ignore
from exitwave.optics import fresnel
from exitwave.wave import Experiment, FarField, Specimen, expected, transmission
from exitwave.wave.scan import split_positions
from exitwave.wave.through import TOGETHER, Stack, far_intensity, stack

BATCH_BYTES = 6 * 2**20  # waves of one batch and their copies, so that they stay in a cache
COPIES = 5


@record
class CentreOfMass:
    """The first moment of the pattern, sum I alpha, as (y, x) in mrad times electrons: divided by a `Bucket` it is the mean deflection."""

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b 2"]:
        ky, kx = (1e3 * beam.wavelength_A * k.to(intensity.dtype) for k in grid.k_invA(intensity.device))
        return torch.stack([(intensity.sum(-1) * ky[:, 0]).sum(-1), (intensity.sum(-2) * kx[0]).sum(-1)], -1)


@record
class Samples:
    """The simulated pattern itself, its samples (ky, kx) out to `reach_mrad` along each axis, the undiffracted beam in the middle."""

    reach_mrad: float

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b ky kx"]:
        rows, columns = (
            torch.arange(-n, n + 1, device=intensity.device) % size
            for n, size in ((int(1e-3 * self.reach_mrad / beam.wavelength_A / dk), size) for dk, size in zip(grid.dk_invA, grid.shape, strict=True))
        )
        return intensity[:, rows[:, None], columns[None]]


def stem_images(x: Experiment, memory_bytes: int = 2**30, progress: Callable[[int, int], None] = ignore) -> tuple[Tensor, ...]:
    """Mean electrons in every detector of `x` at every position, one tensor (Ry, Rx, *c) for each, or (n, *c) where the scan has no raster.

    Positions are taken in batches that fit a cache, and the transmission is made once for each configuration. A pattern lives as long as its batch:
    a 4-D array is held only where a pixelated detector asks for one. complex64 on the processor takes `wave.through`, anything else `expected`;
    no gradients pass.

    Raises:
        InputError: an experiment without a scan.
        MemoryBudgetError: results, or the waves of one position, that do not fit.
    """
    if x.scan is None:
        raise InputError("a STEM image needs a scan", remedy="give the experiment a scan, e.g. raster_scan")
    with torch.no_grad():
        modes = x.illumination.modes
        if modes.dtype == torch.complex64 and modes.device.type == "cpu" and isinstance(x.transfer, FarField):
            configs = x.specimen.phase_rad.shape[:-3].numel()
            images = detected(_stacks(x), configs, x, memory_bytes, progress)
        else:
            images = _by_the_model(x, memory_bytes, progress)
        doses = x.dose_e.to(torch.float64) if x.dose_e.ndim else x.dose_e.to(torch.float64).expand(len(x.scan.positions_A))
    raster = x.scan.raster
    scaled = (image * doses.reshape(-1, *[1] * (image.ndim - 1)).to(image.dtype) for image in images)
    return tuple(image if raster is None else image.reshape(*raster, *image.shape[1:]) for image in scaled)


def detected(stacks: Iterable[Stack], configs: int, x: Experiment, memory_bytes: int, progress: Callable[[int, int], None] = ignore,
             chosen: Sequence[int] | None = None) -> list[Tensor]:
    """What every detector of `x` sees at its positions (or those `chosen`) for one electron each, (n, *c): `stacks` are the specimen's
    configurations, taken in turn and averaged. Only window, modes, scan, detectors and the field's grid of `x` are looked at.

    Raises:
        MemoryBudgetError: results, or the waves of one position, that do not fit.
    """
    window, field = x.illumination.grid, x.specimen.grid
    places = x.scan.positions_A if x.scan is not None else torch.zeros(1, 2, dtype=torch.float64)
    places = places if chosen is None else places[list(chosen)]
    whole, fraction = split_positions(places, field.pitch_A)
    half = torch.tensor([n // 2 for n in window.shape])
    starts, shifts, spectra = whole - half, fraction + half, fft2(x.illumination.modes)
    total, threads = len(places), torch.get_num_threads()
    images = _room_for(x, total, memory_bytes)
    batch = max(1, min(TOGETHER, memory_bytes // (COPIES * 8 * spectra.numel() * threads))) * threads
    intensity = torch.empty(min(batch, total), *window.shape)
    for c, through in enumerate(stacks):
        for start in range(0, total, batch):
            part = slice(start, min(total, start + batch))
            here = intensity[: part.stop - start].zero_()
            far_intensity(through, spectra, shifts[part], starts[part], here, 1 / configs)
            for image, detector in zip(images, x.detectors, strict=True):
                image[part] += detector(here, window, x.beam)
            progress(c * total + part.stop, configs * total)
    return images


def slices_of(distinct: Sequence[Tensor], order: Sequence[int], dz_A: Tensor, window: Grid, x: Experiment) -> Stack:
    """The stack of an experiment's slices for waves on `window`."""
    inner = dz_A[:-1]
    thicknesses = inner.unique() if len(inner) else dz_A[:1]
    kernels = fresnel(window, x.beam, thicknesses, x.tilt_mrad, band_limit=x.band_limit)
    follows = torch.searchsorted(thicknesses, inner).tolist()
    return stack(torch.stack(list(distinct)), order, kernels, follows)


def _stacks(x: Experiment) -> Iterable[Stack]:
    """The configurations of an experiment; slices that are equal are made once."""
    phases = x.specimen.phase_rad.reshape(-1, *x.specimen.phase_rad.shape[-3:])
    for phase in phases:
        seen: dict[int, list[int]] = {}
        order: list[int] = []
        distinct: list[Tensor] = []
        kinds: list[int] = []
        for z, plane in enumerate(phase):
            alike = seen.setdefault(hash((float(plane.real.sum()), float(plane.real.abs().max()))), [])
            same = next((k for k in alike if torch.equal(phase[kinds[k]], plane)), None)
            if same is None:
                same = len(distinct)
                slab = Specimen(grid=x.specimen.grid, dz_A=x.specimen.dz_A[z : z + 1], phase_rad=plane[None], at_beam=x.specimen.at_beam,
                                oversample=x.specimen.oversample)
                distinct.append(transmission(slab, x.beam, torch.complex64, band_limit=x.band_limit)[0])
                kinds.append(z)
                alike.append(same)
            order.append(same)
        yield slices_of(distinct, order, x.specimen.dz_A, x.illumination.grid, x)


def _room_for(x: Experiment, total: int, memory_bytes: int) -> list[Tensor]:
    """Zeros for every detector.

    Raises:
        MemoryBudgetError: they do not fit, nor does one wave.
    """
    modes = x.illumination.modes
    shapes = [tuple(detector(torch.zeros(1, *modes.shape[-2:]), x.illumination.grid, x.beam).shape[1:]) for detector in x.detectors]
    needed = COPIES * modes.numel() * modes.element_size() + 4 * total * sum(torch.Size(shape).numel() for shape in shapes)
    if needed > memory_bytes:
        raise MemoryBudgetError("the images of this scan do not fit the memory", expected=f"at least {needed} bytes", got=memory_bytes,
                                remedy="pass more memory, leave out the pixelated detector, or write frames with simulate.write_fourd")
    return [torch.zeros(total, *shape) for shape in shapes]


def _by_the_model(x: Experiment, memory_bytes: int, progress: Callable[[int, int], None]) -> list[Tensor]:
    """The same by `expected`, for one electron a position."""
    total, modes = x.scan.positions_A.shape[0] if x.scan is not None else 1, x.illumination.modes
    ready = replace(_prepared(x), dose_e=torch.ones((), dtype=torch.float64))
    each = modes.numel() * modes.element_size() * COPIES
    first = expected(ready, torch.arange(1))
    needed = each + total * sum(f.numel() * f.element_size() for f in first)
    if needed > memory_bytes:
        raise MemoryBudgetError("the images of this scan do not fit the memory", expected=f"at least {needed} bytes", got=memory_bytes,
                                remedy="pass more memory, leave out the pixelated detector, or write frames with simulate.write_fourd")
    images = [torch.empty(total, *f.shape[1:], dtype=f.dtype) for f in first]
    batch = max(1, min(BATCH_BYTES, memory_bytes) // each)
    for start in range(0, total, batch):
        stop = min(total, start + batch)
        for image, part in zip(images, expected(ready, torch.arange(start, stop)), strict=True):
            image[start:stop] = part.cpu()
        progress(stop, total)
    return images


def _prepared(x: Experiment) -> Experiment:
    """The same experiment whose alias-free transmission T is made once and written as the complex phase -i ln T."""
    if x.specimen.oversample == 1:
        return x
    t = transmission(x.specimen, x.beam, x.illumination.modes.dtype, band_limit=x.band_limit)
    phase = torch.complex(torch.angle(t), -torch.log(torch.clamp(t.abs(), min=1e-6)))
    specimen = Specimen(grid=x.specimen.grid, dz_A=x.specimen.dz_A, phase_rad=phase, at_beam=x.beam, oversample=1)
    return replace(x, specimen=specimen)
