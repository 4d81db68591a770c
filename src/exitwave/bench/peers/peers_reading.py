"""RosettaSciIO's and LiberTEM's side of the reading benchmark, run by their own python: `peers_reading.py THREADS`, jobs by `serve`."""

import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import libertem.api as libertem
import numpy as np
from libertem.udf import UDF
from serve import serve

warnings.filterwarnings("ignore")
ROSETTA = {".mib": "quantumdetector", ".mrc": "mrc", ".xml": "empad", ".dm4": "digitalmicrograph", ".ser": "tia", ".tif": "tiff", ".hspy": "hspy",
           ".zspy": "zspy", ".h5": "arina"}
LIBERTEM = {".mib": "mib", ".mrc": "mrc", ".xml": "empad", ".h5": "hdf5", ".ser": "ser"}
context = libertem.Context.make_with("inline")
held = {}


class Keep(UDF):
    """Copies every tile to its place in memory, without any arithmetic."""

    def get_preferred_input_dtype(self):
        """The type of the file."""
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self):
        """None worth having."""
        return {"done": self.buffer(kind="nav", dtype=bool)}

    def process_tile(self, tile):
        """One copy, as reading into an array is."""
        held["frames"][self.meta.slice.get()] = tile


def said(got: np.ndarray) -> list:
    """The count of frames and some of their values."""
    flat = got.reshape(-1, *got.shape[-2:])
    return [len(flat), float(flat[0].sum()), float(flat[len(flat) // 2].sum()), float(flat[-1].sum())]


def rosettasciio(asked: dict) -> list:
    """All frames of a file in memory, in the machine's byte order."""
    held.clear()
    reader = import_module(f"rsciio.{ROSETTA[Path(asked['path']).suffix]}")
    more = {"navigation_shape": tuple(asked["scan"][::-1])} if asked["path"].endswith("_master.h5") else {}
    got = reader.file_reader(asked["path"], **more)[0]["data"]
    native = got.dtype.newbyteorder("=")
    held["frames"] = np.array(got, native, order="C") if isinstance(got, np.memmap) else np.ascontiguousarray(got, native)
    return said(held["frames"])


def through_libertem(asked: dict) -> list:
    """The same through LiberTEM's reading of tiles."""
    held.clear()
    path = Path(asked["path"])
    inside = "entry/data/data_000001" if path.stem.endswith("_master") else "data"
    more = {"ds_path": inside} if path.suffix == ".h5" else {}
    described = path.with_suffix(".hdr") if path.suffix == ".mib" else path
    data = context.load(LIBERTEM[path.suffix], path=str(described), **more)
    held["frames"] = np.empty((data.shape.nav.size, *data.shape.sig), np.dtype(data.dtype).newbyteorder("="))
    context.run_udf(data, Keep())
    return said(held["frames"])


if __name__ == "__main__":
    names = ("rosettasciio", "libertem", "numpy")
    serve({"rosettasciio": rosettasciio, "libertem": through_libertem}, {name: version(name) for name in names})
