"""Frames to electrons: the strict maxima of 3 x 3 pixels above the noise, or groups of touching pixels with their centre of mass."""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any, Literal

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.threads import together_on
from exitwave.data import Chunk, EventChunk, FrameChunk, LiveStream
from exitwave.diffraction._counting import components, maxima

Method = Literal["maxima", "components"]
SHARE = 8  # frames for each thread at least
FEWEST_ROOM = 64
LEARNT_FROM = 64  # frames
XRAYS = "hits brighter than an electron"


@record
class CountingRule:
    """What counts as an electron in a frame (ky, kx).

    The signal of a pixel is (raw - `dark`) * `gain`, each (ky, kx) or left out. Above `background` it may be an electron, above `ceiling` it is none
    (an X-ray): neither it nor its halo is counted. `exitwave.diffraction.thresholds_of` finds both limits. Pixels of `dead` (ky, kx) never count.

    `method` "maxima": a pixel above the background that is brighter than its eight neighbours; equal ones are none. Its loss to coincidence is known
    exactly (`exitwave.diffraction.occupancy_of`). "components": pixels above the background that touch, corners included, are one electron.

    Raises:
        InputError: limits that are none, or tables of different shapes.
    """

    background: float
    ceiling: float = np.inf
    dark: np.ndarray | None = None
    gain: np.ndarray | None = None
    dead: np.ndarray | None = None
    method: Method = "maxima"

    def __post_init__(self) -> None:
        if not 0 <= self.background < self.ceiling:
            raise InputError("thresholds of electrons", expected="0 <= background < ceiling", got=f"{self.background} and {self.ceiling}")
        shapes = {np.shape(table) for table in (self.dark, self.gain, self.dead) if table is not None}
        if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
            raise InputError("dark, gain and dead pixels are single frames of one shape", got=", ".join(map(str, shapes)))
        if self.gain is not None and not (np.isfinite(self.gain) & (self.gain > 0)).all():
            raise InputError("a gain is above zero everywhere", got=float(np.min(self.gain)), remedy="mark those pixels as dead and give them one")


@record
class Electrons:
    """Electrons found in a stack of frames: the `frame` (n,) and `pixel` (n,) of each, its signal `energy` (n,) and its offset `subpixel` (n, 2) from
    the pixel's middle, float32; `rejected`: hits brighter than the ceiling."""

    frame: np.ndarray
    pixel: np.ndarray
    energy: np.ndarray
    subpixel: np.ndarray
    rejected: int

    def __len__(self) -> int:
        return len(self.frame)


def electrons_of(frames: np.ndarray, rule: CountingRule) -> Electrons:
    """The electrons of frames (n, ky, kx), frame by frame, each frame's pixels in ascending order (of groups: of their first pixel).

    Raises:
        InputError: frames that are no numbers or do not fit the rule's tables.
    """
    return _found(frames, _Tables.of(rule, frames.shape[1:], frames.dtype), rule)


class ElectronStream:
    """Electrons of a stream of frames; an `exitwave.data.LiveStream`. Events of the stream pass unchanged, as do waits.

    The energies are signals of electrons in the unit of the frames after dark and gain. `rule` may be what makes one of the first frames
    (n, ky, kx): these are then held back until `LEARNT_FROM` of them have come, or all.
    """

    def __init__(self, frames: LiveStream, rule: CountingRule | Callable[[np.ndarray], CountingRule]) -> None:
        self._frames, self._asked, self._bright = frames, rule, 0
        self.rule = rule if isinstance(rule, CountingRule) else None

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self._frames.frame

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where the source says it."""
        return self._frames.scan

    @property
    def rejected(self) -> Mapping[str, int]:
        """What the stream of frames did not use, and hits brighter than an electron."""
        return {**self._frames.rejected, **({XRAYS: self._bright} if self._bright else {})}

    def chunks(self) -> Iterator[Chunk]:
        """The electrons of each chunk of frames.

        Raises:
            InputError: frames that are no numbers or do not fit the rule's tables.
        """
        tables: _Tables | None = None
        for chunk in self._learnt_from():
            if not isinstance(chunk, FrameChunk) or self.rule is None:
                yield chunk
                continue
            if tables is None or tables.limit.dtype != chunk.frames.dtype:
                tables = _Tables.of(self.rule, chunk.frames.shape[1:], chunk.frames.dtype)
            found = _found(chunk.frames, tables, self.rule)
            self._bright += found.rejected
            yield EventChunk(position=chunk.position[found.frame], pixel=found.pixel, energy=found.energy, subpixel=found.subpixel)

    def _learnt_from(self) -> Iterator[Chunk]:
        """The stream's chunks, once the rule is there."""
        chunks = self._frames.chunks()
        held: list[FrameChunk] = []
        if not isinstance(self._asked, CountingRule):
            for chunk in chunks:
                if not isinstance(chunk, FrameChunk) or not len(chunk):
                    yield chunk
                    continue
                held.append(chunk)
                if sum(map(len, held)) >= LEARNT_FROM:
                    break
            if held:
                self.rule = self._asked(np.concatenate([chunk.frames for chunk in held])[:LEARNT_FROM])
        yield from held
        yield from chunks


