"""Patterns of energy windows: the electrons of each window summed apart, and those of none counted by reason."""

from collections.abc import Mapping

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import Chunk, EventChunk
from exitwave.diffraction._windows import add_windows
from exitwave.diffraction.energy import EnergyScale

BELOW, ABOVE, BETWEEN, NO_ENERGY = "energies below the windows", "energies above the windows", "energies between windows", "no energy"
OFF_SCAN, OFF_FRAME = "no scan position", "no detector pixel"
REASONS = (BELOW, ABOVE, BETWEEN, NO_ENERGY, OFF_SCAN, OFF_FRAME)


@record
class WindowState:
    """`counts` (windows, Ry Rx, ky kx) uint32; `sums` (Ry Rx, 2): the energies in eV of the electrons in windows and their number, in whole eV;
    `numbers` of rejected electrons by reason; `events` all electrons so far."""

    counts: np.ndarray
    sums: np.ndarray
    numbers: np.ndarray
    shape: tuple[int, int, int, int]
    events: int

    @property
    def rejected(self) -> Mapping[str, int]:
        """Electrons in no window, by reason."""
        return {reason: int(number) for reason, number in zip(REASONS, self.numbers, strict=True) if number}


@record
class WindowedPatterns:
    """`counts` (windows, Ry, Rx, ky, kx) uint32; `mean_eV` (Ry, Rx): the mean energy of each position's electrons in windows, NaN where there are
    none; `rejected` electrons by reason. All counts and rejected electrons together are exactly the events."""

    counts: np.ndarray
    windows_eV: np.ndarray
    mean_eV: np.ndarray
    rejected: Mapping[str, int]
    events: int


@record
class EnergyWindows:
    """Accumulator of patterns for energy `windows_eV` (n, 2): from each window's lower edge up to, not including, its upper one; they ascend and may
    touch. `scale` turns the events' energies into eV; without it they are eV already. Memory: 4 bytes per window, position and pixel.

    Raises:
        InputError: windows that are empty, overlap or do not ascend.
    """

    windows_eV: np.ndarray
    scale: EnergyScale | None = None

    def __post_init__(self) -> None:
        edges = np.asarray(self.windows_eV, np.float64)
        if edges.ndim != 2 or edges.shape[1:] != (2,) or not len(edges) or not np.isfinite(edges).all() or (edges[:, 1] <= edges[:, 0]).any() or (
                edges[1:, 0] < edges[:-1, 1]).any():
            raise InputError("energy windows", expected="pairs (from, to) in eV that ascend and do not overlap", got=edges.tolist())

    def start(self, shape: tuple[int, int, int, int]) -> WindowState:
        """Zeros."""
        cells, pixels = shape[0] * shape[1], shape[2] * shape[3]
        return WindowState(counts=np.zeros((len(self.windows_eV), cells, pixels), np.uint32), sums=np.zeros((cells, 2), np.int64),
                           numbers=np.zeros(len(REASONS), np.int64), shape=shape, events=0)

    def add(self, state: WindowState, chunk: Chunk) -> WindowState:
        """The state with one chunk more.

        Raises:
            InputError: frames, or events without energies.
        """
        if not isinstance(chunk, EventChunk):
            raise InputError("energy windows take single electrons", got="frames", remedy="count them first: exitwave.diffraction.ElectronStream")
        if chunk.energy is None and len(chunk):
            raise InputError("these electrons have no energies", remedy="choose a detector, or a rule of counting, that measures them")
        if len(chunk) and chunk.energy is not None:
            energy = chunk.energy.astype(np.float64) if self.scale is None else self.scale.energy_eV(chunk.energy)
            add_windows(state.counts, state.sums, np.ascontiguousarray(self.windows_eV, np.float64), np.ascontiguousarray(chunk.position, np.int64),
                        np.ascontiguousarray(chunk.pixel, np.int64), np.ascontiguousarray(energy), state.numbers)
        return WindowState(counts=state.counts, sums=state.sums, numbers=state.numbers, shape=state.shape, events=state.events + len(chunk))

    def merge(self, left: WindowState, right: WindowState) -> WindowState:
        """The sum of both states."""
        np.add(left.counts, right.counts, out=left.counts)
        return WindowState(counts=left.counts, sums=left.sums + right.sums, numbers=left.numbers + right.numbers, shape=left.shape,
                           events=left.events + right.events)

    def view(self, state: WindowState) -> WindowedPatterns:
        """The patterns so far; the counts lie in the state."""
        with np.errstate(invalid="ignore"):
            mean = np.where(state.sums[:, 1] > 0, state.sums[:, 0] / np.maximum(state.sums[:, 1], 1), np.nan)
        return WindowedPatterns(counts=state.counts.reshape(-1, *state.shape), windows_eV=np.asarray(self.windows_eV, np.float64),
                                mean_eV=mean.reshape(state.shape[:2]), rejected=state.rejected, events=state.events)

    def finish(self, state: WindowState) -> WindowedPatterns:
        """The patterns of the whole scan."""
        return self.view(state)
