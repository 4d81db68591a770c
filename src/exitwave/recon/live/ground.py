"""What the mean pattern makes of the shape of a scan that is not finished, taken out of an image's spectrum."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from exitwave.core import record
from exitwave.recon.live.field import Field
from exitwave.recon.live.reach import Fill


@record
class Ground:
    """How an executor lays out exposure and pattern. `placed` (positions,) have a place on the `field`, each at a sub-pixel `phase` (positions,);
    `pattern(mean, phase)` is the spectrum of sum_k mean_k g_k there, `places(e, phase)` that of the exposures e (positions,) at that phase. An image
    without upsampling `keeps_mean`, as the dense one does."""

    field: Field
    fill: Fill
    upsample: int
    keeps_mean: bool
    placed: np.ndarray
    phase: np.ndarray
    pattern: Callable[[np.ndarray, int], Tensor]
    places: Callable[[np.ndarray, int], Tensor]


def complete(seen: np.ndarray, ground: Ground) -> bool:
    """Whether there is no shape to take out: a raster that is taken as a whole."""
    return ground.field.at is None and (ground.fill == "none" or (ground.fill == "reached" and bool(seen.all())))


def positions_of(seen: np.ndarray, ground: Ground) -> int:
    """How many scan positions the counts are from."""
    if ground.field.at is None and (ground.fill == "none" or bool(seen.all())):
        return len(seen)
    return max(1, int(np.count_nonzero(seen & ground.placed)))


def cleared(spectrum: Tensor, counts: np.ndarray, exposure: np.ndarray, seen: np.ndarray, ground: Ground) -> Tensor:
    """A spectrum less sum_k m_k g_k convolved with the exposure e(R), m_k = counts of k over sum e, whose mean is put back as a whole scan has it;
    e is one where the scan has `seen` a position, or the events `exposure` there. Of a complete raster only aliases of the mean go."""
    made, (ny, nx) = spectrum.clone(), ground.field.shape
    if complete(seen, ground):
        if ground.upsample > 1:
            made[::ny, ::nx] = 0
            made[0, 0] = spectrum[0, 0] if ground.keeps_mean else 0
        return made
    e = np.where(ground.placed, seen if ground.fill == "reached" else exposure, 0).astype(np.float64)
    if ground.fill == "none" or not e.any():
        return spectrum
    mean = counts / e.sum()
    patterns = {int(phase): ground.pattern(mean, int(phase)) for phase in {*np.unique(ground.phase[e > 0]), 0}}
    for phase in np.unique(ground.phase[e > 0]):
        made -= patterns[int(phase)] * ground.places(e, int(phase))
    each = e.sum() / np.count_nonzero(seen & ground.placed) * ny * nx * ground.field.density
    made[0, 0] = patterns[0][0, 0] * each if ground.keeps_mean else 0
    return made
