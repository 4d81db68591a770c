"""quantem's side of the iterative benchmarks, run by its own python: `quantem_iterative.py THREADS`, jobs as in `exitwave_iterative.py`.

PtychoLite's step lengths and its Adam; a pure phase, as ours; the object padded by half a window, because its patches wrap around otherwise.
"""

import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch
from quantem.core.datastructures import Dataset4dstem
from quantem.diffractive_imaging import PtychographyDatasetRaster, PtychoLite
from quantem.diffractive_imaging.ptychography import Ptychography
from serve import serve

warnings.filterwarnings("ignore")
torch.set_num_threads(int(sys.argv[1]))
LOSSES = {"poisson": "poisson", "amplitude": "l2_amplitude"}
RATES = {"object": 5e-3, "probe": 1e-3, "dataset": 1e-3}
held = {}
fit = {}


def load(asked: dict) -> None:
    """The counts into memory."""
    held.clear()
    fit.clear()
    with np.load(asked["file"]) as file:
        held.update(file)


def build(asked: dict) -> None:
    """The models, preprocessed, with their optimizers yet to be made by the first iteration."""
    fit.clear()
    counts, slices = held["counts"], asked["slices"]
    data = Dataset4dstem.from_array(
        counts.astype(np.float32), sampling=[float(held["step_A"])] * 2 + [float(held["detector_mrad"])] * 2, units=["A", "A", "mrad", "mrad"]
    )
    scan = PtychographyDatasetRaster.from_dataset4dstem(data, verbose=0)
    scan.preprocess(
        com_fit_function="constant", force_com_rotation=0.0, force_com_transpose=False, plot_rotation=False, plot_com=False,
        probe_energy=float(held["energy_eV"]),
    )
    padding = counts.shape[2] // 2
    made = PtychoLite.from_dataset(
        scan, num_slices=slices, slice_thicknesses=asked["dz_A"] if slices > 1 else None, obj_type="pure_phase", num_probes=asked["modes"],
        energy=float(held["energy_eV"]), semiangle_cutoff=float(held["semiangle_mrad"]),
        polar_parameters={"C10": float(held["C10_A"]) - float(held["depth_A"]) / 2}, device="cpu", verbose=False, rng=0,
        obj_padding_px=(padding, padding),
    )
    made.verbose = False
    fit.update(made=made, asked=asked, begun=False)


def iterate(asked: dict) -> list:
    """Passes over all patterns; the loss in each, as quantem defines it."""
    made, words = fit["made"], fit["asked"]
    rates = {**RATES, **words.get("rates", {})}
    names = ["object", "probe"] + (["dataset"] if words.get("positions") else [])
    if words.get("positions"):
        made.dset.learn_scan_positions = True
        made.dset.scan_positions_px.requires_grad_(True)
    first = {} if fit["begun"] else {"optimizer_params": {name: {"name": "adamw", "lr": rates[name]} for name in names}}
    before = len(made.iter_losses)
    Ptychography.reconstruct(made, num_iters=asked["count"], batch_size=words["batch"], loss_type=LOSSES[words["loss"]], **first)
    fit["begun"] = True
    return [float(value) for value in made.iter_losses[before:]]


def save(asked: dict) -> dict:
    """What was found."""
    made = fit["made"]
    phase = np.asarray(made.obj)
    phase = np.angle(phase) if np.iscomplexobj(phase) else phase
    np.savez(
        asked["save"], phase=phase.reshape(-1, *phase.shape[-2:]).astype(np.float64), pitch_A=np.asarray(made.sampling, np.float64)[-2:],
        positions_px=made.dset.scan_positions_px.detach().numpy().astype(np.float64),
        nominal_px=made.dset.initial_scan_positions_px.detach().numpy().astype(np.float64),
    )
    return {}


if __name__ == "__main__":
    about = {name: version(name) for name in ("quantem", "torch", "numpy")}
    serve({"load": load, "build": build, "iterate": iterate, "save": save}, {**about, "threads": torch.get_num_threads()})
