"""How TIFF stacks are written for the readers' contract."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from exitwave.testing import ReaderCase


def tiff(**options: Any) -> Callable[[Path, np.ndarray], dict[str, Any]]:
    def write(path: Path, array: np.ndarray) -> dict[str, Any]:
        order = ">" if array.dtype.byteorder == ">" else "<"
        tifffile.imwrite(path.with_suffix(".tif"), array, byteorder=order, photometric="minisblack", **options)
        return {"path": str(path.with_suffix(".tif"))}

    return write


def pages(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Every page behind a directory of its own, as cameras write them."""
    with tifffile.TiffWriter(path.with_suffix(".tif"), byteorder=">" if array.dtype.byteorder == ">" else "<") as file:
        for page in array:
            file.write(page, photometric="minisblack", contiguous=False, metadata=None)
    return {"path": str(path.with_suffix(".tif"))}


TYPES = ("uint16", "uint8", "int32", "float32", "float64", ">u2", ">f4")
CASES = [
    ReaderCase(name="tiff stack", reader="tiff", write=tiff(), shape=(7, 6, 11), dtypes=TYPES),
    ReaderCase(name="tiff stack page by page", reader="tiff", write=pages, shape=(7, 6, 11), dtypes=("uint16", ">f4")),
    ReaderCase(name="tiff image", reader="tiff", write=tiff(), shape=(13, 11)),
    ReaderCase(name="tiff scan", reader="tiff", write=tiff(metadata={"axes": "TZYX"})),
    ReaderCase(name="tiff stack in tiles", reader="tiff", write=tiff(tile=(16, 32)), shape=(7, 37, 41), dtypes=TYPES),
    ReaderCase(name="tiff stack, deflated", reader="tiff", write=tiff(compression="zlib", predictor=True), shape=(7, 37, 41),
               dtypes=("uint16", ">u2")),
    ReaderCase(name="tiff ImageJ stack", reader="tiff", write=tiff(imagej=True), shape=(7, 6, 11), dtypes=(">u2", ">f4", "uint8")),
    ReaderCase(name="bigtiff OME stack", reader="tiff", write=tiff(bigtiff=True, ome=True, metadata={"axes": "ZYX"}), shape=(7, 6, 11)),
]
