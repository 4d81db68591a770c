"""The text in front of every Merlin frame, and the .hdr file of an acquisition.

Layout: Merlin user manual (Quantum Detectors), the MQ1 and MQ1A frame headers; the order of chips and bits in raw mode as LiberTEM documents it.
"""

import os
from pathlib import Path
from typing import Any

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record

LONGEST = 1 << 16
CHIP = 256  # pixels along a Medipix3 chip
RAW_BYTES = {1: 1 / 8, 6: 1.0, 12: 2.0, 24: 4.0}  # per pixel, by depth


@record
class Header:
    """What a frame's header says: its own length, the frame (ky, kx) as it is read, the stored type ("" in raw mode) and the bit depth.

    `chips` is (rows, columns) of chips that raw mode writes side by side; `gaps` says that the image has room for the gaps between chips.
    """

    length: int
    shape: tuple[int, int]
    stored: str
    depth: int
    chips: tuple[int, int]
    gaps: bool
    frame_bytes: int
    fields: tuple[str, ...]

    @property
    def stride(self) -> int:
        """Bytes from one frame to the next."""
        return self.length + self.frame_bytes


def frame_header(head: bytes, what: str) -> Header:
    """The header at the beginning of `head`.

    Raises:
        FormatError: it is cut short, has no sense, or describes a layout that is not published.
    """
    try:
        first = head[:64].decode("ascii").split(",")
        length = int(first[2])
        fields = tuple(head[:length].split(b"\0")[0].decode("ascii").rstrip(", \r\n").split(","))
        chips, wide, high = int(fields[3]), int(fields[4]), int(fields[5])
        kind, layout = fields[6].strip().upper(), fields[7].strip().upper()
        columns, rows = (int(n) for n in layout.rstrip("G").split("X"))
        bits = int(kind[1:])
    except (UnicodeDecodeError, ValueError, IndexError) as error:
        raise FormatError(f"{what} has a frame header that cannot be read", expected="MQ1,sequence,length,chips,width,height,type,layout,...",
                          got=repr(head[:48])) from error
    sane = 64 <= length <= LONGEST and 0 < wide <= LONGEST and 0 < high <= LONGEST and 0 < columns <= 16 and 0 < rows <= 16 and chips > 0
    if not sane or length > len(head):
        raise FormatError(f"{what} has a frame header of impossible sizes", got=f"length {length}, {wide} x {high} pixels, layout {fields[7]}")
    if kind[0] == "U" and bits in (8, 16, 32):
        return Header(length=length, shape=(high, wide), stored=f">u{bits // 8}", depth=bits, chips=(rows, columns), gaps=layout.endswith("G"),
                      frame_bytes=wide * high * bits // 8, fields=fields)
    if kind != "R64":
        raise FormatError(f"{what} has pixels of a type nobody here reads", expected="U08, U16, U32 or R64", got=kind)
    return _raw(length, (high, wide), chips, (rows, columns), fields, what)


def _raw(length: int, listed: tuple[int, int], chips: int, layout: tuple[int, int], fields: tuple[str, ...], what: str) -> Header:
    """Raw mode: the last field is the depth; the chips' rows lie side by side, and 24 bits are two frames of 12."""
    depth = int(fields[-1]) if fields[-1].isdigit() else 0
    if depth not in RAW_BYTES:
        raise FormatError(f"{what} is in raw mode of an unknown depth", expected="1, 6, 12 or 24 bits", got=fields[-1])
    high, wide = listed[0], listed[1] // 2 if depth == 24 else listed[1]
    if wide % 64:
        raise FormatError(f"{what} is in raw mode but its rows are no whole 64-bit words", expected="a multiple of 64 pixels", got=f"{wide} pixels")
    shape, packed = (high, wide), (1, 1)
    if chips > 1:
        packed = (2, 2)
        if chips != 4 or layout != (2, 2) or depth == 24 or wide != 4 * high:
            raise FormatError(f"{what} is in raw mode of a layout that is not published", expected="one chip, or 2 x 2 chips of 1, 6 or 12 bits",
                              got=f"{chips} chips, layout {fields[7]}, {depth} bits, {wide} x {high} pixels",
                              remedy="let the camera's software write it as U08, U16 or U32")
        shape = (2 * high, wide // 2)
    return Header(length=length, shape=shape, stored="", depth=depth, chips=packed, gaps=False,
                  frame_bytes=int(wide * high * RAW_BYTES[depth]), fields=fields)


def sidecar(path: str) -> dict[str, str]:
    """The lines "name:<tab>value" of a .hdr file; empty where there is none or it is of another kind."""
    try:
        with open(path, "rb") as file:
            return acquisition(file.read(LONGEST))
    except OSError:
        return {}


def acquisition(head: bytes) -> dict[str, str]:
    """The lines "name:<tab>value" of an acquisition's header; empty where it is none."""
    text = head.decode("utf-8", "replace")
    if not text.startswith("HDR"):
        return {}
    pairs = (line.partition("\t") for line in text.splitlines()[1:])
    return {name.strip().rstrip(":"): value.strip() for name, tab, value in pairs if tab and name.strip() and not name.startswith("End")}


def scan_of(said: dict[str, str], frames: int) -> tuple[int, int] | None:
    """(Ry, Rx) that a .hdr file tells for this many frames: ScanY and ScanX, else triggers of so many frames each; None where they do not fit."""
    numbers = {name: int(value) for name, value in said.items() if value.isdigit() and len(value) < 10}
    if "ScanX" in numbers and "ScanY" in numbers:
        rows, columns = numbers["ScanY"], numbers["ScanX"]
    else:
        columns = numbers.get("Frames per Trigger (Number)", 0)
        rows = numbers.get("Frames in Acquisition (Number)", 0) // columns if columns else 0
    return (rows, columns) if rows * columns == frames and min(rows, columns) > 1 else None


def planned(said: dict[str, str]) -> int:
    """How many frames a .hdr file says were to be taken; 0 where it does not say."""
    text = said.get("Frames in Acquisition (Number)", "")
    return int(text) if text.isdigit() and len(text) < 10 else 0


def pair(path: str) -> tuple[str, str]:
    """(frames, .hdr) of an acquisition, whichever of the two was named.

    Raises:
        InputError: a .hdr file without its frames.
    """
    given = Path(path)
    with open(path, "rb") as file:
        if file.read(4) != b"HDR,":
            return path, str(given.with_suffix(".hdr"))
    beside = [str(given.with_suffix(end)) for end in (".mib", ".MIB") if os.path.isfile(given.with_suffix(end))]
    if not beside:
        raise InputError(f"{path} only describes an acquisition", expected=f"{given.with_suffix('.mib').name} beside it", got="no such file")
    return beside[0], path


def attributes_of(header: Header, said: dict[str, str]) -> dict[str, Any]:
    """The header's fields by their names in the manual, and the .hdr file's under "hdr"."""
    names = ("id", "sequence", "header_bytes", "chips", "width", "height", "pixel_type", "layout", "chip_select", "timestamp", "exposure_s",
             "counter", "colour_mode", "gain_mode")
    found: dict[str, Any] = dict(zip(names, header.fields, strict=False))
    found["bit_depth"] = header.depth
    if header.fields[-1].isdigit() and "MQ1A" in header.fields:
        found["bit_depth"] = int(header.fields[-1])
    return found | ({"hdr": dict(said)} if said else {})
