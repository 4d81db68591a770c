"""A fit on disk: planes and model of the result, TIFF, picture and report."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np
import torch

from exitwave.cli.session import Outputs, peak_bytes
from exitwave.cli.told import Making, made_from
from exitwave.core import record
from exitwave.data import Calibration, Dataset4D
from exitwave.flow.accumulate import ignore
from exitwave.io import Plane, write_result, write_tiff
from exitwave.io.nexus import centred_plane
from exitwave.plot import Curve
from exitwave.plot.spectra import significant
from exitwave.recon.iterative.certainty import FEW, Certainty, certainty
from exitwave.recon.iterative.result import Residuals, ScanImage, fitted_positions_A, model_of, probe_modes, projected
from exitwave.recon.iterative.run import ENDED, Outcome, Prepared
from exitwave.recon.iterative.search import Found
from exitwave.signal import RingCorrelation, frc

HALF_TITLES = {"scan": "of the positions", "counts": "of the counts, dealt out at random"}


@record
class Fitted:
    """A fit with its image in the scan's frame, what it leaves, its half sets and their correlation, the probe's modes in real space with their
    shares of the power, what was added to the positions (n, 2) in the scan's frame, the calibration that it began with, and how well its few numbers
    are known (None: none was fitted, or the fit did not come to its end)."""

    prepared: Prepared
    outcome: Outcome
    image: ScanImage
    residuals: Residuals
    halves: tuple[ScanImage, ScanImage] | None
    rings: RingCorrelation | None
    modes: torch.Tensor
    shares: torch.Tensor
    moved_A: np.ndarray
    calibration: Calibration
    known: Certainty | None = None

    @property
    def history(self) -> dict[str, list[float]]:
        """Every iteration's figures by name."""
        turns = self.outcome.kept.history
        return {name: [float(turn[name]) for turn in turns] for name in (turns[0] if turns else {})}

    @property
    def metrics(self) -> dict[str, Any]:
        """What scripts read beside the image."""
        p, leaves, rings = self.prepared, self.outcome.leaves, self.rings
        s = p.problem.setup
        gain = float(self.calibration.counts_per_electron.value or 1.0)
        cell = self.calibration.need("scan_step_y_A") * self.calibration.need("scan_step_x_A")
        return {
            "status": self.outcome.status,
            "iterations": len(self.outcome.kept.history),
            "best_iteration": self.outcome.iteration,
            **{name: float(value) for name, value in self.outcome.figures.items()},
            "deviance_per_pixel": 2 * float(self.residuals.patterns.mean()) / float(s.camera.mask.sum()),
            "electrons_per_position": s.counts / gain,
            "dose_e_per_A2": s.counts / gain / cell,
            "rms_phase_rad": float(projected(self.image).std()),
            "mode_shares": self.shares.tolist(),
            "fitted": {name: leaves[name].tolist() for name in FEW if name in leaves and name in p.problem.free},
            **({} if self.known is None else _sigma_told(self.known)),
            "position_rms_A": float(np.sqrt((self.moved_A**2).sum(1).mean())),
            "frames_in_memory": p.in_memory,
            "half_sets": p.options.halves,
            **({} if rings is None else {"frc_resolution_A": rings.resolution_A(), "frc_last_A": rings.last_A()}),
        }


def fitted_of(
    p: Prepared, outcome: Outcome, image: ScanImage, left: Residuals, halves: tuple[ScanImage, ScanImage] | None, calibration: Calibration,
    progress: Callable[[int, int], None] = ignore,
) -> Fitted:
    """The fit with what follows from it."""
    s, rings = p.problem.setup, None
    if halves is not None:
        one, other = (torch.from_numpy(projected(half)) for half in halves)
        rings = frc(one, other, image.pitch_A)
    modes, shares = probe_modes(s, outcome.leaves, p.problem.terms)
    moved = (fitted_positions_A(s, outcome.leaves) - s.positions_A()).numpy()
    return Fitted(prepared=p, outcome=outcome, image=image, residuals=left, halves=halves, rings=rings, modes=modes, shares=shares, moved_A=moved,
                  calibration=calibration, known=_known(p, outcome, progress))


def _known(p: Prepared, outcome: Outcome, progress: Callable[[int, int], None]) -> Certainty | None:
    if outcome.status not in ENDED or not set(FEW) & set(p.problem.free):
        return None
    return certainty(p.problem, outcome.leaves, progress=progress)


def _sigma_told(known: Certainty) -> dict[str, Any]:
    """Standard errors beside the fitted numbers, None where the data do not tell them, and what they come from."""
    return {"fitted_sigma": {name: _finite(values.tolist()) for name, values in known.sigma.items()},
            "fitted_sigma_from": {"patterns": known.patterns, "steps": known.steps, "settled": known.settled}}


def _finite(values: Any) -> Any:
    return [_finite(value) for value in values] if isinstance(values, list) else values if isfinite(values) else None


