"""Files of formats that only RosettaSciIO reads here, written from their specifications, for the readers' contract.

MSA: EMSA/MAS standard 1.0 (ISO 22029). Ripple: the Lispix raw file parameter format of NIST. Skipped where RosettaSciIO is not installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.testing import ReaderCase

NEEDS = "RosettaSciIO is not installed (pip install 'exitwave[formats]')"


def msa(path: Path, array: np.ndarray) -> dict[str, Any]:
    pytest.importorskip("rsciio", reason=NEEDS)
    head = {"FORMAT": "EMSA/MAS Spectral Data File", "VERSION": "1.0", "TITLE": "a spectrum", "DATE": "01-JAN-2020", "TIME": "10:00",
            "OWNER": "nobody", "NPOINTS": f"{array.size}.", "NCOLUMNS": "1.", "XUNITS": "keV", "YUNITS": "counts", "DATATYPE": "Y",
            "XPERCHAN": "0.01", "OFFSET": "-0.2", "SIGNALTYPE": "EDS", "BEAMKV": "200.0"}
    values = [f"{value:.3f}," for value in array]
    lines = [*(f"#{key:<12}: {value}" for key, value in head.items()), "#SPECTRUM    : begin", *values, "#ENDOFDATA   :"]
    path.with_suffix(".msa").write_text("\r\n".join(lines) + "\r\n")
    return {"path": str(path.with_suffix(".msa"))}


def ripple(path: Path, array: np.ndarray, record_by: str = "image") -> dict[str, Any]:
    pytest.importorskip("rsciio", reason=NEEDS)
    depth, height, width = array.shape if record_by == "image" else (array.shape[2], *array.shape[:2])
    kind = {"u": "unsigned", "i": "signed", "f": "float"}[array.dtype.kind]
    order = "dont-care" if array.dtype.itemsize == 1 else "big-endian" if array.dtype.byteorder == ">" else "little-endian"
    values = {"width": width, "height": height, "depth": depth, "offset": 0, "data-length": array.dtype.itemsize, "data-type": kind,
              "byte-order": order, "record-by": record_by}
    path.with_suffix(".rpl").write_text("key\tvalue\n" + "".join(f"{key}\t{value}\n" for key, value in values.items()))
    path.with_suffix(".raw").write_bytes(array.tobytes())
    return {"path": str(path.with_suffix(".rpl"))}


CASES = [
    ReaderCase(name="RosettaSciIO: MSA", reader="rosettasciio", write=msa, shape=(40,), dtypes=("float64",), item_axes=1, checked_length=False),
    ReaderCase(name="RosettaSciIO: Ripple images", reader="rosettasciio", write=ripple, shape=(9, 6, 11),
               dtypes=("uint16", "int32", "float32", ">u2"), checked_length=False),
    ReaderCase(name="RosettaSciIO: Ripple spectra", reader="rosettasciio", write=lambda path, array: ripple(path, array, "vector"),
               shape=(3, 4, 13), item_axes=1, checked_length=False),
]
