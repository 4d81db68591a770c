"""Detector corrections of frames, applied as they are read: dark, gain, dead pixels and gaps, descan."""

import zlib
from collections.abc import Mapping
from dataclasses import field
from math import prod
from typing import Any, Literal

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.data.repair import Near, fill_mean, moved, neighbours, ramped
from exitwave.data.signal import ItemSource, items_of

WORK_BYTES = 4 * 2**20
EXACT_IN_FLOAT32 = 2  # bytes: integers of this size are exact in float32
Fill = Literal["zero", "mean"]


@record
class Descan:
    """Where the pattern lies at each scan position, in detector pixels (y, x); it is moved back by as much.

    `plane` (y per row, y per column, x per row, x per column) counts from the middle of the scan; `table` is a source of Ry * Rx * 2 numbers, (y, x)
    of each position. Whole pixels (rounded) move unless `subpixel`: then a Fourier ramp moves the pattern, periodically, and values become float32.
    """

    plane: tuple[float, float, float, float] | None = None
    table: ItemSource | None = None
    subpixel: bool = False

    def __post_init__(self) -> None:
        if (self.plane is None) == (self.table is None):
            raise InputError("a descan is a plane or a table", got="both" if self.plane is not None else "neither")
        if self.plane is not None and not np.isfinite(self.plane).all():
            raise InputError("a descan plane is four finite numbers", got=self.plane)


@record
class Corrections:
    """What to correct, in this order: (frame - dark) * gain, dead pixels filled, pattern moved back.

    `dark` and `gain` are sources of one frame, or of several that are averaged. `dead` (ky, kx) is True on pixels and gaps not to be used: they are
    filled with zero or with the mean of the nearest live pixels ("mean"), so that frames stay dense, and stay marked by `live_pixels`.
    Dark or gain make float32 of every type; without them integers stay integers. `files` says where each of them came from.
    """

    dark: ItemSource | None = None
    gain: ItemSource | None = None
    dead: np.ndarray | None = None
    fill: Fill = "zero"
    descan: Descan | None = None
    files: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What is applied, for provenance: the files (as `files` names them), the count of dead pixels, the descan."""
        d = self.descan
        return {
            "dark": self.dark and self.files.get("dark", "given"), "gain": self.gain and self.files.get("gain", "given"),
            "dead": self.files.get("dead", "given") if self.dead is not None else None,
            "dead_pixels": 0 if self.dead is None else int(self.dead.sum()), "fill": self.fill,
            "descan": d and {"plane": d.plane and list(d.plane), "table": d.table and self.files.get("descan", "given"), "subpixel": d.subpixel},
        }


class Corrected:
    """Frames of a source with corrections applied piece by piece. Tables are read at the first read; a mask travels packed."""

    __slots__ = ("_tables", "corrections", "source")

    def __init__(self, source: ItemSource, corrections: Corrections) -> None:
        """Raises InputError where the source has no frames or a mask or plane does not fit it."""
        if source.item_axes != 2:
            raise InputError("corrections are for frames", got=f"items of {source.item_axes} axis")
        dead = corrections.dead
        if dead is not None and (dead.dtype != bool or dead.shape != source.shape[-2:]):
            raise InputError("the mask of dead pixels does not fit the frames", expected=f"bool {source.shape[-2:]}",
                             got=f"{dead.dtype} {dead.shape}")
        if corrections.descan is not None and len(source.shape) != 4:
            raise InputError("descan is for scans", expected="(Ry, Rx, ky, kx)", got=source.shape)
        self.source, self.corrections = source, corrections
        self._tables: _Tables | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        c = self.corrections
        packed = None if c.dead is None else zlib.compress(np.packbits(c.dead).tobytes(), 9)
        return _unpacked, (self.source, c.dark, c.gain, packed, c.fill, c.descan)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        c = self.corrections
        real = c.dark is not None or c.gain is not None or (c.descan is not None and c.descan.subpixel)
        return np.dtype(np.float32) if real else self.source.dtype

    @property
    def natural_chunk(self) -> int:
        return self.source.natural_chunk

    def live_pixels(self) -> np.ndarray:
        """(ky, kx), False where a frame of the scan holds no measurement after the corrections: dead pixels, wherever descan moves them, and the
        edges that come in from outside. Reads the descan table, no frames.
        """
        tables = self._load()
        dead = self.corrections.dead
        alive = np.ones(self.shape[-2:], bool) if dead is None else ~dead
        if tables.shifts is None:
            return alive
        seen, (y, x) = alive.copy(), tables.shifts.T
        ends = [np.stack([one(y), other(x)], axis=1) for one in (np.floor, np.ceil) for other in (np.floor, np.ceil)]
        for dy, dx in np.unique(np.concatenate(ends).astype(int), axis=0).tolist():
            seen &= moved(alive, -dy, -dx)
        return seen

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), corrected, into `out` where given; 4 MiB of working memory besides.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, or tables that do not.
        """
        tables = self._load()
        frames = _destination(start, stop, self.shape, self.dtype, out)
        if self.dtype == self.source.dtype and tables.dark is None and tables.gain is None:
            self.source.read(start, stop, frames)
            self._finish(frames, start, tables)
            return frames
        step = max(1, WORK_BYTES // (prod(self.shape[-2:]) * 8))
        for at in range(start, stop, step):
            end = min(stop, at + step)
            raw = self.source.read(at, end)
            piece = frames[at - start : end - start]
            wide = raw if raw.dtype.kind == "f" or raw.dtype.itemsize <= EXACT_IN_FLOAT32 else raw.astype(np.float64)
            np.subtract(wide, 0 if tables.dark is None else tables.dark, out=piece, casting="unsafe")
            if tables.gain is not None:
                piece *= tables.gain
            self._finish(piece, at, tables)
        return frames

    def _finish(self, frames: np.ndarray, first: int, tables: "_Tables") -> None:
        dead, descan = self.corrections.dead, self.corrections.descan
        if dead is not None and dead.any():
            if self.corrections.fill == "mean":
                fill_mean(frames, dead, tables.near)
            else:
                frames[:, dead] = 0
        if descan is None or tables.shifts is None:
            return
        for frame, (dy, dx) in zip(frames, tables.shifts[first : first + len(frames)], strict=True):
            frame[...] = ramped(frame, -dy, -dx) if descan.subpixel else moved(frame, -int(dy), -int(dx))

    def _load(self) -> "_Tables":
        if self._tables is None:
            c, frame = self.corrections, self.shape[-2:]
            self._tables = _Tables(
                dark=None if c.dark is None else _one_frame(c.dark, frame, "dark"),
                gain=None if c.gain is None else _one_frame(c.gain, frame, "gain"),
                near=neighbours(c.dead) if c.dead is not None and c.fill == "mean" else (),
                shifts=None if c.descan is None else _shifts(c.descan, self.shape))
        return self._tables


@record
class _Tables:
    dark: np.ndarray | None
    gain: np.ndarray | None
    near: Near
    shifts: np.ndarray | None  # (positions, 2), whole numbers unless subpixel


def _unpacked(source: ItemSource, dark: ItemSource | None, gain: ItemSource | None, packed: bytes | None, fill: Fill,
              descan: Descan | None) -> Corrected:
    dead = None
    if packed is not None:
        frame = source.shape[-2:]
        dead = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=prod(frame)).astype(bool).reshape(frame)
    return Corrected(source, Corrections(dark=dark, gain=gain, dead=dead, fill=fill, descan=descan))


