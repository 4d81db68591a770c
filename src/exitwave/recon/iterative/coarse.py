"""Coarse to fine: a fit of the middle of every pattern, on field pixels as much larger, whose phase and probe the whole patterns begin with."""

from math import ceil
from typing import Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, Calibration, FrameSource, Quantity
from exitwave.recon.iterative.setup import Setup

WIDER = 1.3  # times the aperture: the least that a coarse fit looks at
HALF = 0.5  # of the frame, where that is more


@record
class Middle:
    """The rows and columns `first` to `last` (y, x) of every frame of a source, in its own type."""

    source: FrameSource
    first: tuple[int, int]
    last: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        ny, nx = self.source.shape[:2]
        return ny, nx, self.last[0] - self.first[0], self.last[1] - self.first[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def natural_chunk(self) -> int:
        return self.source.natural_chunk

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        made = np.empty((stop - start, *self.shape[2:]), self.dtype) if out is None else out
        step = max(1, self.natural_chunk)  # whole frames are several times what is kept of them
        for begin in range(start, stop, step):
            end = min(stop, begin + step)
            whole = self.source.read(begin, end)
            made[begin - start : end - start] = whole[:, self.first[0] : self.last[0], self.first[1] : self.last[1]]
        return made


def middle_of(frames: FrameSource, known: Calibration, s: Setup, alive: Tensor | None) -> tuple[FrameSource, Calibration, Tensor | None]:
    """The middle half of every frame about the pattern's centre, or 1.3 times the aperture where that is more; its calibration and live pixels.

    Raises:
        InputError: that is the whole frame.
    """
    pixel = [d * s.camera.samples for d in s.window.dk_invA]
    low, high = [], []
    for corner, dk, n in zip(s.camera.corner, pixel, s.camera.frame, strict=True):
        reach = max(ceil(WIDER * s.edge_invA / dk) + 1, round(HALF * n / 2))
        begin = max(0, corner // s.camera.samples - reach)
        low.append(begin - begin % 2)  # a centre between two pixels goes to the even one, so that the whole frame and its middle round alike
        high.append(min(n, corner // s.camera.samples + reach))
    if all(b - a > 0.9 * n for a, b, n in zip(low, high, s.camera.frame, strict=True)):
        raise InputError("a coarse fit would look at the whole frame", expected="a bright disk of up to two thirds of the frame",
                         got=f"{2 * s.edge_invA / pixel[0]:.3g} of {s.camera.frame[0]} pixels", remedy="leave out --coarse")
    rows, columns = slice(low[0], high[0]), slice(low[1], high[1])
    made: FrameSource = Middle(source=frames, first=(low[0], low[1]), last=(high[0], high[1]))
    if isinstance(frames, ArrayFrames):
        made = ArrayFrames(array=frames.array[..., rows, columns])
    centres = {}
    for name, n, begin in zip(("centre_y_px", "centre_x_px"), s.camera.frame, low, strict=True):
        value = getattr(known, name).value
        centres[name] = Quantity(value=((n - 1) / 2 if value is None else float(value)) - begin, source="measured")
    return made, known.updated(**centres), None if alive is None else alive[rows, columns]


def handed_over(fine: Setup, coarse: Setup, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """The phase on the fine field (cubic splines), the modes in the fine window, scaled to its counts."""
    sides = zip(fine.field.shape, fine.field.pitch_A, (fine.corner_A - coarse.corner_A).tolist(), coarse.field.pitch_A, strict=True)
    at = [(np.arange(n) * pitch + off) / other for n, pitch, off, other in sides]
    grid = np.stack(np.meshgrid(*at, indexing="ij"))
    phase = leaves["phase"].double().numpy()
    layers = [map_coordinates(layer, grid, order=3, mode="constant") for layer in phase.reshape(-1, *phase.shape[2:])]
    modes = torch.zeros((len(leaves["modes"]), *fine.window.shape), dtype=leaves["modes"].dtype)
    rows, columns = (torch.round(torch.fft.fftfreq(n) * n).long() % m for n, m in zip(coarse.window.shape, fine.window.shape, strict=True))
    modes[:, rows[:, None], columns] = leaves["modes"] * (fine.counts / coarse.counts) ** 0.5
    stacked = torch.from_numpy(np.stack(layers)).to(leaves["phase"].dtype)
    return {"phase": stacked.reshape(*phase.shape[:2], *fine.field.shape), "modes": modes}
