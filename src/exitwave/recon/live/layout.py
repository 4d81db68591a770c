"""The canvas of guide functions with a rim around it, so that no stencil has to be wrapped while events come in."""

import numpy as np

from exitwave.core import record
from exitwave.recon.live.field import Field
from exitwave.recon.live.guides import Guides
from exitwave.recon.live.rim import Rim, rimmed

ADDS = 8192  # to a cell, on the average, before single precision would tell: their rounding is sqrt(8192) 2^-24, 5e-6 of their sum


@record
class Layout:
    """The canvas with its `rim`. `at` (positions,) is the place of each scan position's `cell` (positions, 2), -1: none, `phase` (positions,) its
    sub-pixel phase; `start` (m,) is where a pixel's stencil begins from there, `pixel_rows` (ky kx,) the number of each detector pixel or -1. After
    `spill` events the canvas goes to one of double precision: no cell has had enough of them for single precision to matter."""

    rim: Rim
    at: np.ndarray
    cell: np.ndarray
    phase: np.ndarray
    start: np.ndarray
    pixel_rows: np.ndarray
    spill: int


def layout(guides: Guides, field: Field, frame: tuple[int, int]) -> Layout:
    """The canvas of a library on a field."""
    (ny, nx), (ky, kx), parts = guides.canvas, guides.size, guides.parts
    rim = rimmed(guides.canvas, guides.corner.min(0), guides.corner.max(0) + (ky - 1, kx - 1), parts)
    cell, phase = field.places(guides.upsample, guides.phases)
    at = np.where((cell >= 0).all(1), rim.origin + cell[:, 0] * rim.width + cell[:, 1] * parts, -1)
    pixel_rows = np.full(frame[0] * frame[1], -1, np.int64)
    pixel_rows[guides.pixels] = np.arange(len(guides.pixels))
    return Layout(rim=rim, at=at, cell=cell, phase=phase, start=guides.corner[:, 0] * rim.width + guides.corner[:, 1] * parts,
                  pixel_rows=pixel_rows, spill=max(1024, ADDS * ny * nx // (ky * kx)))
