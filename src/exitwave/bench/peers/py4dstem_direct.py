"""py4DSTEM's side of the direct benchmark, run by its own python: `py4dstem_direct.py THREADS`, jobs by `serve`.

Its parallax finds the shifts of the bright-field images itself and fits the aberrations to them; it cannot be told them.
"""

import sys
import warnings
from importlib.metadata import version

import matplotlib
import numpy as np
from serve import serve

matplotlib.use("Agg")
warnings.filterwarnings("ignore")
import py4DSTEM  # noqa: E402
from py4DSTEM.process import phase  # noqa: E402

scan = {}


def load(asked: dict) -> None:
    """The counts into memory."""
    scan.clear()
    scan.update(np.load(asked["file"]))


def cube() -> py4DSTEM.DataCube:
    """The counts with their calibration."""
    made = py4DSTEM.DataCube(scan["counts"].astype(np.float32))
    made.calibration.set_R_pixel_size(float(scan["step_A"]))
    made.calibration.set_R_pixel_units("A")
    made.calibration.set_Q_pixel_size(float(scan["detector_mrad"]))
    made.calibration.set_Q_pixel_units("mrad")
    return made


def parallax(upsample: int) -> np.ndarray:
    """Aligned, fitted, on a finer grid where asked, signs of the transfer undone."""
    made = phase.Parallax(energy=float(scan["energy_eV"]), datacube=cube(), verbose=False, object_padding_px=(0, 0), device="cpu")
    made.preprocess(plot_average_bf=False, edge_blend=0, force_rotation_angle_deg=0, force_transpose=False)
    made.reconstruct(reset=True, progress_bar=False, plot_aligned_bf=False, plot_convergence=False)
    made.aberration_fit(plot_CTF_comparison=False, plot_BF_shifts_comparison=False)
    if upsample > 1:
        made.subpixel_alignment(kde_upsample_factor=upsample, plot_upsampled_BF_comparison=False, progress_bar=False)
    made.aberration_correct(plot_corrected_phase=False)
    return np.asarray(made._recon_phase_corrected)


def dpc() -> np.ndarray:
    """The integrated centre of mass."""
    made = phase.DPC(energy=float(scan["energy_eV"]), datacube=cube(), verbose=False)
    made.preprocess(force_com_rotation=0, force_com_transpose=False, plot_center_of_mass=False, plot_rotation=False)
    made.reconstruct(max_iter=64, progress_bar=False)
    return np.asarray(made._object_phase if hasattr(made, "_object_phase") else made.object_phase)


def deconvolved(name: str) -> np.ndarray:
    """SSB, OBF or WDD with the aberrations told."""
    made = getattr(phase, name)(
        energy=float(scan["energy_eV"]), datacube=cube(), verbose=False, semiangle_cutoff=float(scan["semiangle_mrad"]),
        polar_parameters={"C10": float(scan["C10_A"])},
    )
    made.preprocess(plot_center_of_mass=False, plot_rotation=False, plot_overlap_trotters=False, force_com_rotation=0, force_com_transpose=False)
    if name == "WDD":
        made.reconstruct(relative_wiener_epsilon=0.01, progress_bar=False, num_jobs=int(sys.argv[1]))
    else:
        made.reconstruct(progress_bar=False, num_jobs=int(sys.argv[1]))
    return np.angle(made.object) if np.iscomplexobj(made.object) else np.asarray(made.object)


def image(asked: dict) -> None:
    """From counts to the image."""
    method = asked["method"]
    if method in ("ssb", "obf", "wdd"):
        made = deconvolved(method.upper())
    else:
        made = dpc() if method == "icom" else parallax(asked["upsample"])
    if "save" in asked:
        np.savez(asked["save"], image=made.astype(np.float64))


if __name__ == "__main__":
    about = {"py4dstem": version("py4DSTEM"), "numpy": version("numpy"), "threads": int(sys.argv[1])}
    serve({"load": load, "image": image}, about)
