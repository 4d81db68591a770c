"""Messages of Dectris detectors, both versions of the SIMPLON stream, as plain records.

Version 2: one CBOR map a message, of type "start", "image" or "end" (github.com/dectris/documentation, stream_v2/README.md). Version 1: messages of
several parts, JSON and bytes in turn; the first part's htype says what follows: dheader-1.0 (then the configuration), dimage-1.0 (then dimage_d-1.0
with shape (x, y), type and encoding, then the bytes), dseries_end-1.0. An encoding is ["bs" and the pixel's bits, "-"] ["lz4"] "<" or ">" (SIMPLON
API Reference 1.8, "Stream").
"""

import json
import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal

import numpy as np

from exitwave.core import record
from exitwave.core.errors import FormatError
from exitwave.io.streams.cbor import decode
from exitwave.io.streams.codecs import Codec, decompressed

ENCODING = re.compile(r"(bs(8|16|32)-?)?(lz4)?([<>])")
LARGEST = 2**14  # pixels along an edge
TYPES = frozenset(("uint8", "uint16", "uint32"))


@record
class Start:
    """The beginning of a series: how many frames will come (0: not said), the names of its channels, and everything else that was said."""

    series: int
    frames: int
    channels: tuple[str, ...]
    about: Mapping[str, Any]


@record
class Image:
    """A frame: its number from 0 on, and its pixels (ky, kx), None where another channel than the one asked for came."""

    series: int
    number: int
    pixels: np.ndarray | None


@record
class End:
    """The end of a series."""

    series: int


@record
class Other:
    """A message that says nothing about frames."""

    kind: Literal["", "config"] = ""


def read_message(parts: Sequence[bytes | memoryview], channel: str | None = None) -> Start | Image | End | Other:
    """What a message says; `channel`: which of several thresholds, by default the first.

    Raises:
        FormatError: damaged, or encoded in a way that is not published.
    """
    if not parts:
        raise FormatError("a message without parts")
    try:
        return _version1(parts) if bytes(parts[0][:1]) == b"{" else _version2(decode(parts[0]), channel)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise FormatError("a message of the detector is damaged", got=f"{type(error).__name__}: {error}") from error


def _version2(told: Any, channel: str | None) -> Start | Image | End | Other:
    kind, series = told["type"], int(told["series_id"])
    if kind == "start":
        about = {name: value for name, value in told.items() if name != "type"}
        return Start(series=series, frames=int(told.get("number_of_images", 0)), channels=tuple(told.get("channels", ())), about=about)
    if kind == "image":
        data = told["data"]
        name = channel if channel is not None else next(iter(data))
        pixels = data.get(name)
        if pixels is not None and (pixels.ndim != 2 or pixels.dtype.kind != "u"):
            raise FormatError("a message of the detector is damaged", got=f"an image of {pixels.ndim} dimensions of {pixels.dtype}")
        return Image(series=series, number=int(told["image_id"]), pixels=pixels)
    return End(series=series) if kind == "end" else Other()


def _version1(parts: Sequence[bytes | memoryview]) -> Start | Image | End | Other:
    head = json.loads(bytes(parts[0]))
    kind = str(head.get("htype", "")).partition("-")[0]
    if kind == "dheader":
        about = json.loads(bytes(parts[1])) if len(parts) > 1 else {}
        frames = int(about.get("nimages", 0)) * int(about.get("ntrigger", 1))
        return Start(series=int(head["series"]), frames=frames, channels=(), about=about)
    if kind == "dimage":
        return Image(series=int(head["series"]), number=int(head["frame"]), pixels=_pixels(json.loads(bytes(parts[1])), memoryview(parts[2])))
    if kind == "dseries_end":
        return End(series=int(head["series"]))
    return Other(kind="config" if "nimages" in head else "")


def _pixels(told: Mapping[str, Any], data: memoryview) -> np.ndarray:
    shape = tuple(int(n) for n in told["shape"][1::-1])
    encoding = ENCODING.fullmatch(told["encoding"])
    if told["type"] not in TYPES or encoding is None or len(shape) != 2 or not 0 < min(shape) <= max(shape) <= LARGEST:
        raise FormatError("a frame of the detector is of a kind nobody here reads", expected="uint8, uint16 or uint32, raw, lz4 or bslz4",
                          got=f"{told['type']} {told['shape']}, {told['encoding']}")
    dtype = np.dtype(told["type"]).newbyteorder("<" if encoding[4] == "<" else ">")
    shuffled, packed = encoding[2], encoding[3]
    codec: Codec = "none" if not packed else "bslz4" if shuffled else "lz4-block"
    if (shuffled and int(shuffled) != 8 * dtype.itemsize) or (shuffled and not packed):
        raise FormatError("a frame of the detector is of a kind nobody here reads", got=f"{told['type']}, {told['encoding']}")
    pixels = decompressed(data, codec, dtype.itemsize, prod(shape) * dtype.itemsize)
    return pixels.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
