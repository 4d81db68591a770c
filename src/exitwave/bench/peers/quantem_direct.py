"""quantem's side of the direct benchmark, run by quantem's own python: `quantem_direct.py THREADS`, jobs by `serve`."""

import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch
from quantem.core.datastructures import Dataset4dstem
from quantem.diffractive_imaging.direct_ptychography import DirectPtychography
from serve import serve

warnings.filterwarnings("ignore")
torch.set_num_threads(int(sys.argv[1]))
KERNELS = {"parallax": "prlx", "flipped-parallax": "prlx"}
PARTS = {"phase": "pure_phase", "complex": "complex"}
scan = {}
held = {}


def load(asked: dict) -> None:
    """The counts into memory."""
    held.clear()
    scan.clear()
    scan.update(np.load(asked["file"]))


def prepare(asked: dict) -> None:
    """From counts to the stack of bright-field images that quantem's kernels act on, with the centre of the pattern told."""
    held.clear()
    data = Dataset4dstem.from_array(
        scan["counts"].astype(np.float32), sampling=[float(scan["step_A"])] * 2 + [float(scan["detector_mrad"])] * 2, units=["A", "A", "mrad", "mrad"]
    )
    middle = float(scan["centre_px"])
    held["direct"] = DirectPtychography.from_dataset4d(
        data, energy=float(scan["energy_eV"]), semiangle_cutoff=float(scan["semiangle_mrad"]), aberration_coefs={"C10": float(scan["C10_A"])},
        rotation_angle=0.0, force_fitted_origin=(middle, middle), device="cpu", verbose=False,
    )


def image(asked: dict) -> None:
    """From that stack to the image."""
    direct, method = held["direct"], asked["method"]
    direct.reconstruct(
        deconvolution_kernel=KERNELS.get(method, method), upsampling_factor=asked["upsample"], obj_type=PARTS[asked["parts"]],
        parallax_flip_phase=method != "parallax", verbose=False,
    )
    if "save" in asked:
        np.savez(asked["save"], image=np.asarray(direct.corrected_bf, np.float64))


if __name__ == "__main__":
    about = {name: version(name) for name in ("quantem", "torch", "numpy")}
    serve({"load": load, "prepare": prepare, "image": image}, {**about, "threads": torch.get_num_threads()})
