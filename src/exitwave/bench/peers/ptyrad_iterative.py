"""PtyRAD's side of the iterative benchmarks, run by its own python: `ptyrad_iterative.py THREADS`, jobs as in `exitwave_iterative.py`.

PtyRAD's defaults (steps, constraints, groups), but for what would bias this comparison: no random displacement of positions, which are fitted
only where asked; a pure phase, as ours, unless asked otherwise; no Gaussian blur of the object after each iteration; no files.
"""

import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import h5py
import matplotlib
import numpy as np
import torch
import yaml
from serve import serve

matplotlib.use("Agg")
warnings.filterwarnings("ignore")
# torchvision, of which PtyRAD wants the Gaussian blur alone, is built for CUDA on PyPI: beside a CPU build of torch its operators do not load, and
# its import fails for want of these names.
boxes = torch.library.Library("torchvision", "FRAGMENT")
if "+cpu" in torch.__version__:
    for operator in ("nms", "qnms"):
        boxes.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from ptyrad.core import PtychoModel  # noqa: E402
from ptyrad.params import load_params  # noqa: E402
from ptyrad.solver import PtyRADSolver  # noqa: E402
from ptyrad.solver.reconstruction import create_optimizer, create_scheduler, prepare_recon, recon_loop  # noqa: E402

torch.set_num_threads(int(sys.argv[1]))
FIXED = {"start_iter": None, "lr": 0.0}
held = {}
fit = {}


def load(asked: dict) -> None:
    """The counts into memory."""
    held.clear()
    fit.clear()
    with np.load(asked["file"]) as file:
        held.update(file)


def words_of(asked: dict, measured: Path) -> dict:
    """The parameters as its YAML file has them."""
    rows, columns, pixels = held["counts"].shape[:3]
    rates = asked.get("rates", {})
    update = {"objp": {"start_iter": 1, "lr": rates.get("phase", 5e-4)}, "probe": {"start_iter": 1, "lr": rates.get("modes", 1e-4)}}
    update["probe_pos_shifts"] = {"start_iter": 1, "lr": rates.get("positions", 5e-4)} if asked.get("positions") else FIXED
    update["obja"] = {"start_iter": 1, "lr": 5e-4} if asked.get("absorbs") else FIXED
    return {
        "init_params": {
            "probe_kv": float(held["energy_eV"]) / 1e3, "probe_conv_angle": float(held["semiangle_mrad"]), "meas_Npix": pixels,
            "probe_aberrations": {"C10": float(held["C10_A"]) - float(held["depth_A"]) / 2}, "pos_N_scan_slow": rows, "pos_N_scan_fast": columns,
            "pos_scan_step_size": float(held["step_A"]), "probe_pmode_max": asked["modes"], "obj_Nlayer": asked["slices"],
            "obj_slice_thickness": float(asked.get("dz_A") or 1.0), "meas_flipT": None, "meas_params": {"path": str(measured), "key": "meas"},
            "meas_calibration": {"mode": "da", "value": float(held["detector_mrad"])}, "pos_scan_rand_std": None, "random_seed": 0,
        },
        "model_params": {"update_params": update},
        "loss_params": {"loss_single": {"state": asked["loss"] == "amplitude"}, "loss_poissn": {"state": asked["loss"] == "poisson"}},
        "constraint_params": {"obj_rblur": {"start_iter": None}, "obj_zblur": {"start_iter": None}},
        "recon_params": {
            "NITER": asked["iterations"], "BATCH_SIZE": {"size": asked["batch"], "grad_accumulation": 1}, "SAVE_ITERS": None,
            "output_dir": str(measured.parent / "out"), "recon_dir_affixes": ["minimal"],
        },
    }


def build(asked: dict) -> None:
    """Its initializer, model and optimizer, from the counts as an HDF5 file, which is how it takes them."""
    fit.clear()
    with tempfile.TemporaryDirectory() as name:
        measured, said = Path(name) / "meas.hdf5", Path(name) / "params.yaml"
        counts = held["counts"]
        with h5py.File(measured, "w") as file:
            file["meas"] = counts.reshape(-1, *counts.shape[2:]).astype(np.float32)
        said.write_text(yaml.safe_dump(words_of(asked, measured)), encoding="utf-8")
        params = load_params(str(said))
        solver = PtyRADSolver(params, device="cpu", seed=0)
    model = PtychoModel(solver.init.init_variables, params["model_params"], device="cpu")
    optimizer = create_optimizer(model.optimizer_params, model.optimizable_params)
    scheduler = create_scheduler(model.scheduler_params, optimizer)
    indices, batches, output = prepare_recon(model, solver.init, params)
    nominal = (model.crop_pos + model.opt_probe_pos_shifts).detach().numpy().astype(np.float64)
    fit.update(
        solver=solver, params=params, model=model, optimizer=optimizer, scheduler=scheduler, indices=indices, output=output, nominal=nominal,
        batches=[torch.from_numpy(batch) for batch in batches],
    )


def iterate(asked: dict) -> list:
    """Passes over all patterns by its own loop."""
    params = {**fit["params"], "recon_params": {**fit["params"]["recon_params"], "NITER": asked["count"]}}
    solver = fit["solver"]
    recon_loop(
        fit["model"], solver.init, params, fit["optimizer"], fit["scheduler"], solver.loss_fn, solver.constraint_fn, fit["indices"], fit["batches"],
        fit["output"], acc=None,
    )
    return []


def save(asked: dict) -> dict:
    """What was found."""
    model, half, pitch = fit["model"], held["counts"].shape[2] // 2, float(fit["solver"].init.init_variables["dx"])
    positions = (model.crop_pos + model.opt_probe_pos_shifts).detach().numpy().astype(np.float64)
    np.savez(
        asked["save"], phase=model.opt_objp.detach().numpy()[0].astype(np.float64), pitch_A=np.array([pitch, pitch]),
        positions_px=positions + half, nominal_px=fit["nominal"] + half,
    )
    return {}


if __name__ == "__main__":
    about = {name: version(name) for name in ("ptyrad", "torch", "numpy")}
    serve({"load": load, "build": build, "iterate": iterate, "save": save}, {**about, "threads": torch.get_num_threads()})
