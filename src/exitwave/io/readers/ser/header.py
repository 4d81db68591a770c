"""The header of a TIA series file: what is stored, along which dimensions, where each element lies.

Layout: the TIA series data format of Emispec and FEI as Dr Chris Boothroyd keeps it (http://www.er-c.org/cbb/info/TIAformat/). Little-endian
throughout; offsets have 4 bytes in version 0x0210 and 8 in 0x0220.
"""

import struct
from typing import BinaryIO

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.core.records import record

SPECTRA, IMAGES = 0x4120, 0x4122
TYPES = {1: "u1", 2: "<u2", 3: "<u4", 4: "i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8"}
COMPLEX = (9, 10)
VERSIONS = {0x0210: ("<i4", "<i"), 0x0220: ("<i8", "<q")}
MOST_DIMENSIONS, LONGEST_TEXT, MOST_ELEMENTS = 8, 4096, 1 << 24


@record
class Dimension:
    """A navigation dimension: value of element i is offset + delta * (i - element) in `unit`."""

    size: int
    offset: float
    delta: float
    element: int
    description: str
    unit: str


@record
class Element:
    """The small header of one image or spectrum: where its values begin, their type and shape, one (offset, delta, element) for each axis."""

    at: int
    stored: str
    shape: tuple[int, ...]
    calibrations: tuple[tuple[float, float, int], ...]


@record
class Series:
    """The header: elements that were planned and that were written, dimensions with the slowest first, offsets of the written elements."""

    kind: int
    planned: int
    valid: int
    dimensions: tuple[Dimension, ...]
    offsets: np.ndarray


def read_series(file: BinaryIO, size: int, path: str) -> Series:
    """The header of an open file of `size` bytes.

    Raises:
        FormatError: it is cut short or has no sense.
    """
    try:
        file.seek(4)
        version, kind, _, planned, valid = struct.unpack("<H4i", file.read(18))
        if version not in VERSIONS or kind not in (SPECTRA, IMAGES):
            raise FormatError(f"{path} is a series of an unknown kind", got=f"version {version:#06x}, data {kind:#06x}")
        array_type, one = VERSIONS[version]
        (table,) = struct.unpack(one, file.read(struct.calcsize(one)))
        (count,) = struct.unpack("<i", file.read(4))
        if not (0 < valid <= planned <= MOST_ELEMENTS and 0 <= count <= MOST_DIMENSIONS and 0 < table < size):
            raise FormatError(f"{path} has a header of impossible sizes", got=f"{valid} of {planned} elements, {count} dimensions, table at {table}")
        dimensions = tuple(_dimension(file, path) for _ in range(count))
    except struct.error as error:
        raise FormatError(f"{path} is truncated", expected="a whole header", got=f"{size} bytes") from error
    file.seek(table)
    itemsize = np.dtype(array_type).itemsize
    listed = file.read(valid * itemsize)
    offsets = np.frombuffer(listed[: len(listed) // itemsize * itemsize], array_type)
    if len(offsets) < valid or offsets.min() < 0 or offsets.max() >= size:
        raise FormatError(f"{path} is truncated or damaged", expected=f"{valid} elements inside {size} bytes", got=f"{len(offsets)} offsets")
    return Series(kind=kind, planned=planned, valid=valid, dimensions=dimensions[::-1], offsets=offsets.astype(np.int64))


def _dimension(file: BinaryIO, path: str) -> Dimension:
    size, offset, delta, element, length = struct.unpack("<i2d2i", file.read(28))
    description = _text(file, length, path)
    (length,) = struct.unpack("<i", file.read(4))
    return Dimension(size=size, offset=offset, delta=delta, element=element, description=description, unit=_text(file, length, path))


def _text(file: BinaryIO, length: int, path: str) -> str:
    if not 0 <= length <= LONGEST_TEXT:
        raise FormatError(f"{path} has a header of impossible sizes", got=f"a text of {length} characters")
    return file.read(length).decode("latin-1").strip("\0 ")


def read_element(file: BinaryIO, at: int, kind: int, path: str) -> Element:
    """The header of the element at byte `at`.

    Raises:
        FormatError: it is cut short, of complex numbers or of an unknown type.
    """
    axes = 1 if kind == SPECTRA else 2
    length = 20 * axes + 2 + 4 * axes
    file.seek(at)
    try:
        words = struct.unpack("<" + "ddi" * axes + "h" + "i" * axes, file.read(length))
    except struct.error as error:
        raise FormatError(f"{path} is truncated", expected=f"an element at byte {at}", got="the end of the file") from error
    number, shape = words[3 * axes], words[3 * axes + 1 :]
    if number not in TYPES or min(shape) < 1:
        what = "complex numbers, which are no detector frames" if number in COMPLEX else f"type {number}, shape {shape[::-1]}"
        raise FormatError(f"{path} has an element that cannot be read", expected="integers or real numbers", got=what)
    return Element(at=at + length, stored=TYPES[number], shape=shape[::-1],
                   calibrations=tuple(words[3 * i : 3 * i + 3] for i in range(axes))[::-1])
