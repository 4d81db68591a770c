"""Parallax without stencils: every event is one integer at its pixel's own shift, on a grid finer than the image.

Tilt-corrected bright field moves each electron by grad chi / 2 pi of its pixel: a guide function that is a point. Its place is rounded to a cell, and
the sum of what was rounded off is kept beside the count, so that the image is right to first order in it.
"""

from math import pi

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.linear import Filter, full_response, linear
from exitwave.recon.live.field import Field, on_field

PARTS = 256  # of a cell, in which offsets are counted


@record
class Shifts:
    """`cells`^2 cells to a fine pixel; each pixel's shift is `start` (m, 2) cells and `part` (m, 2) / 256 - 1/2 of one. `filter` is the flip;
    with `double` views are made in double precision."""

    method: str
    upsample: int
    cells: int
    shape: tuple[int, int]
    pixels: np.ndarray
    light: np.ndarray
    start: np.ndarray
    part: np.ndarray
    ctf: Tensor
    filter: Filter | None
    double: bool

    @property
    def canvas(self) -> tuple[int, int]:
        """The image's (Y, X)."""
        return self.shape[0] * self.upsample, self.shape[1] * self.upsample

    @property
    def grid(self) -> tuple[int, int]:
        """The cells' (y, x)."""
        return self.canvas[0] * self.cells, self.canvas[1] * self.cells


def make_shifts(g: Geometry, field: Field, method: str = "parallax", *, upsample: int = 1, cells: int = 4, finite_pixels: bool = True,
                dtype: torch.dtype = torch.complex64) -> Shifts:
    """The shifts of "parallax" or "flipped-parallax" on a field.

    Raises:
        InputError: another method; fewer than 1 or more than 16 cells.
    """
    if method not in ("parallax", "flipped-parallax"):
        raise InputError("only parallax is a shift of each pixel's image", got=method, remedy="use guide functions or the count cube")
    if not 1 <= cells <= 16:
        raise InputError("the cells of a fine pixel along an axis are out of range", expected="1 to 16", got=cells)
    one = linear(on_field(g, field), method, upsample=upsample, finite_pixels=finite_pixels, dtype=dtype)
    pitch = torch.tensor(g.scan.pitch_A, dtype=torch.float64) / (upsample * cells * PARTS)
    steps = torch.round(one.shift_A / pitch).to(torch.int64).numpy() + PARTS // 2
    return Shifts(method=method, upsample=upsample, cells=cells, shape=field.shape, pixels=one.pixels.numpy(), light=one.light.numpy(),
                  start=steps // PARTS, part=steps % PARTS, ctf=full_response(one).ctf, filter=one.filter,
                  double=dtype == torch.complex128)


def spectrum(sums: Tensor, shifts: Shifts) -> Tensor:
    """The half plane (*, Y, H) of the image from sums (*, 3, y, x) over the events of each cell: counts, and offsets (y, x) from its middle in cells.

    exp(-2 pi i q.(c + d)) = exp(-2 pi i q.c) (1 - 2 pi i q.d) to first order, q in cycles per cell.
    """
    (ny, nx), (rows, columns) = shifts.canvas, shifts.grid
    half = torch.fft.rfft(sums)[..., : nx // 2 + 1]
    y = torch.fft.fftfreq(ny, 1 / ny).to(torch.int64)
    whole = torch.fft.fft(half, dim=-2)[..., y % rows, :].to(torch.complex128)
    qy, qx = 2 * pi / rows * y.to(torch.float64)[:, None], 2 * pi / columns * torch.arange(nx // 2 + 1, dtype=torch.float64)
    return whole[..., 0, :, :] - 1j * (qy * whole[..., 1, :, :] + qx * whole[..., 2, :, :])


def rounding_error(image: Tensor, counts: np.ndarray, shifts: Shifts, field: Field) -> float:
    """The rms error that is left after first order over the rms of the image, from its spectrum (Y, H): |q.d|^2 / 2 rad of every event, d the offsets
    of pixels weighted with their counts, or anywhere in the cell where positions are free. A bound is (pi (|qy| + |qx|) / cells)^2 / 2, q in cycles
    per fine pixel."""
    (ny, nx), (rows, columns) = shifts.canvas, shifts.grid
    qy = (2 * pi * ny / rows) * torch.fft.fftfreq(ny, dtype=torch.float64)[:, None]
    qx = (2 * pi * nx / columns) * torch.fft.rfftfreq(nx, dtype=torch.float64)
    if field.at is None:
        d, share = shifts.part / PARTS - 0.5, counts / counts.sum()
        moments = [float((share * d[:, 0] ** (4 - n) * d[:, 1] ** n).sum()) for n in range(5)]
    else:
        moments = [1 / 80, 0.0, 1 / 144, 0.0, 1 / 80]
    fourth = sum(c * m * qy ** (4 - n) * qx**n for n, (c, m) in enumerate(zip((1, 4, 6, 4, 1), moments, strict=True)))
    seen = image.abs() ** 2 * torch.where((torch.arange(nx // 2 + 1) == 0) | (2 * torch.arange(nx // 2 + 1) == nx), 1.0, 2.0)
    seen[0, 0] = 0
    return float((seen * fourth).sum() / (4 * seen.sum())) ** 0.5 if float(seen.sum()) > 0 else 0.0
