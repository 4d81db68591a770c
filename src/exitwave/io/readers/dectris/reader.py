"""Frames of a Dectris master file, scattered over the data files that it links to.

/entry/data holds data_000001, data_000002 ...: links to (n, y, x) stacks, one a file, in the order of recording. /entry/instrument/detector and
its detectorSpecific say the rest: ntrigger times nimages frames were ordered; pixel_mask is not zero where a pixel is not to be used; the highest
value of the image's bit depth marks a pixel that could not count in one frame. Electron detectors write the beam energy, in eV, as photon_energy.
Source: "Header data of the EIGER API 1.5", dectris.com; NXmx, manual.nexusformat.org/classes/applications/NXmx.html.
"""

import os
import re
from math import isqrt, prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import FormatError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.dectris import CARD
from exitwave.io.readers.frames import arranged, destination, refuse_layout
from exitwave.io.readers.hdf5.frames import DAMAGE, frames_of, opened
from exitwave.io.readers.leaves import leaves, number
from exitwave.io.readers.stored import StoredFrames

DATA = "/entry/data"
DETECTOR = "entry/instrument/detector"
SPECIFIC = f"{DETECTOR}/detectorSpecific"
PIECE = re.compile(r"data_\d+")
FEWEST = 2  # a scan has at least so many rows


def recognises(path: str) -> bool:
    """Whether a file has data_000001 ... in /entry/data."""
    try:
        with h5py.File(path, "r") as file:
            return bool(_links(file))
    except DAMAGE:
        return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """The frames of every linked file as one stack, or as a scan: of the shape given, of ntrigger x nimages where both are more than one, else
    square where the number of frames is (`attributes` then say "scan_shape_assumed").

    Raises:
        InputError: options that do not fit.
        FormatError: a linked file that is missing, cut short or of another shape, or no frames.
    """
    refuse_layout(options, CARD)
    parts = _parts(path)
    stored = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    with opened(path) as master:
        attributes = leaves(master)
        triggers, images = (int(number(master, f"{SPECIFIC}/{name}") or 1) for name in ("ntrigger", "nimages"))
        energy = number(master, f"{DETECTOR}/photon_energy", f"{SPECIFIC}/photon_energy", "entry/instrument/beam/incident_energy")
        alive = _alive(master, stored[1:])
        depth = number(master, f"{DETECTOR}/bit_depth_image")
    scan = options.scan_shape
    if scan is None:
        scan, assumed = _scan(stored[0], triggers, images)
        attributes |= {"scan_shape_assumed": "square"} if assumed else {}
    dtype = parts[0].dtype
    attributes |= {"frames_ordered": triggers * images, "frames": stored[0]} | _bad_value(dtype, depth)
    frames = DectrisFrames(path, arranged(stored, scan, path), dtype.str, parts[0].natural_chunk)
    return Opened(frames=frames, attributes=attributes, told={"energy_eV": energy} if energy and energy > 0 else {}, alive=alive)


class DectrisFrames:
    """Frames of all linked files. The links are followed at the first read in each process; one data file is open at a time."""

    __slots__ = ("_current", "_parts", "_process", "natural", "path", "shape", "stored")

    item_axes = 2

    def __init__(self, path: str, shape: tuple[int, ...], stored: str, natural: int) -> None:
        self.path, self.shape, self.stored, self.natural = path, shape, stored, natural
        self._parts: tuple[StoredFrames, ...] = ()
        self._current: StoredFrames | None = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return DectrisFrames, (self.path, self.shape, self.stored, self.natural)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored)

    @property
    def natural_chunk(self) -> int:
        return self.natural

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, or a master file that is gone.
            FormatError: a data file is gone, damaged or no longer what it was.
        """
        frames = destination(start, stop, self.shape, self.dtype, out)
        if self._process != os.getpid():
            self._parts, self._current, self._process = _parts(self.path), None, os.getpid()
        begin = 0
        for part in self._parts:
            end = begin + part.shape[0]
            low, high = max(start, begin), min(stop, end)
            if low < high:
                if self._current is not part and self._current is not None:
                    self._current.close()
                self._current = part
                part.read(low - begin, high - begin, frames[low - start : high - start])
            begin = end
        if begin < stop:
            raise FormatError(f"the data files of {self.path} became fewer", expected=f"{prod(self.shape[:-2])} frames", got=f"{begin} frames")
        return frames


def _links(master: h5py.File) -> list[str]:
    group = master.get(DATA)
    if not isinstance(group, h5py.Group):
        return []
    # h5py gives a name that is no UTF-8 as bytes
    return sorted((name for name in group if isinstance(name, str) and PIECE.fullmatch(name)), key=lambda name: int(name[5:]))


def _parts(path: str) -> tuple[StoredFrames, ...]:
    """The stacks that a master file links to, in order; all of one frame shape and type."""
    with opened(path) as master:
        links = [(name, master[DATA].get(name, getlink=True)) for name in _links(master)]
    parts = [_part(*_target(path, name, link)) for name, link in links]
    if not parts:
        raise FormatError(f"{path} links to no frames", expected=f"{DATA}/data_000001")
    for part in parts[1:]:
        if part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype:
            raise FormatError(f"{part.path} does not hold the same frames as {parts[0].path}", expected=f"{parts[0].shape[1:]} of {parts[0].dtype}",
                              got=f"{part.shape[1:]} of {part.dtype}")
    return tuple(parts)


def _target(path: str, name: str, link: object) -> tuple[str, str]:
    """(file, dataset) of a link: beside the master file, also where an absolute path was written on another machine."""
    if not isinstance(link, h5py.ExternalLink):
        return path, f"{DATA}/{name}"
    folder = Path(path).parent
    for file in (folder / link.filename, folder / re.split(r"[/\\]", link.filename)[-1]):
        if file.is_file():
            return str(file), link.path
    raise FormatError(f"{path} links to {link.filename}, which is missing", remedy=f"copy it into {folder}")


def _part(file: str, dataset: str) -> StoredFrames:
    with opened(file) as data:
        node = data.get(dataset)
        if not isinstance(node, h5py.Dataset) or node.shape is None or len(node.shape) != 3:
            raise FormatError(f"{file} has no stack of frames at {dataset}", got=None if node is None else str(node))
        return frames_of(file, node)


def _scan(frames: int, triggers: int, images: int) -> tuple[tuple[int, int] | None, bool]:
    """The scan shape, and whether it was assumed."""
    if min(triggers, images) >= FEWEST and triggers * images == frames:
        return (triggers, images), False
    side = isqrt(frames)
    return ((side, side), True) if side >= FEWEST and side * side == frames else (None, False)


def _alive(master: h5py.File, shape: tuple[int, ...]) -> np.ndarray | None:
    for place in (f"{SPECIFIC}/pixel_mask", f"{DETECTOR}/pixel_mask"):
        node = master.get(place)
        if isinstance(node, h5py.Dataset) and node.shape == shape and node.dtype.kind in "bui":
            return np.asarray(node[()] == 0)
    return None


def _bad_value(dtype: np.dtype[Any], depth: float | None) -> dict[str, int]:
    """The value that marks a pixel which could not count in one frame; frames keep it."""
    if dtype.kind != "u":
        return {}
    bits = int(depth) if depth and 1 <= depth <= 8 * dtype.itemsize else 8 * dtype.itemsize
    return {"bad_value": 2**bits - 1}


