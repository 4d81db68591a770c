"""STEM images: every detector of an experiment from one pass over the scan."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError, record
from exitwave.flow.accumulate import ignore
from exitwave.wave import Experiment, Specimen, expected, transmission

BATCH_BYTES = 6 * 2**20  # waves of one batch and their copies, so that they stay in a cache
COPIES = 5


@record
class CentreOfMass:
    """The first moment of the pattern, sum I alpha, as (y, x) in mrad times electrons: divided by a `Bucket` it is the mean deflection."""

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b 2"]:
        ky, kx = (1e3 * beam.wavelength_A * k.to(intensity.dtype) for k in grid.k_invA(intensity.device))
        return torch.stack([(intensity * ky).sum((-2, -1)), (intensity * kx).sum((-2, -1))], -1)


def stem_images(x: Experiment, memory_bytes: int = 2**30, progress: Callable[[int, int], None] = ignore) -> tuple[Tensor, ...]:
    """Mean electrons in every detector of `x` at every position, one tensor (Ry, Rx, *c) for each, or (n, *c) where the scan has no raster.

    Positions are taken in batches that fit a cache, and the transmission is made once. A pattern lives as long as its batch: a 4-D array is held only
    where a pixelated detector asks for one.

    Raises:
        InputError: an experiment without a scan.
        MemoryBudgetError: results, or the waves of one position, that do not fit.
    """
    if x.scan is None:
        raise InputError("a STEM image needs a scan", remedy="give the experiment a scan, e.g. raster_scan")
    total, modes = x.scan.positions_A.shape[0], x.illumination.modes
    ready = _prepared(x)
    each = modes.numel() * modes.element_size() * COPIES
    with torch.no_grad():
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
    raster = x.scan.raster
    return tuple(image if raster is None else image.reshape(*raster, *image.shape[1:]) for image in images)


def _prepared(x: Experiment) -> Experiment:
    """The same experiment whose alias-free transmission T is made once and written as the complex phase -i ln T."""
    if x.specimen.oversample == 1:
        return x
    t = transmission(x.specimen, x.beam, x.illumination.modes.dtype, band_limit=x.band_limit)
    phase = torch.complex(torch.angle(t), -torch.log(torch.clamp(t.abs(), min=1e-6)))
    specimen = Specimen(grid=x.specimen.grid, dz_A=x.specimen.dz_A, phase_rad=phase, at_beam=x.beam, oversample=1)
    return replace(x, specimen=specimen)
