"""Reading .mib: whole bytes as plain frames between headers, raw mode by turning 64-bit words round."""

import os
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import FileFrames, arranged, destination, refuse_layout
from exitwave.io.readers.mib import CARD, FRAME
from exitwave.io.readers.mib.header import CHIP, LONGEST, Header, attributes_of, frame_header, pair, planned, scan_of, sidecar

UNPACKED = {1: "u1", 6: "u1", 12: "u2", 24: "u4"}  # the type of pixels, by depth
BLOCK = 1 << 20  # bytes read at a time in raw mode: they stay in cache until they are unpacked


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames of a .mib file, or of the one that a .hdr file describes. A .hdr file beside it arranges the frames as a scan.

    One file is one source: of an acquisition that was split over numbered files each part opens by itself, with its own scan shape.

    Raises:
        FormatError: a header that cannot be read, a frame cut short, fewer frames than the .hdr file tells, a raw layout that is not published.
        InputError: a .hdr file without frames, or a scan shape that does not fit.
    """
    refuse_layout(options, CARD)
    frames_path, sidecar_path = pair(path)
    header, count = _look(frames_path)
    said = sidecar(sidecar_path)
    if count < planned(said) and options.scan_shape is None:
        raise FormatError(f"{frames_path} does not hold the whole acquisition", expected=f"{planned(said)} frames as its .hdr file says",
                          got=f"{count} frames", remedy="it was cut short, stopped or split over files; scan_shape=(Ry, Rx) reads what is there")
    shape = arranged((count, *header.shape), options.scan_shape or scan_of(said, count), frames_path)
    frames: FileFrames | PackedFrames
    if header.stored:
        frames = FileFrames(path=frames_path, offset=header.length, shape=shape, stored=header.stored, stride=header.stride)
    else:
        frames = PackedFrames(path=frames_path, header_bytes=header.length, frame_bytes=header.frame_bytes, shape=shape, depth=header.depth,
                              quad=header.chips == (2, 2))
    return Opened(frames=frames, attributes=attributes_of(header, said), alive=_alive(header))


def _look(path: str) -> tuple[Header, int]:
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        header = frame_header(file.read(LONGEST), path)
        count, rest = divmod(size, header.stride)
        if not count or rest:
            raise FormatError(f"{path} is truncated", expected=f"whole frames of {header.stride} bytes",
                              got=f"{size} bytes, {size / header.stride:.3f} frames", remedy="copy it again, or cut it to whole frames")
        file.seek((count - 1) * header.stride)
        last = file.read(len(FRAME))
    if last != FRAME:
        raise FormatError(f"{path} is damaged: its frames are not all of one size", expected=f"a header at byte {(count - 1) * header.stride}",
                          got=repr(last))
    return header, count


def _alive(header: Header) -> np.ndarray | None:
    """False in the cross between the chips of an image that leaves room for it; None where there is none."""
    if not header.gaps:
        return None
    lines = []
    for size, chips in zip(header.shape, header.chips, strict=True):
        gap, rest = divmod(size - chips * CHIP, max(1, chips - 1))
        if gap < 0 or rest:
            return None
        line = np.ones(size, bool)
        for i in range(1, chips):
            line[i * CHIP + (i - 1) * gap : i * (CHIP + gap)] = False
        lines.append(line)
    alive = lines[0][:, None] & lines[1][None, :]
    return None if alive.all() else alive


@record
class PackedFrames:
    """Frames in raw mode: words of 64 bits, first pixel in the lowest bits, stored highest byte first; 1, 6, 12 or 24 bits a pixel.

    A word holds 64, 8 or 4 pixels. 24 bits are a frame of the upper 12 and one of the lower 12. With four chips (`quad`) every row of the file is
    one row of each chip, last chip first; the two lower chips are mounted upside down.
    """

    path: str
    header_bytes: int
    frame_bytes: int
    shape: tuple[int, ...]
    depth: int
    quad: bool

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(UNPACKED[self.depth])

    @property
    def natural_chunk(self) -> int:
        return 1

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, or a file that is gone.
            FormatError: the file ends before the frames do.
        """
        frames = destination(start, stop, self.shape, self.dtype, out)
        stride = self.header_bytes + self.frame_bytes
        step = max(1, BLOCK // stride)
        packed = np.empty((min(step, max(1, stop - start)), stride), np.uint8)
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(start * stride)
                for at in range(0, stop - start, step):
                    block = packed[: min(step, stop - start - at)]
                    _fill(file.readinto, block, self.path)
                    unpack(block[:, self.header_bytes :], self.depth, self.quad, frames[at : at + len(block)])
        except OSError as error:
            raise InputError(f"{self.path} cannot be read", got=error.strerror or str(error)) from error
        return frames


def unpack(packed: np.ndarray, depth: int, quad: bool, out: np.ndarray) -> None:
    """Turn the bytes (n, frame bytes) of frames in raw mode into pixels `out` (n, ky, kx), see `PackedFrames`."""
    words = packed.view(">u8").astype("<u8", order="C")
    if depth == 24:
        halves = words.view("<u2").reshape(len(out), 2, -1)
        out[...] = (halves[:, 0].astype(np.uint32) << 12 | halves[:, 1]).reshape(out.shape)
        return
    pixels = words.view(np.uint8) if depth < 12 else words.view("<u2")
    if depth == 1:
        pixels = np.unpackbits(pixels, axis=-1, bitorder="little")
    if not quad:
        out[...] = pixels.reshape(out.shape)
        return
    high, wide = out.shape[1] // 2, out.shape[2] // 2
    chips = pixels.reshape(len(out), high, 4, wide)
    out[:, :high, :wide], out[:, :high, wide:] = chips[:, :, 3], chips[:, :, 2]
    out[:, high:, :wide], out[:, high:, wide:] = chips[:, ::-1, 1, ::-1], chips[:, ::-1, 0, ::-1]


def _fill(readinto: Any, block: np.ndarray, path: str) -> None:
    view = block.data.cast("B")
    done = 0
    while done < len(view):
        got = readinto(view[done:])
        if not got:
            raise FormatError(f"{path} ends inside frames", expected=f"{len(view)} more bytes", got=f"{done}",
                              remedy="it was cut short after it was opened")
        done += got
