"""Compressed frames of a stream unpacked in memory; damaged ones are refused and never read outside their bytes.

"bslz4" and "lz4" have the framing of the HDF5 filters: the unpacked size (8 bytes, big-endian), the size of a block (4 bytes), then each block's
packed size (4 bytes) and bytes. "lz4" keeps a block that does not shrink as it is; "bslz4" ends with what is left of less than eight elements.
"lz4-block" is one block without any framing. Sources: github.com/kiyo-masui/bitshuffle (src/bshuf_h5filter.c); github.com/HDFGroup/hdf5_plugins
(LZ4/LZ4_HDF5_format.md); github.com/lz4/lz4 (doc/lz4_Block_format.md).
"""

from typing import Literal

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.io.streams._blocks import framed, lz4_block

Codec = Literal["none", "lz4", "bslz4", "lz4-block"]
HEAD, TOGETHER, MOST_RATIO = 12, 8, 256


def decompressed(data: memoryview, codec: Codec, element: int, size: int | None = None) -> np.ndarray:
    """The bytes (n,) of uint8. `element`: bytes of a pixel, for "bslz4"; `size`: how many bytes there must be ("lz4-block" needs to know).

    Raises:
        FormatError: damaged, or of another size.
    """
    packed = np.frombuffer(data, np.uint8)
    if codec == "none":
        found = packed
    elif codec == "lz4-block":
        found = _block(packed, size or 0)
    else:
        found = _framed(packed, codec == "bslz4", element, size)
    if size is not None and len(found) != size:
        raise FormatError("a compressed frame is damaged", expected=f"{size} bytes", got=f"{len(found)} bytes")
    return found


def _framed(packed: np.ndarray, shuffled: bool, element: int, size: int | None) -> np.ndarray:
    total, block = (int.from_bytes(packed[a:b].tobytes(), "big") for a, b in ((0, 8), (8, HEAD)))
    unit = TOGETHER * element if shuffled else 1
    if len(packed) < HEAD or block < unit or block % unit or total > MOST_RATIO * len(packed) or (size is not None and total != size):
        raise FormatError("a compressed frame is damaged", got=f"{total} bytes in blocks of {block}, packed in {len(packed)} bytes")
    out, whole = np.empty(total, np.uint8), total // unit * unit
    at = framed(packed, HEAD, whole, min(block, max(whole, unit)), element if shuffled else 0, out)
    if at < 0:
        raise FormatError("a compressed frame is damaged", expected=f"blocks that unpack to {whole} bytes")
    if len(packed) - at != total - whole:
        raise FormatError("a compressed frame is damaged", expected=f"{total - whole} bytes at its end", got=f"{len(packed) - at} bytes")
    out[whole:] = packed[at:]
    return out


def _block(piece: np.ndarray, size: int) -> np.ndarray:
    out = np.empty(size, np.uint8)
    if lz4_block(piece, out) != size:
        raise FormatError("a compressed frame is damaged", expected=f"a block of LZ4 that unpacks to {size} bytes")
    return out