def save_fitted(
    done: Fitted, data: Dataset4D, recipe: Mapping[str, Any], outputs: Outputs, *, html: str | None = None, force: bool, making: Making | None = None,
    search: Found | None = None,
) -> tuple[str, ...]:
    """The result file and, where asked, TIFF (of the slices, where there are several), PNG and an HTML report. Returns what NeXus (NXem) requires
    and nobody knows."""
    metrics = {**done.metrics, "method": "ptycho", "seconds": done.outcome.seconds, "peak_bytes": peak_bytes(), "pitch_A": list(done.image.pitch_A),
               **({} if search is None else {"search": search_told(search)})}
    provenance, facts = made_from(data, making or Making())
    planes = planes_of(done)
    lacking = write_result(outputs.result, images=planes, recipe=dict(recipe), calibration=done.calibration, metrics=metrics, provenance=provenance,
                           facts=facts, model=_model(done), force=force)
    if outputs.tiff:
        shown = next((plane for plane in planes if plane.name == "slices"), planes[0])
        write_tiff(outputs.tiff, shown.array, done.image.pitch_A, force, shown.depth_A)
    if outputs.png or html:
        from exitwave.plot import fit_figure, fit_report, save, save_html

        view = view_of(done)
        if outputs.png:
            save(fit_figure(view), outputs.png, force)
        if html:
            save_html(fit_report(view, metrics, recipe, provenance), html, force)
    return lacking


def search_told(found: Found | None) -> dict[str, Any] | None:
    """A search in numbers: the best values, and every trial."""
    if found is None:
        return None
    columns = {name: [float(row[name]) for row in found.trials] for name in found.trials[0]}
    return {"best": dict(found.best), "trials": columns, "notes": list(found.notes)}


def planes_of(done: Fitted) -> list[Plane]:
    """The images of a result, the projected phase first."""
    image, s = done.image, done.prepared.problem.setup
    place: dict[str, Any] = {"pitch": image.pitch_A, "origin": image.origin_A, "unit": "rad"}
    planes = [Plane(name="phase", array=projected(image).astype(np.float32), title=title_of(done), **place)]
    if len(image.slices) > 1:
        depths = np.concatenate([[0.0], np.cumsum(done.outcome.leaves["dz_A"].numpy())])
        layers = image.slices.astype(np.float32)
        planes.append(Plane(name="slices", array=layers, depth_A=tuple(depths.tolist()), title="phase of each slice", **place))
    for name, half in zip("ab", done.halves or (), strict=False):
        title = f"half {name} {HALF_TITLES[done.prepared.options.halves]}"
        planes.append(Plane(name=f"half_{name}", array=projected(half).astype(np.float32), title=title, **place))
    for i, (mode, share) in enumerate(zip(done.modes, done.shares, strict=True)):
        title = f"probe mode {i}, {float(share):.1%} of the power, along the camera's axes"
        planes.append(centred_plane(f"probe_{i}", mode.numpy(), s.window.pitch_A, title))
    if s.raster is not None:
        step = done.calibration.need("scan_step_y_A"), done.calibration.need("scan_step_x_A")
        losses = done.residuals.patterns.reshape(s.raster).astype(np.float32)
        planes.append(Plane(name="loss_map", array=losses, pitch=step, title="loss of each pattern"))
    return planes


def _model(done: Fitted) -> dict[str, Any]:
    p = done.prepared
    return {**model_of(p.problem, done.outcome.leaves), "history": {name: np.array(values) for name, values in done.history.items()},
            "loss_of_pattern": done.residuals.patterns, "residual_of_pixel": done.residuals.pixels,
            "positions_A": fitted_positions_A(p.problem.setup, done.outcome.leaves)}


def view_of(done: Fitted) -> Any:
    """What pictures show."""
    from exitwave.plot import FitView

    s, rings = done.prepared.problem.setup, done.rings
    curve = None if rings is None else Curve(q_invA=rings.q_invA.numpy(), value=rings.value.numpy())
    return FitView(
        title=title_of(done), phase=projected(done.image), slices=done.image.slices, pitch_A=done.image.pitch_A, probe=done.modes.numpy(),
        shares=done.shares.numpy(), probe_pitch_A=s.window.pitch_A, history=done.history, positions_A=s.positions_A().numpy(), moved_A=done.moved_A,
        loss_of_pattern=done.residuals.patterns, raster=s.raster, residual_of_pixel=done.residuals.pixels, edge_invA=s.edge_invA, rings=curve,
        resolution_A=None if rings is None else rings.resolution_A(),
    )


def title_of(done: Fitted) -> str:
    """ "ptychographic phase, 4 slices, 1e4 e/Å^2"."""
    options = done.prepared.options
    cut = ""
    if options.slices > 1:
        apart = float(done.outcome.leaves["dz_A"].mean())
        cut = f", {options.slices} slices over {options.slices * apart:.4g} Å"
    return f"ptychographic phase{cut}, {significant(done.metrics['dose_e_per_A2'])} e/Å²"
