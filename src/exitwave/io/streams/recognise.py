"""Recognising an event stream by its first bytes, without a decoder."""

from typing import Literal

import numpy as np

MAGIC = b"TPX3"
PACKED_MAGIC = b"\x95EWEVT\r\n"
LOOK = 4096  # packets that a closer look takes
KINDS = np.array([0x44, 0x45, 0x50, 0x5A, 0x5C, 0x5F, 0x6A, 0x6B, 0x6E, 0x6F, 0x70, 0x71, *range(0xA0, 0xC0)], np.uint8)


def recognises(path: str) -> bool:
    """Whether a file begins with Timepix3 packets: a chunk header, or 16 and more packets of known kinds that are not all alike."""
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(8 * LOOK)) == "tpx3"
    except OSError:
        return False


def kind_of(head: bytes) -> Literal["packed", "tpx3"] | None:
    """What a stream is that begins with these bytes: packed events (`exitwave.io.streams.packed`), Timepix3 packets, or neither."""
    if head.startswith(PACKED_MAGIC):
        return "packed"
    words = np.frombuffer(head, "<u8", len(head) // 8)
    if not len(words):
        return None
    if head.startswith(MAGIC):
        return "tpx3" if int(words[0] >> np.uint64(48)) % 8 == 0 else None
    kinds = (words >> np.uint64(56)).astype(np.uint8)
    known = np.isin(kinds, KINDS).all()
    return "tpx3" if len(words) >= 16 and known and len(np.unique(words)) > len(words) // 2 and len(np.unique(kinds)) > 1 else None
