"""libertem-parallax and ptychography40, run by their own python: `libertem_direct.py THREADS`, jobs by `serve`.

ptychography40's SSB takes no aberrations.
"""

import sys
import warnings
from importlib.metadata import version

import libertem.api as lt
import libertem_parallax as prlx
import numpy as np
from ptychography40.reconstruction.ssb import SSB_UDF
from serve import serve

warnings.filterwarnings("ignore")
ELECTRON_M = 12.264259661581105e-10  # h / sqrt(2 m e), the wavelength times sqrt(volt)
RELATIVISTIC = 0.978475598e-6  # e / (2 m c^2), per volt
scan = {}
held = {}


def load(asked: dict) -> None:
    """The counts into memory, as LiberTEM's own kind of set."""
    scan.clear()
    scan.update(np.load(asked["file"]))
    held.setdefault("context", lt.Context.make_with("inline"))
    held["set"] = held["context"].load("memory", data=scan["counts"], sig_dims=2, num_partitions=8)


def parallax(asked: dict) -> np.ndarray:
    """libertem-parallax, its convention of the pattern's centre being that of these scans; its C10 has the sign of ours."""
    step, pixel = float(scan["step_A"]), float(scan["detector_mrad"])
    udf = prlx.ParallaxUDF.from_parameters(
        shape=scan["counts"].shape, scan_sampling=(step, step), angular_sampling=(pixel, pixel), energy=float(scan["energy_eV"]),
        semiangle_cutoff=float(scan["semiangle_mrad"]), aberration_coefs={"C10": float(scan["C10_A"])}, upsampling_factor=asked["upsample"],
    )
    if asked["method"] == "flipped-parallax":
        udf = prlx.ParallaxPhaseFlipUDF.from_parallax_udf(udf)
    done = held["context"].run_udf(dataset=held["set"], udf=udf)
    name = "reconstruction" if "reconstruction" in done else next(iter(done))
    return np.asarray(done[name].data)


def ssb() -> np.ndarray:
    """ptychography40's single side band."""
    volts, pixel, middle = float(scan["energy_eV"]), float(scan["detector_mrad"]), float(scan["centre_px"])
    wavelength = ELECTRON_M / np.sqrt(volts * (1 + RELATIVISTIC * volts))
    semiangle = float(scan["semiangle_mrad"])
    udf = SSB_UDF(
        lamb=wavelength, dpix=float(scan["step_A"]) * 1e-10, semiconv=semiangle * 1e-3, semiconv_pix=semiangle / pixel, cy=middle, cx=middle,
        cutoff=1, method="subpix",
    )
    return np.asarray(held["context"].run_udf(dataset=held["set"], udf=udf)["phase"].data)


def image(asked: dict) -> None:
    """From counts to the image."""
    made = ssb() if asked["method"] == "ssb" else parallax(asked)
    if "save" in asked:
        np.savez(asked["save"], image=made.astype(np.float64))


if __name__ == "__main__":
    about = {name: version(name) for name in ("libertem", "libertem-parallax", "ptychography40", "numpy")}
    serve({"load": load, "image": image}, {**about, "threads": int(sys.argv[1])})
