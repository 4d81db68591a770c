"""Reading MRC2014 (https://www.ccpem.ac.uk/mrc_format/mrc2014.php): modes 0, 1, 2, 6 and 12, both byte orders, any extended header."""

import json
import os
import struct
from math import isfinite, prod
from pathlib import Path
from typing import Any

from exitwave.core.errors import FormatError
from exitwave.data.signal import Axis
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import FileFrames, arranged, refuse_layout
from exitwave.io.readers.mrc import CARD

HEADER = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
OTHER_MODES = {3: "complex integers", 4: "complex numbers", 101: "two pixels of 4 bits a byte"}
ORDERS = {0x44: "<", 0x11: ">"}  # first byte of the machine stamp
VOLUMES_FROM = 401  # space groups from here on: a stack of volumes of mz sections each
PERMUTED = ({0}, {1, 2, 3})  # axes of columns, rows and sections, left out by some
LOOSE = 4096  # bytes that may follow the values of a file without the mark
BYTES_FEI, PLACE_FEI = 1024 * 128, 44  # 1024 sections of 128 bytes; the pixel in one of them
LONGEST = 1 << 18  # of a side file
OURS, LONGEST_OURS = b"EXWV", 1 << 26  # type of the extended header that exitwave writes: attributes as JSON


def recognises(path: str) -> bool:
    """Whether a file has MRC's mark, or without it a header whose numbers make sense and give the file's length."""
    try:
        with open(path, "rb") as file:
            head, size = file.read(HEADER), os.fstat(file.fileno()).st_size
    except OSError:
        return False
    if head[208:211] == b"MAP":
        return True
    if len(head) < HEADER:
        return False
    for order in "<>":
        words = struct.unpack(order + "10i6f3i3f2i", head[:96])
        if words[3] in MODES and min(words[:3]) > 0 and {*words[16:19]} in PERMUTED and words[23] >= 0:
            values = HEADER + words[23] + prod(words[:3]) * int(MODES[words[3]][-1])
            if 0 <= size - values < LOOSE:
                return True
    return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Sections (z, y, x), volumes (n, z, y, x) or one image (y, x); the scan shape is the one given, else that of a Direct Electron side file.

    The pixel size comes from the header's cell (Angstrom) and is not told where the header leaves the cell empty. Mode 0 is signed, but unsigned
    where the IMOD flag says so.

    Raises:
        FormatError: no sense in the header, a mode that holds no frames, or a file shorter than the header tells.
        InputError: a scan shape that does not fit.
    """
    refuse_layout(options, CARD)
    with open(path, "rb") as file:
        head = file.read(HEADER)
        fei_A = _fei_pixel_A(head, file.read(PLACE_FEI + 4)) if len(head) == HEADER else None
        file.seek(HEADER)
        ours = file.read(min(LONGEST_OURS, max(0, struct.unpack("<i", head[92:96])[0]))) if head[104:108] == OURS else b""
    order = _order(head, path)
    words = struct.unpack(order + "10i6f3i3f2i", head[:96])
    stored = _stored(words[3], head, order, path)
    columns, rows, sections = words[:3]
    extended = words[23]
    if min(columns, rows, sections) < 1 or max(columns, rows, sections) > 1 << 27 or not 0 <= extended <= 1 << 30:
        raise FormatError(f"{path} has a header of impossible sizes", got=f"{columns} x {rows} x {sections}, extended header {extended}")
    offset = HEADER + extended
    expected, got = offset + prod(words[:3]) * int(stored[-1]), os.path.getsize(path)
    if got < expected:
        raise FormatError(f"{path} is truncated", expected=f"{expected} bytes for {sections} x {rows} x {columns} of mode {words[3]}",
                          got=f"{got} bytes")
    layout = _layout(sections, rows, columns, words)
    said = _side_file(path) if sections > 1 else {}
    scan = options.scan_shape or (_scan(said, sections) if len(layout) == 3 else None)
    frames = FileFrames(path=path, offset=offset, shape=arranged(layout, scan, path), stored=order + stored)
    pitch = _pitch(words) if fei_A is None else (None, fei_A, fei_A)
    attributes = _attributes(words, head) | ({"side_file": said} if said else {}) | _told_by_us(ours)
    return Opened(frames=frames, attributes=attributes, axes=_axes(frames.shape, len(layout), pitch, words[22] > 0))


def _order(head: bytes, path: str) -> str:
    """The byte order by the machine stamp, else by which one makes sense of mode and size."""
    if len(head) < HEADER:
        raise FormatError(f"{path} is truncated", expected=f"a header of {HEADER} bytes", got=f"{len(head)} bytes")
    stamped = ORDERS.get(head[212])
    for order in (stamped, "<", ">"):
        if order is not None and struct.unpack(order + "i", head[12:16])[0] in {*MODES, *OTHER_MODES}:
            return order
    raise FormatError(f"{path} has a header that cannot be read", expected=f"mode {', '.join(map(str, MODES))} in either byte order",
                      got=f"mode bytes {head[12:16]!r}")


def _stored(mode: int, head: bytes, order: str, path: str) -> str:
    if mode not in MODES:
        raise FormatError(f"{path} holds no detector frames", expected=f"mode {', '.join(map(str, MODES))}", got=f"mode {mode}, {OTHER_MODES[mode]}")
    stamp, flags = struct.unpack(order + "2i", head[152:160])
    # IMOD (https://bio3d.colorado.edu/imod/doc/mrc_format.txt): with its stamp, the lowest flag says that bytes are signed
    return "u1" if mode == 0 and stamp == 1146047817 and not flags & 1 else MODES[mode]


def _layout(sections: int, rows: int, columns: int, words: tuple[Any, ...]) -> tuple[int, ...]:
    depth, group = words[9], words[22]
    if group >= VOLUMES_FROM and 0 < depth < sections and sections % depth == 0:
        return sections // depth, depth, rows, columns
    return (sections, rows, columns) if sections > 1 else (rows, columns)


def _pitch(words: tuple[Any, ...]) -> tuple[float | None, float | None, float | None]:
    """(z, y, x) in Angstrom: cell over intervals; None where the header leaves it empty."""
    sizes = [cell / count if count > 0 and isfinite(cell) and cell > 0 else None for count, cell in zip(words[7:10], words[10:13], strict=True)]
    return sizes[2], sizes[1], sizes[0]


def _fei_pixel_A(head: bytes, extended: bytes) -> float | None:
    """The pixel of FEI's tomography (before its headers said "FEI1"), in metres in the 12th number of its first section; there the cell is left at
    one Angstrom a pixel. Source: https://bio3d.colorado.edu/imod/doc/mrc_format.txt, "Extended header in FEI files"."""
    order = ORDERS.get(head[212], "<")
    words = struct.unpack(order + "10i6f3i3f2i", head[:96])
    if words[23] != BYTES_FEI or head[104:108].strip(b" \0") or len(extended) < PLACE_FEI + 4 or _pitch(words)[1:] != (1.0, 1.0):
        return None
    pixel_A = struct.unpack_from(order + "f", extended, PLACE_FEI)[0] * 1e10
    return float(pixel_A) if 1e-3 < pixel_A < 1e6 else None


