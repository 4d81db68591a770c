"""exitwave's side of the iterative benchmarks: `exitwave_iterative.py THREADS`, jobs by `serve`.

Every side answers "load" (counts into memory), "build" (a fit ready to begin), "iterate" (`count` passes over all patterns) and "save" (phases
(z, y, x), their pitch and where the scan positions lie in them).
"""

import sys
from importlib.metadata import version

import numpy as np
import torch
from serve import serve

from exitwave import __version__
from exitwave.core.threads import set_threads
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.recon.iterative.adam import Adam
from exitwave.recon.iterative.certainty import certainty
from exitwave.recon.iterative.constraints import centred_positions, inside_aperture, orthogonal_modes
from exitwave.recon.iterative.fused import get_ready
from exitwave.recon.iterative.lbfgs import LBFGS
from exitwave.recon.iterative.limits import priors_of
from exitwave.recon.iterative.losses import Loss
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.problem import Problem, positions_of
from exitwave.recon.iterative.setup import set_up, start_modes

set_threads(int(sys.argv[1]))
get_ready()  # the first time after an installation it compiles
held = {}
fit = {}


def load(asked: dict) -> None:
    """The counts into memory."""
    held.clear()
    fit.clear()
    with np.load(asked["file"]) as file:
        held.update(file)


def known(name: str) -> Quantity:
    """A number that the scan's file holds."""
    return Quantity(value=float(held[name]), source="given")


def build(asked: dict) -> None:
    """The problem and the solver's first state."""
    fit.clear()
    counts, slices = held["counts"], asked["slices"]
    optics = Calibration(
        energy_eV=known("energy_eV"), semiangle_mrad=known("semiangle_mrad"), scan_step_y_A=known("step_A"), scan_step_x_A=known("step_A"),
        detector_mrad=known("detector_mrad"), centre_y_px=known("centre_px"), centre_x_px=known("centre_px"), aberrations={"C10_A": known("C10_A")},
    )
    mean = float(counts.sum((2, 3), dtype=np.float64).mean())
    s = set_up(optics, counts.shape, mean, thickness_A=float(held["depth_A"]), oversample=asked.get("oversample"),
               fine=bool(asked.get("fit_source")))
    leaves = {"modes": start_modes(s, asked["modes"]), "phase": torch.zeros(1, slices, *s.field.shape)}
    free, n = ["modes", "phase"], len(s.positions_px)
    if slices > 1:
        leaves["dz_A"] = torch.full((slices - 1,), float(asked["dz_A"]), dtype=torch.float64)
    if asked.get("positions"):
        leaves["positions_px"] = torch.zeros(n, 2, dtype=torch.float64)
        free.append("positions_px")
    if asked.get("source_A"):
        leaves["source_A"] = torch.tensor(float(asked["source_A"]), dtype=torch.float64)
    if asked.get("fit_source"):
        free.append("source_A")
    held_out = torch.zeros(n, dtype=torch.bool)
    problem = Problem(
        setup=s, frames=ArrayFrames(array=counts), loss=Loss(kind=asked["loss"]), leaves=leaves, free=tuple(free), held=held_out,
        penalties=priors_of(PtychoOptions(prior_rad=asked.get("prior_rad", 0.0)), s),
    )
    late = {name: asked["iterations"] // 5 for name in ("positions_px", "source_A") if name in free}
    solver = Adam(
        iterations=asked["iterations"], batch=asked["batch"], begin=late, constraints=(inside_aperture, orthogonal_modes, centred_positions),
        rates=asked.get("rates", {}),
    )
    solver = LBFGS() if asked.get("solver") == "l-bfgs" else solver
    fit.update(problem=problem, solver=solver, state=solver.start(problem))


def iterate(asked: dict) -> list:
    """Passes over all patterns; the loss of a pattern in each."""
    losses = []
    for _ in range(asked["count"]):
        fit["state"], figures = fit["solver"].step(fit["problem"], fit["state"])
        losses.append(figures["loss"])
    return losses


def save(asked: dict) -> dict:
    """What was found."""
    problem, leaves = fit["problem"], fit["state"].leaves
    s = problem.setup
    positions = positions_of(s, leaves, torch.arange(len(s.positions_px)))
    np.savez(
        asked["save"], phase=leaves["phase"].mean(0).double().numpy(), pitch_A=np.array(s.field.pitch_A), positions_px=positions.numpy(),
        nominal_px=s.positions_px.numpy(),
    )
    return {"source_A": abs(float(leaves["source_A"]))} if "source_A" in leaves else {}


def errors(asked: dict) -> dict:
    """The standard error of the source's size, phase and probe free beside it."""
    known = certainty(fit["problem"], fit["state"].leaves, most=asked["most"])
    return {"source_A_sigma": float(known.sigma["source_A"])}


if __name__ == "__main__":
    about = {"exitwave": __version__, "torch": version("torch"), "numpy": version("numpy"), "threads": torch.get_num_threads()}
    serve({"load": load, "build": build, "iterate": iterate, "save": save, "errors": errors}, about)
