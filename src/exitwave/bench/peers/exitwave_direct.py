"""exitwave's side of the direct benchmark: `exitwave_direct.py THREADS`, jobs by `serve`."""

import sys
from importlib.metadata import version

import numpy as np
import torch
from serve import serve

from exitwave import __version__
from exitwave.core.errors import InputError
from exitwave.core.threads import set_threads
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry

set_threads(int(sys.argv[1]))
held = {}


def load(asked: dict) -> None:
    """The counts into memory."""
    held.clear()
    held.update(np.load(asked["file"]))


def known(name: str) -> Quantity:
    """A number that the scan's file holds."""
    return Quantity(value=float(held[name]), source="given")


def image(asked: dict) -> dict:
    """From counts and calibration to the image, its transfer, its noise and the two half sets."""
    middle = known("centre_px")
    optics = Calibration(
        energy_eV=known("energy_eV"), semiangle_mrad=known("semiangle_mrad"), scan_step_y_A=known("step_A"), scan_step_x_A=known("step_A"),
        detector_mrad=known("detector_mrad"), centre_y_px=middle, centre_x_px=middle, aberrations={"C10_A": known("C10_A")},
    )
    frames = ArrayFrames(array=held["counts"])
    try:
        done = reconstruct(frames, geometry(optics, frames.shape), asked["method"], upsample=asked["upsample"], parts=asked["parts"])
    except InputError as error:
        return {"refused": str(error)}
    if "save" in asked:
        np.savez(asked["save"], image=done.image.numpy(), ctf=done.ctf.numpy())
    return {}


if __name__ == "__main__":
    about = {"exitwave": __version__, "torch": version("torch"), "numpy": version("numpy"), "threads": torch.get_num_threads()}
    serve({"load": load, "image": image}, about)