def _axes(shape: tuple[int, ...], stored_axes: int, pitch: tuple[float | None, ...], volume: bool) -> tuple[Axis, ...]:
    """Pixels in Angstrom; sections have a distance in volumes only (space group above zero). No axes where a scan was arranged."""
    if len(shape) != stored_axes:
        return ()
    scales = [None, pitch[0] if volume else None, pitch[1], pitch[2]][-len(shape):]
    names = ("n", "z", "y", "x")[-len(shape):]
    return tuple(Axis(name=name, size=size, scale=scale, unit="A" if scale else "") for name, size, scale in zip(names, shape, scales, strict=True))


def _attributes(words: tuple[Any, ...], head: bytes) -> dict[str, Any]:
    names = ("nx", "ny", "nz", "mode", "nxstart", "nystart", "nzstart", "mx", "my", "mz", "cell_x_A", "cell_y_A", "cell_z_A", "alpha_deg", "beta_deg",
             "gamma_deg", "mapc", "mapr", "maps", "dmin", "dmax", "dmean", "ispg", "nsymbt")
    count = max(0, min(10, struct.unpack("<i" if head[212] != 0x11 else ">i", head[220:224])[0]))
    labels = [head[224 + 80 * i : 304 + 80 * i].decode("ascii", "replace").strip(" \0") for i in range(count)]
    kind = head[104:108].decode("ascii", "replace").strip(" \0")
    found: dict[str, Any] = {f"mrc_{name}": value for name, value in zip(names, words, strict=True)}
    return found | {"mrc_exttyp": kind, "mrc_labels": [label for label in labels if label]}


def _told_by_us(text: bytes) -> dict[str, Any]:
    """The attributes in an extended header of ours; none where it is damaged."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _side_file(path: str) -> dict[str, str]:
    """The "name = value" lines of the text that Direct Electron's software writes beside a movie; empty where there is none.

    `20200101_00001_movie.mrc` is described by `20200101_00001_info.txt`, and `name.mrc` by `name.txt`.
    """
    own = Path(path)
    for name in ("_".join(own.stem.split("_")[:2]) + "_info.txt", own.stem + ".txt"):
        try:
            with own.with_name(name).open("rb") as file:
                text = file.read(LONGEST).decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        pairs = (line.partition("=") for line in text.splitlines())
        return {key.strip(): value.strip() for key, equals, value in pairs if equals and key.strip()}
    return {}


def _scan(said: dict[str, str], sections: int) -> tuple[int, int] | None:
    sizes = [said.get(f"Scan - Size {axis}", "") for axis in "YX"]
    if not all(text.isdigit() and len(text) < 8 for text in sizes):
        return None
    rows, columns = map(int, sizes)
    return (rows, columns) if rows * columns == sections and min(rows, columns) > 1 else None