def mean_frame(source: ItemSource) -> np.ndarray:
    """The mean of a source's frames (ky, kx) in float64, a few at a time."""
    count, frame = items_of(source), source.shape[-2:]
    step = max(1, WORK_BYTES // (prod(frame) * source.dtype.itemsize))
    total = np.zeros(frame)
    for at in range(0, count, step):
        total += source.read(at, min(count, at + step)).sum(axis=0, dtype=np.float64)
    return total / count


def _one_frame(source: ItemSource, frame: tuple[int, ...], what: str) -> np.ndarray:
    if source.item_axes != 2 or source.shape[-2:] != frame:
        raise InputError(f"the {what} does not fit the frames", expected=f"frames of {frame[0]} x {frame[1]}", got=f"shape {source.shape}")
    mean = mean_frame(source)
    if not np.isfinite(mean).all():
        raise InputError(f"the {what} holds values that are not finite", got=f"{int((~np.isfinite(mean)).sum())} pixels",
                         remedy="set them to one and name them with --dead")
    return mean.astype(np.float32)


def _shifts(descan: Descan, shape: tuple[int, ...]) -> np.ndarray:
    ry, rx = shape[:2]
    if descan.plane is not None:
        y, x = (np.arange(ry) - (ry - 1) / 2)[:, None], np.arange(rx) - (rx - 1) / 2
        yy, yx, xy, xx = descan.plane
        found = np.stack([yy * y + yx * x, xy * y + xx * x], axis=-1).reshape(-1, 2)
    else:
        found = _table(descan.table, ry * rx)
    if np.abs(found).max() >= min(shape[2:]):
        raise InputError("the descan moves patterns off the detector", expected=f"under {min(shape[2:])} pixels", got=f"{np.abs(found).max():.4g}")
    return found if descan.subpixel else np.rint(found)


def _table(source: ItemSource | None, count: int) -> np.ndarray:
    if source is None or prod(source.shape) != 2 * count or source.shape[-1] != 2:
        raise InputError("the descan table does not fit the scan", expected=f"{count} pairs (y, x)", got=source and source.shape)
    found: np.ndarray = source.read(0, items_of(source)).astype(np.float64).reshape(count, 2)
    if not np.isfinite(found).all():
        raise InputError("the descan table holds values that are not finite")
    return found


def _destination(start: int, stop: int, shape: tuple[int, ...], dtype: np.dtype[Any], out: np.ndarray | None) -> np.ndarray:
    total = prod(shape[:-2])
    if not 0 <= start <= stop <= total:
        raise InputError("frames outside the scan", expected=f"0 <= start <= stop <= {total}", got=f"{start}:{stop}")
    wanted = (stop - start, *shape[-2:])
    if out is None:
        return np.empty(wanted, dtype)
    if out.shape != wanted or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        raise InputError("frames do not fit the array to read into", expected=f"a writable C-ordered array {wanted} of {dtype}",
                         got=f"{out.shape} of {out.dtype}")
    return out
