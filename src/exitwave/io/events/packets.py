"""Recognising a Timepix3 stream by its first packets, without the decoder."""

import numpy as np

MAGIC = b"TPX3"
LOOK = 4096  # packets that a closer look takes
KINDS = np.array([0x44, 0x45, 0x50, 0x5A, 0x5C, 0x5F, 0x6A, 0x6B, 0x6E, 0x6F, 0x70, 0x71, *range(0xA0, 0xC0)], np.uint8)


def recognises(path: str) -> bool:
    """Whether a file begins with Timepix3 packets: a chunk header, or 16 and more packets of known kinds that are not all alike."""
    try:
        with open(path, "rb") as file:
            head = file.read(8 * LOOK)
    except OSError:
        return False
    words = np.frombuffer(head[: len(head) // 8 * 8], "<u8")
    if not len(words):
        return False
    if head[:4] == MAGIC:
        return int(words[0] >> np.uint64(48)) % 8 == 0
    kinds = (words >> np.uint64(56)).astype(np.uint8)
    known = np.isin(kinds, KINDS).all()
    return bool(len(words) >= 16 and known and len(np.unique(words)) > len(words) // 2 and len(np.unique(kinds)) > 1)
