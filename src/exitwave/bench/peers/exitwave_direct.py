"""exitwave's side of the direct benchmark: `exitwave_direct.py SCAN.npz THREADS`, jobs by `serve`."""

import sys
from importlib.metadata import version

import numpy as np
import torch
from serve import serve

from exitwave import __version__
from exitwave.core.threads import set_threads
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry

set_threads(int(sys.argv[2]))
SCAN = np.load(sys.argv[1])
FRAMES = ArrayFrames(array=SCAN["counts"])


def known(name: str) -> Quantity:
    """A number that the scan's file holds."""
    return Quantity(value=float(SCAN[name]), source="given")


def image(asked: dict) -> None:
    """From counts and calibration to the image, its transfer, its noise and the two half sets."""
    middle = known("centre_px")
    optics = Calibration(
        energy_eV=known("energy_eV"), semiangle_mrad=known("semiangle_mrad"), scan_step_y_A=known("step_A"), scan_step_x_A=known("step_A"),
        detector_mrad=known("detector_mrad"), centre_y_px=middle, centre_x_px=middle, aberrations={"C10_A": known("C10_A")},
    )
    done = reconstruct(FRAMES, geometry(optics, FRAMES.shape), asked["method"])
    if "save" in asked:
        np.savez(asked["save"], image=done.image.numpy(), ctf=done.ctf.numpy())


if __name__ == "__main__":
    serve({"image": image}, {"exitwave": __version__, "torch": version("torch"), "numpy": version("numpy"), "threads": torch.get_num_threads()})
