"""The canvas of guide functions with a rim around it, so that no stencil has to be wrapped while events come in."""

import numpy as np

from exitwave.core import record
from exitwave.recon.live.field import Field
from exitwave.recon.live.guides import Guides

ADDS = 2048  # to a cell, on the average, before single precision would tell


@record
class Layout:
    """`rows` of `width` floats; the canvas' first sample (of `parts` floats) is at `rim` (y, x) samples. `at` (positions,) is the place of each scan
    position's cell, -1: none, `phase` (positions,) its sub-pixel phase; `start` (m,) is where a pixel's stencil begins from there, `pixel_rows`
    (ky kx,) the number of each detector pixel or -1. After `spill` events the canvas goes to one of double precision: no cell has had enough of them
    for single precision to matter, whatever the length of the scan."""

    rows: int
    width: int
    rim: tuple[int, int]
    canvas: tuple[int, int]
    parts: int
    at: np.ndarray
    cell: np.ndarray
    phase: np.ndarray
    start: np.ndarray
    pixel_rows: np.ndarray
    spill: int


def layout(guides: Guides, field: Field, frame: tuple[int, int]) -> Layout:
    """The canvas of a library on a field."""
    (ny, nx), (ky, kx), parts = guides.canvas, guides.size, guides.parts
    low, high = guides.corner.min(0), guides.corner.max(0) + (ky, kx) - 1
    rim, beyond = np.maximum(-low, 0), np.maximum(high, 0)
    rows, width = ny + int(rim[0] + beyond[0]), (nx + int(rim[1] + beyond[1])) * parts
    cell, phase = field.places(guides.upsample, guides.phases)
    inside = (cell >= 0).all(1)
    at = np.where(inside, (cell[:, 0] + rim[0]) * width + (cell[:, 1] + rim[1]) * parts, -1)
    pixel_rows = np.full(frame[0] * frame[1], -1, np.int64)
    pixel_rows[guides.pixels] = np.arange(len(guides.pixels))
    return Layout(rows=rows, width=width, rim=(int(rim[0]), int(rim[1])), canvas=(ny, nx), parts=parts, at=at, cell=cell, phase=phase,
                  start=guides.corner[:, 0] * width + guides.corner[:, 1] * parts, pixel_rows=pixel_rows,
                  spill=max(1024, ADDS * ny * nx // (ky * kx)))


def folded(rimmed: np.ndarray, made: Layout) -> np.ndarray:
    """The periodic canvas (Y, X parts), double precision, of one with its rim (rows, width)."""
    return _along(_along(rimmed, 0, made.rim[0], made.canvas[0]), 1, made.rim[1] * made.parts, made.canvas[1] * made.parts)


def _along(array: np.ndarray, axis: int, rim: int, size: int) -> np.ndarray:
    source = np.moveaxis(array, axis, 0)
    out = np.zeros((size, source.shape[1]))
    done = 0
    while done < len(source):
        to = (done - rim) % size
        length = min(size - to, len(source) - done)
        out[to : to + length] += source[done : done + length]
        done += length
    return np.moveaxis(out, 0, axis)
