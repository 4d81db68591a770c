"""What goes to a browser: a small JSON header and the arrays after it, in one binary message.

Layout: 4 bytes, the header's length n (little endian); n bytes of JSON, padded with blanks so that the arrays begin at a multiple of 8; the arrays
one after the other, each padded to a multiple of 8. The header's "arrays" says for each its name, dtype (u1, u2, f4), shape, offset from the end of
the header, and for u2 the `low` and `high` that 0 and 65535 stand for.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError

STEPS = 65535
FLAT = 1e-30  # a range whose steps single precision cannot count is none
ALIGN = 8
DTYPES = {"u1": np.dtype("u1"), "u2": np.dtype("<u2"), "f4": np.dtype("<f4")}


def packed(kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A message of a kind. Integers of one byte go as they are, float32 curves (one axis) too; images (two axes) go as 16 bits between their finite
    extremes, in which a level is 1/65535 of the range."""
    told, parts, offset = [], [], 0
    for name, array in arrays.items():
        made, more = _encoded(array)
        raw = made.tobytes()
        told.append({"name": name, "dtype": made.dtype.str.lstrip("<|"), "shape": list(made.shape), "offset": offset, **more})
        parts.append(raw + b"\0" * (-len(raw) % ALIGN))
        offset += len(parts[-1])
    text = json.dumps({"kind": kind, **header, "arrays": told}, allow_nan=False, default=_plain).encode()
    text += b" " * (-(4 + len(text)) % ALIGN)
    return struct.pack("<I", len(text)) + text + b"".join(parts)


def unpacked(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a message, images in their own units (float64).

    Raises:
        FormatError: a message that is cut off.
    """
    if len(message) < 4 or len(message) < 4 + (size := struct.unpack_from("<I", message)[0]):
        raise FormatError("a message of the page is cut off", got=f"{len(message)} bytes")
    header = json.loads(message[4 : 4 + size])
    arrays = {}
    for one in header.pop("arrays"):
        dtype, count = DTYPES[one["dtype"]], int(np.prod(one["shape"], dtype=int))
        start = 4 + size + one["offset"]
        if start + count * dtype.itemsize > len(message):
            raise FormatError("a message of the page is cut off", got=f"{len(message)} bytes")
        array = np.frombuffer(message, dtype, count, start).reshape(one["shape"])
        arrays[one["name"]] = array if "low" not in one else one["low"] + (one["high"] - one["low"]) / STEPS * array
    return header, arrays


def _encoded(array: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    if array.dtype == np.uint8:
        return array, {}
    if array.ndim == 1:
        return np.asarray(array, "<f4"), {}
    finite = np.isfinite(array)
    whole = bool(finite.all())
    used = array if whole else array[finite]
    low, high = (float(used.min()), float(used.max())) if used.size else (0.0, 0.0)
    scale = STEPS / (high - low) if high - low > FLAT else 0.0
    filled = array if whole else np.where(finite, array, low)
    return np.rint((filled - low) * scale).astype("<u2"), {"low": low, "high": high}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} in a message's header")
