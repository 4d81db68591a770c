"""An encoder of LiberTEM's sparse scans for the readers' contract."""

from pathlib import Path
from typing import Any

import numpy as np

from exitwave.testing import ReaderCase

TOML = """
[params]
filetype = "raw_csr"
nav_shape = [{}, {}]
sig_shape = [{}, {}]

[raw_csr]
indptr_file = "rows.dat"
indptr_dtype = "<i8"
indices_file = "pixels.dat"
indices_dtype = ">u4"
data_file = "values.dat"
data_dtype = "{}"
"""


def write(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Pixels in no order; every other one is listed twice, each time with part of its value."""
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    rng, ends, pixels, values = np.random.default_rng(7), [0], [], []
    for frame in array.reshape(-1, array.shape[2] * array.shape[3]):
        found = rng.permutation(np.flatnonzero(frame))
        part = (frame[found] // 3).astype(array.dtype)
        pixels += [*found, *found[::2]]
        values += [*(frame[found[::2]] - part[::2]), *frame[found[1::2]], *part[::2]]
        pixels[len(pixels) - len(found) - len(found[::2]) :] = [*found[::2], *found[1::2], *found[::2]]
        ends.append(len(pixels))
    stored = array.dtype.newbyteorder(">")
    np.array(ends, "<i8").tofile(folder / "rows.dat")
    np.array(pixels, ">u4").tofile(folder / "pixels.dat")
    np.array(values).astype(stored).tofile(folder / "values.dat")
    (folder / "scan.toml").write_text(TOML.format(*array.shape, stored.str))
    return {"path": str(folder / "scan.toml")}


CASES = [ReaderCase(name="raw CSR", reader="raw_csr", write=write, shape=(3, 5, 6, 7))]
