"""Parallax images of a scan that still runs, one integer add per event on any positions."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.data import Chunk, EventChunk, FrameChunk
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage, checkerboard
from exitwave.recon.live._shifts import add_shifted
from exitwave.recon.live.columns import Rejected, columns
from exitwave.recon.live.field import Field
from exitwave.recon.live.ground import Ground, cleared, positions_of
from exitwave.recon.live.guided import Halves, events_in
from exitwave.recon.live.reach import Fill, Reach, check_order, extended, joined, reached, whole
from exitwave.recon.live.rim import Rim, folded, rimmed
from exitwave.recon.live.shifts import PARTS, Shifts, rounding_error, spectrum

MOST = 65535  # events of a packed cell


@record
class Cells:
    """The grid of cells with its `rim`; `at` (positions,) is each position's cell, -1: none, `part` (positions, 2) its offset in 1/256; `start` (m,)
    and `pixel_rows` (ky kx,) as in `Layout`."""

    rim: Rim
    at: np.ndarray
    part: np.ndarray
    start: np.ndarray
    pixel_rows: np.ndarray


@record
class ShiftedState:
    """`packed` (2, cells with rim) holds counts and sums of offsets of either half in 64 bits; `sums` (2, 3, y, x) takes them when a cell is full."""

    packed: np.ndarray
    sums: np.ndarray | None
    cells: Cells
    exposure: np.ndarray
    patterns: np.ndarray
    reach: Reach
    numbers: np.ndarray
    events: int

    @property
    def rejected(self) -> Rejected:
        return Rejected.of(self.numbers)

    def totals(self) -> np.ndarray:
        """(2, 3, y, x) int64: counts and sums of y and x offsets (0 to 255) of all events so far."""
        made = np.stack([_unpacked(half, self.cells.rim) for half in self.packed])
        return made if self.sums is None else made + self.sums


@record
class LiveShifts:
    """Accumulator of parallax images by integers (`exitwave.recon.live.shifts.make_shifts`, made on the same field): two and more times as quick as
    the stencils of `LiveGuides`, and the same in any order, chunks and merging, bit for bit. What rounding costs is stated by the view
    (`DirectImage.approximation`): 3 % of an image of noise up to the Nyquist frequency at 4 cells to a fine pixel, a quarter of that at 8. Other
    arguments as for `LiveGuides`."""

    g: Geometry
    shifts: Shifts
    field: Field
    halves: Halves = "detector"
    seed: int = DEFAULT_SEED
    order: np.ndarray | None = None
    fill: Fill = "reached"
    dispersion: float = 1.0
    counts_per_electron: float = 1.0

    def start(self, shape: tuple[int, int, int, int]) -> ShiftedState:
        """Zeros.

        Raises:
            InputError: a shape, an order or a field that is not the geometry's.
        """
        check_order(self.order, shape)
        if shape[2:] != self.g.frame:
            raise InputError("the stream's frames are not the geometry's", expected=self.g.frame, got=shape[2:])
        made = _cells(self.shifts, self.field, self.g.frame)
        if shape[0] * shape[1] != len(made.at):
            raise InputError("the field has another number of scan positions than the stream", expected=len(made.at), got=shape[0] * shape[1])
        return ShiftedState(packed=np.zeros((2, made.rim.rows * made.rim.width), np.uint64), sums=None, cells=made,
                            exposure=np.zeros((2, len(made.at)), np.int64), patterns=np.zeros((2, len(self.shifts.pixels)), np.int64),
                            reach=Reach.none(len(made.at)), numbers=np.zeros(3, np.int64), events=0)

    def add(self, state: ShiftedState, chunk: Chunk) -> ShiftedState:
        """The state with one chunk more; frames count as events frame by frame, each frame's pixels in ascending order.

        Raises:
            InputError: frames of another shape, no integers, or counts below zero.
        """
        position, pixel = columns(chunk if isinstance(chunk, EventChunk) else events_in(chunk, self.g.frame))
        colours = checkerboard(self.g.frame)[self.shifts.pixels] if self.halves == "detector" else np.empty(0, np.int64)
        made, done = state.cells, 0
        while done < len(position):
            done = add_shifted(state.packed.reshape(-1), state.packed.shape[1], made.rim.width, made.at, made.part, made.start, self.shifts.part,
                               made.pixel_rows, position, pixel, colours, done, state.events, np.uint64(self.seed), state.exposure, state.patterns,
                               state.numbers)
            if done < len(position):
                state = _emptied(state)
        passed = extended(state.reach, chunk.position if isinstance(chunk, FrameChunk) else position, self.order)
        return replace(state, reach=passed, events=state.events + len(position))

    def merge(self, left: ShiftedState, right: ShiftedState) -> ShiftedState:
        """The state of both parts together, bit for bit the same in any order."""
        top = np.uint64(48)
        if ((left.packed >> top) + (right.packed >> top)).max() > MOST:
            left, right = _emptied(left), _emptied(right)
        sums = [s.sums for s in (left, right) if s.sums is not None]
        return ShiftedState(packed=left.packed + right.packed, sums=sum(sums[1:], sums[0]) if sums else None, cells=left.cells,
                            exposure=left.exposure + right.exposure, patterns=left.patterns + right.patterns, reach=joined(left.reach, right.reach),
                            numbers=left.numbers + right.numbers, events=left.events + right.events)

    def view(self, state: ShiftedState) -> DirectImage:
        """The image so far.

        Raises:
            InputError: no counts yet.
        """
        s, counts, both, seen = self.shifts, state.patterns.sum(0), state.exposure.sum(0), reached(state.reach, self.order)
        ground = self._ground(state.cells)
        positions, share = positions_of(seen, ground), float(s.light.sum())
        total = float(counts.sum()) / positions / share
        if not total > 0:
            raise InputError("the scan has no signal inside the aperture", got=f"{total:.3g} counts per position")
        raw = spectrum(_centred(state.totals(), s), s)
        dealt, filter_ = self.halves == "random", s.filter or (lambda spectra: spectra)
        image = filter_(cleared(raw.sum(0), counts, both, seen, ground))
        parts = [filter_(cleared(raw[h], state.patterns[h], state.exposure[h] if dealt else both, seen, ground)) for h in (0, 1)]
        own = [float(state.patterns[h].sum()) / float(counts.sum()) if dealt else 0.5 for h in (0, 1)]
        gain, size = s.upsample**2 / (total * self.field.density), s.canvas[0] * s.canvas[1]
        scaled = [image * gain, *(one * (gain / part if part > 0 else 0.0) for one, part in zip(parts, own, strict=True))]
        made = [torch.fft.irfft2(one, s=s.canvas) for one in scaled]
        power = torch.ones_like(s.ctf.real) if s.filter is None else s.filter.values**2
        return DirectImage(method=s.method, image=made[0], halves=(made[1], made[2]),
                           pitch_A=(self.g.scan.pitch_A[0] / s.upsample, self.g.scan.pitch_A[1] / s.upsample), ctf=s.ctf,
                           noise=power * (float(counts.sum()) * self.dispersion * gain**2 / size), electrons=total / self.counts_per_electron,
                           pixels=len(s.pixels), approximation=rounding_error(image, counts, s, self.field))

    def finish(self, state: ShiftedState) -> DirectImage:
        return self.view(replace(state, reach=whole(state.reach)))

    def _ground(self, made: Cells) -> Ground:
        s, rim = self.shifts, made.rim

        def at_cells(weights: np.ndarray, cell: np.ndarray, part: np.ndarray) -> Tensor:
            sums = np.zeros((3, rim.rows * rim.width))
            for row, value in zip(sums, (weights, weights * (part[:, 0] / PARTS - 0.5), weights * (part[:, 1] / PARTS - 0.5)), strict=True):
                np.add.at(row, cell, value)
            return spectrum(torch.from_numpy(np.stack([folded(row.reshape(rim.rows, rim.width), rim) for row in sums])), s)

        def places(e: np.ndarray, phase: int) -> Tensor:
            some = made.at >= 0
            middle = made.part[some] + PARTS // 2
            return at_cells(e[some], made.at[some] + middle[:, 0] // PARTS * rim.width + middle[:, 1] // PARTS, middle % PARTS)

        return Ground(field=self.field, fill=self.fill, upsample=s.upsample, keeps_mean=s.upsample == 1, placed=made.at >= 0,
                      phase=np.zeros(len(made.at), np.int64), places=places,
                      pattern=lambda mean, phase: at_cells(mean, rim.origin + made.start, s.part))


def _cells(shifts: Shifts, field: Field, frame: tuple[int, int]) -> Cells:
    made = rimmed(shifts.grid, shifts.start.min(0), np.maximum(shifts.start.max(0), 0) + 1, 1)
    if field.at is None:
        cell = np.indices(field.shape).reshape(2, -1).T * (shifts.upsample * shifts.cells)
        part = np.zeros_like(cell)
    else:
        known = np.isfinite(field.at).all(1)
        steps = np.rint(np.where(known[:, None], field.at, 0) * (shifts.upsample * shifts.cells * PARTS)).astype(np.int64)
        cell, part = steps // PARTS % np.array(shifts.grid), steps % PARTS
        cell[~known] = -1
    at = np.where(cell[:, 0] >= 0, made.origin + cell[:, 0] * made.width + cell[:, 1], -1)
    pixel_rows = np.full(frame[0] * frame[1], -1, np.int64)
    pixel_rows[shifts.pixels] = np.arange(len(shifts.pixels))
    return Cells(rim=made, at=at, part=part, start=shifts.start[:, 0] * made.width + shifts.start[:, 1], pixel_rows=pixel_rows)


def _unpacked(half: np.ndarray, rim: Rim) -> np.ndarray:
    """(3, y, x) int64 of packed cells."""
    low = np.uint64(2**24 - 1)
    parts = (half >> np.uint64(48), (half >> np.uint64(24)) & low, half & low)
    return np.stack([folded(part.astype(np.int64).reshape(rim.rows, rim.width), rim) for part in parts])


def _centred(totals: np.ndarray, shifts: Shifts) -> Tensor:
    """(2, 3, y, x): counts, and offsets from the cell's middle in cells."""
    made = totals.astype(np.float64 if shifts.double else np.float32)
    made[:, 1:] = made[:, 1:] / PARTS - 0.5 * made[:, :1]
    return torch.from_numpy(made)


def _emptied(state: ShiftedState) -> ShiftedState:
    """With all packed cells added to the sums."""
    return replace(state, sums=state.totals(), packed=np.zeros_like(state.packed))
