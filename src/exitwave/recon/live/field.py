"""Where the positions of a scan lie on the periodic canvas that guide functions are added to."""

from math import ceil

import numpy as np
import torch

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.direct.geometry import Geometry


@record
class Field:
    """A periodic canvas of `shape` (y, x) scan pixels; `at` (positions, 2) are the places (y, x) of the scan's positions on it, in scan pixels from
    its first sample, None: the raster itself, one position for each of its pixels. `density`: positions for each scan pixel of area.

    Raises:
        InputError: places that are no table of two columns, a density that is not above zero.
    """

    shape: tuple[int, int]
    at: np.ndarray | None = None
    density: float = 1.0

    def __post_init__(self) -> None:
        if self.at is not None and (self.at.ndim != 2 or self.at.shape[1] != 2):
            raise InputError("places of scan positions are a table (positions, 2) of y and x", got=self.at.shape)
        if not self.density > 0:
            raise InputError("the density of scan positions is above zero", got=self.density)

    def places(self, upsample: int, phases: int) -> tuple[np.ndarray, np.ndarray]:
        """Cells (positions, 2) on the fine canvas, and which of `phases`^2 sub-pixel phases each has (positions,), 0 the cell's own."""
        if self.at is None:
            cells = np.indices(self.shape).reshape(2, -1).T * upsample
            return cells, np.zeros(len(cells), np.int64)
        with np.errstate(invalid="ignore"):
            known = np.isfinite(self.at).all(1)
            steps = np.where(known[:, None], np.rint(np.where(known[:, None], self.at, 0) * (upsample * phases)), 0).astype(np.int64)
        cells, parts = np.divmod(steps, phases)
        cells %= np.array(self.shape) * upsample
        cells[~known] = -1
        return cells, parts[:, 0] * phases + parts[:, 1]


def free_field(at_px: np.ndarray, margin_px: float, density: float = 1.0) -> Field:
    """A canvas around free positions `at_px` (positions, 2), (y, x) in scan pixels, that leaves `margin_px` on each side: nothing comes back round
    where the margin is as far as a guide function reaches. Positions that are not finite have no place.

    Raises:
        InputError: no position at all.
    """
    known = at_px[np.isfinite(at_px).all(1)]
    if not len(known):
        raise InputError("none of the scan positions has a place", got=f"shape {at_px.shape}")
    low = known.min(0) - margin_px
    extent = known.max(0) + margin_px - low
    return Field(shape=(ceil(extent[0]) + 1, ceil(extent[1]) + 1), at=at_px - low, density=density)


def on_field(g: Geometry, field: Field) -> Geometry:
    """The geometry with the canvas as its scan."""
    return Geometry(beam=g.beam, aberrations=g.aberrations, scan=type(g.scan)(shape=field.shape, pitch_A=g.scan.pitch_A), edge_invA=g.edge_invA,
                    k_invA=g.k_invA, axes_invA=g.axes_invA, good=g.good, frame=g.frame, source_A=g.source_A, focal_spread_A=g.focal_spread_A)


def phase_shift(shape: tuple[int, int], offset: tuple[float, float], whole: bool) -> torch.Tensor:
    """exp(-2 pi i q.offset) on the half or whole plane of a canvas, for an offset (y, x) in its samples."""
    qy = torch.fft.fftfreq(shape[0], dtype=torch.float64)[:, None]
    qx = (torch.fft.fftfreq if whole else torch.fft.rfftfreq)(shape[1], dtype=torch.float64)[None]
    turned = -2 * torch.pi * (qy * offset[0] + qx * offset[1])
    return torch.polar(torch.ones_like(turned), turned)
