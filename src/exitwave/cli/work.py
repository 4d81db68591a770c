"""The work that verbs share: one direct image from frames, and one calibration to files."""

from time import perf_counter
from typing import Any

import numpy as np
import torch

from exitwave.cli.places import Places, scattered
from exitwave.cli.quantities import Depths, as_recipe, check_dealt, dealt_halves, finished, rings_told, with_depths
from exitwave.cli.recipes import calibration_yaml, write_text
from exitwave.cli.session import Progress
from exitwave.core import CalibrationError, record
from exitwave.data import Calibration, Dataset4D, FrameSource
from exitwave.io.recipes import Recipe
from exitwave.plot import full_plane
from exitwave.recon.calibrate import Calibrated
from exitwave.recon.direct.dense import DirectImage, reconstruct
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.methods import check_method
from exitwave.recon.direct.normal import Parts
from exitwave.recon.direct.optimal import METHODS as OPTIMAL
from exitwave.recon.direct.point import Phase
from exitwave.recon.direct.validity import Validity, validity
from exitwave.recon.options import Quantities
from exitwave.signal import RingCorrelation, RingSSNR, frc, ring_ssnr

PLAIN = Quantities()


@record
class Reconstructed:
    """A direct image with the geometry and calibration that made it, its half-set correlation and what it cost."""

    image: DirectImage
    geometry: Geometry
    calibration: Calibration
    rings: RingCorrelation
    seconds: float
    ssnr: RingSSNR
    asked: Quantities = PLAIN
    vacuum: Phase | None = None
    depths: Depths | None = None
    validity: Validity | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """What scripts read beside the image."""
        image, step = self.image, self.geometry.scan.pitch_A
        return {
            "frc_resolution_A": self.rings.resolution_A(),
            "frc_last_A": self.rings.last_A(),
            "dose_e_per_A2": image.electrons / (step[0] * step[1]),
            "electrons_per_position": image.electrons,
            "detector_pixels": image.pixels,
            "rms_phase_rad": float(image.image.std()),
            "noise_rms_rad": float(np.sqrt(noise_plane(image).mean())),
            "half_sets": self.asked.halves,
            "ssnr": rings_told(self.ssnr),
            **({} if self.vacuum is None else {"vacuum": {
                "box_A": list(self.asked.vacuum_A or ()), "mean_rad": self.vacuum.value_rad, "sigma_rad": self.vacuum.sigma_rad}}),
            **({} if self.depths is None else {self.depths.name: dict(self.depths.told)}),
            **({} if self.validity is None else {"validity": self.validity.as_json()}),
        }


def require(calibration: Calibration, method: str) -> None:
    """Refuse to reconstruct with optics that nobody stated.

    Raises:
        CalibrationError: naming the flag, and the verb that measures it.
        InputError: an unknown method.
    """
    check_method(method)
    require_optics(calibration, method)


def require_optics(calibration: Calibration, method: str) -> None:
    """The same for a method by any name.

    Raises:
        CalibrationError: as `require`.
    """
    for name in ("energy_eV", "semiangle_mrad", "scan_step_y_A", "detector_mrad", "rotation_deg", "transpose"):
        if not getattr(calibration, name).known:
            _missing(name, calibration)
    if method not in ("icom", "dpc") and not any(q.known for q in calibration.aberrations.values()):
        raise CalibrationError(
            f"{method} needs the aberrations, at least the defocus",
            remedy="pass --aberration C10_A=... or --calibrate, or run `exitwave calibrate` and pass --recipe",
        )


def _missing(name: str, calibration: Calibration) -> None:
    if name in ("rotation_deg", "transpose"):
        flag = "--rotation-deg" if name == "rotation_deg" else "--transpose or --no-transpose"
        raise CalibrationError(f"{name} is not known", remedy=f"pass {flag} or --calibrate, or run `exitwave calibrate` and pass --recipe")
    calibration.need(name)


def direct(
    data: Dataset4D, calibration: Calibration, mask: np.ndarray | None, method: str, *, upsample: int, memory: int, progress: Progress,
    quantities: Quantities = PLAIN, places: Places | None = None,
) -> Reconstructed:
    """One direct image of a scan, at `places` where it is on no raster, with what is asked for beside it."""
    started = perf_counter()
    optics = geometry(calibration, data.shape, None if mask is None else torch.from_numpy(mask))
    gain = float(calibration.counts_per_electron.value or 1.0)

    if quantities.halves == "counts":
        check_dealt(data.frames, gain)

    def make(frames: FrameSource) -> DirectImage:
        if places is not None:
            return scattered(frames, optics, places, method, gain=gain, memory=memory, progress=progress)
        parts: Parts = "complex" if quantities.amplitude and method in OPTIMAL else "phase"
        return reconstruct(
            frames, optics, method, parts=parts, upsample=upsample, dispersion=gain, counts_per_electron=gain, memory_bytes=memory, progress=progress
        )

    image, depths = with_depths(data.frames, optics, method, make, quantities, upsample=upsample, gain=gain, memory=memory, progress=progress)
    if quantities.halves == "counts":
        image = dealt_halves(image, data.frames, make)
    rings = frc(image.halves[0].double(), image.halves[1].double(), image.pitch_A)
    ssnr = ring_ssnr(image.halves[0].double(), image.halves[1].double(), image.pitch_A)
    image, vacuum = finished(image, quantities)
    return Reconstructed(image=image, geometry=optics, calibration=calibration, rings=rings, seconds=perf_counter() - started, ssnr=ssnr,
                         asked=quantities, vacuum=vacuum, depths=depths,
                         validity=validity(data.frames, optics, dispersion=gain, memory_bytes=memory) if quantities.validity else None)


def dead_px(alive: np.ndarray) -> np.ndarray:
    """(n, 2) indices of pixels to leave out."""
    return np.argwhere(~alive)


def save_calibrated(done: Calibrated, *, output: str | None, png: str | None, what: str, force: bool, asked: Recipe | None = None) -> None:
    """The recipe and the picture of a calibration; `asked` is the recipe of kind calibrate that was carried out."""
    if output:
        write_text(output, calibration_yaml(done.calibration, dead_px(done.alive), done.notes, what, asked), force)
    if png:
        from exitwave.plot import calibration_figure, save

        shifts = (done.shifts.k_det, done.shifts.measured_A, done.shifts.fitted_A)
        save(
            calibration_figure(done.calibration, mean=done.mean, alive=done.alive, shifts=shifts, title=f"calibration of {what}", notes=done.notes),
            png,
            force,
        )


def recipe_of(
    method: str, upsample: int, calibration: Calibration, memory: int, alive: np.ndarray | None, quantities: Quantities = PLAIN,
    places: Places | None = None,
) -> dict[str, Any]:
    """The recipe of kind reconstruct that makes the same image again. `alive` (ky, kx) marks the detector pixels that count; None: all."""
    return {
        "schema": 1,
        "kind": "reconstruct",
        "verb": "reconstruct",
        "method": method,
        "upsample": upsample,
        "memory_bytes": memory,
        "calibration": calibration.as_json(),
        "dead_px": None if alive is None else dead_px(alive),
        **as_recipe(quantities),
        **({} if places is None else {"places": places.as_json()}),
    }


def noise_plane(image: DirectImage) -> np.ndarray:
    """(y, x) variance of each Fourier coefficient over the count of pixels, rad^2."""
    return full_plane(image.noise.numpy(), image.image.shape[1]).real
