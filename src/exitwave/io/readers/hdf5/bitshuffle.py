"""Looking over bitshuffled chunks before they are unpacked: the filter trusts the sizes in a chunk, and a damaged one ends the process.

A chunk is the unpacked size (8 bytes, big-endian), the block size (4 bytes), then for each block its packed size (4 bytes) and that many bytes, then
what is left of less than eight elements as it is. Blocks hold as many elements as the block size, the last one the remaining multiple of eight.
Source: github.com/kiyo-masui/bitshuffle, src/bshuf_h5filter.c and README, "Filter options".
"""

import os
from itertools import product
from math import prod

import h5py

from exitwave.core.errors import FormatError

BITSHUFFLE = 32008
PACKED = (2, 3)  # LZ4, Zstandard: the fifth value of the filter's options
TOGETHER = 8  # elements that are shuffled together


def check_chunks(node: h5py.Dataset, source: tuple[slice, ...]) -> None:
    """Check the chunks that a selection along the leading axes touches; datasets that are not bitshuffled pass.

    Raises:
        FormatError: the sizes in a chunk do not fit together.
    """
    element = _element(node)
    if not element:
        return
    whole = prod(node.chunks) * node.dtype.itemsize
    steps = [range(part.start // size * size, part.stop, size) for part, size in zip(source, node.chunks, strict=False)]
    steps += [range(0, size, step) for size, step in list(zip(node.shape, node.chunks, strict=True))[len(source) :]]
    descriptor = os.open(node.file.filename, os.O_RDONLY)
    try:
        for corner in product(*steps):
            info = node.id.get_chunk_info_by_coord(corner)
            if info.byte_offset is None or info.filter_mask:  # never written, or written as it is
                continue
            if not _fits(os.pread(descriptor, info.size, info.byte_offset), info.size, whole, element):
                raise FormatError(f"{node.file.filename} is damaged", got=f"a chunk of {node.name} at {corner} whose sizes do not fit together",
                                  remedy="copy it again")
    finally:
        os.close(descriptor)


def _element(node: h5py.Dataset) -> int:
    """The size of what was shuffled, 0 where bitshuffle is not the only filter or does not pack."""
    if node.chunks is None:
        return 0
    plan = node.id.get_create_plist()
    if plan.get_nfilters() != 1:
        return 0
    number, _, values, _ = plan.get_filter(0)
    return int(values[2]) if number == BITSHUFFLE and len(values) > 4 and values[4] in PACKED else 0


def _fits(chunk: bytes, size: int, whole: int, element: int) -> bool:
    if len(chunk) != size or size < 12 or int.from_bytes(chunk[:8], "big") != whole or whole % element:
        return False
    block = int.from_bytes(chunk[8:12], "big") // element
    if block < TOGETHER or block % TOGETHER:
        return False
    elements = whole // element
    blocks = elements // block + (elements % block >= TOGETHER)
    at = 12
    for _ in range(blocks):
        at += 4 + int.from_bytes(chunk[at : at + 4], "big")
        if at > size:
            return False
    return at + elements % TOGETHER * element == size