@record
class _Tables:
    """Dark and gain (pixels,) in float64, and the largest value that is no electron (pixels,) in the frames' type."""

    dark: np.ndarray
    gain: np.ndarray
    limit: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, rule: CountingRule, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "_Tables":
        tables = [t for t in (rule.dark, rule.gain, rule.dead) if t is not None]
        if len(shape) != 2 or dtype.kind not in "uif" or any(t.shape != shape for t in tables):
            raise InputError("frames do not fit the rule that counts them", expected=f"numbers (n, {tables[0].shape if tables else '(ky, kx)'})",
                             got=f"(n, *{shape}) of {dtype}")
        n = prod(shape)
        dark = np.zeros(n) if rule.dark is None else rule.dark.reshape(-1).astype(np.float64)
        gain = np.ones(n) if rule.gain is None else rule.gain.reshape(-1).astype(np.float64)
        exact = rule.background / gain + dark
        if dtype.kind == "f":
            limit, most = exact, np.inf
        else:
            most = np.iinfo(dtype).max
            limit = np.floor(exact)
            limit += (limit + 1 - dark) * gain <= rule.background  # rounding may go either way
            limit -= (limit - dark) * gain > rule.background
            limit = np.clip(limit, np.iinfo(dtype).min, most)
        if rule.dead is not None:
            limit, gain = np.where(rule.dead.reshape(-1), most, limit), np.where(rule.dead.reshape(-1), 0.0, gain)
        if dtype.kind != "f":
            # The largest numbers of 64 bits are none that a float could be cast to.
            limit = np.where(limit >= most, most, np.minimum(limit, np.nextafter(float(most), 0.0)).astype(dtype))
        return cls(dark=dark, gain=gain, limit=limit.astype(dtype.newbyteorder("=")), shape=(shape[0], shape[1]))


def _found(frames: np.ndarray, tables: _Tables, rule: CountingRule) -> Electrons:
    if not len(frames):
        return _joined([])
    (ny, nx), kernel = tables.shape, maxima if rule.method == "maxima" else components
    flat = np.ascontiguousarray(frames, frames.dtype.newbyteorder("=")).reshape(len(frames), -1)
    parts: dict[int, Electrons] = {}

    def work(first: int, last: int) -> None:
        begin, end = first * SHARE, min(last * SHARE, len(flat))
        room = (end - begin) * max(FEWEST_ROOM, -(-ny // 2) * -(-nx // 2))  # as many maxima or groups as there can be; untouched room is free
        row, pixel = np.empty(room, np.int64), np.empty(room, np.int32)
        energy, offset = np.empty(room, np.float32), np.empty((room, 2), np.float32)
        n, bright = kernel(flat, ny, nx, tables.dark, tables.gain, tables.limit, rule.ceiling, begin, end, row, pixel, energy, offset)
        parts[begin] = Electrons(frame=row[:n].copy(), pixel=pixel[:n].copy(), energy=energy[:n].copy(), subpixel=offset[:n].copy(), rejected=bright)

    together_on(-(-len(flat) // SHARE), work)
    return _joined([parts[begin] for begin in sorted(parts)])


def _joined(parts: list[Electrons]) -> Electrons:
    empty = Electrons(frame=np.empty(0, np.int64), pixel=np.empty(0, np.int32), energy=np.empty(0, np.float32), subpixel=np.empty((0, 2), np.float32),
                      rejected=0)
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in ("frame", "pixel", "energy", "subpixel")}
    return Electrons(**columns, rejected=sum(part.rejected for part in parts))
