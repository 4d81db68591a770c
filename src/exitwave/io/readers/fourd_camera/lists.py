"""Lists of numbers of unequal lengths, taken from an HDF5 file's global heaps ourselves.

HDF5 copies list by list and, where a heap is damaged, searches it for ever; here a heap is read once and walked once. A dataset of lists holds
one reference each (length, address of the heap, index in it); a heap holds its lists one after another, each behind 16 bytes that say its index
and size. Source: HDF5 File Format Specification 3.0, III.E "Global Heap" and IV.A.2.d "Variable-Length".
"""

import os

import h5py
import numpy as np

from exitwave.core.errors import FormatError
from exitwave.io.readers.hdf5.heaps import heap

REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])


def lists(node: h5py.Dataset, rows: np.ndarray) -> list[np.ndarray]:
    """The lists of `rows` (n,), in their order.

    Raises:
        FormatError: a reference or a heap that is none.
    """
    offset = node.id.get_offset()
    if offset is None or node.file.userblock_size or node.id.get_storage_size() != REFERENCE.itemsize * node.shape[0]:
        return [node[int(row)] for row in rows]  # chunked: only HDF5 knows where
    if not len(rows):
        return []
    first, last = int(rows.min()), int(rows.max())
    dtype = np.dtype(h5py.check_vlen_dtype(node.dtype))
    heaps: dict[int, tuple[bytes, dict[int, tuple[int, int]]]] = {}
    found = []
    with open(node.file.filename, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(offset + first * REFERENCE.itemsize)
        told = np.frombuffer(file.read((last - first + 1) * REFERENCE.itemsize), REFERENCE)
        if len(told) != last - first + 1:
            raise FormatError(f"{file.name} is truncated", expected=f"references to {last + 1} lists", got=f"{first + len(told)}")
        for length, address, index in told[rows - first].tolist():
            if not length:
                found.append(np.empty(0, dtype))
                continue
            if address not in heaps:
                heaps[address] = heap(file, address, size)
            content, places = heaps[address]
            start, held = places.get(index, (0, 0))
            if length * dtype.itemsize > held:
                raise FormatError(f"{file.name} is damaged", expected=f"a list of {length * dtype.itemsize} bytes", got=f"{held} bytes")
            found.append(np.frombuffer(content, dtype, length, start))
    return found
