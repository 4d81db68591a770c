"""quantem's side of the direct benchmark, run by quantem's own python: `quantem_direct.py SCAN.npz THREADS`, jobs by `serve`."""

import sys
import warnings
from importlib import import_module
from importlib.metadata import version

import numpy as np
import torch
from serve import serve

warnings.filterwarnings("ignore")
torch.set_num_threads(int(sys.argv[2]))
SCAN = np.load(sys.argv[1])
COUNTS = SCAN["counts"]
KERNELS = {"ssb": "ssb", "flipped-parallax": "prlx", "icom": "icom"}
held = {}


def prepare(asked: dict) -> None:
    """From counts to the stack of bright-field images that quantem's kernels act on, with the centre of the pattern told."""
    held.clear()
    data = import_module("quantem.core.datastructures").Dataset4dstem.from_array(
        COUNTS.astype(np.float32), sampling=[float(SCAN["step_A"])] * 2 + [float(SCAN["detector_mrad"])] * 2, units=["A", "A", "mrad", "mrad"]
    )
    middle = float(SCAN["centre_px"])
    held["direct"] = import_module("quantem.diffractive_imaging.direct_ptychography").DirectPtychography.from_dataset4d(
        data, energy=float(SCAN["energy_eV"]), semiangle_cutoff=float(SCAN["semiangle_mrad"]), aberration_coefs={"C10": float(SCAN["C10_A"])},
        rotation_angle=0.0, force_fitted_origin=(middle, middle), device="cpu", verbose=False,
    )


def image(asked: dict) -> None:
    """From that stack to the image."""
    direct = held["direct"]
    direct.reconstruct(deconvolution_kernel=KERNELS[asked["method"]], upsampling_factor=1, verbose=False)
    if "save" in asked:
        np.savez(asked["save"], image=np.asarray(direct.corrected_bf, np.float64))


if __name__ == "__main__":
    about = {name: version(name) for name in ("quantem", "torch", "numpy")}
    serve({"prepare": prepare, "image": image}, {**about, "threads": torch.get_num_threads()})
