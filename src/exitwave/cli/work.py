"""The work that verbs share: one direct image from frames to files and pictures, one calibration likewise."""

from collections.abc import Mapping
from time import perf_counter
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from exitwave.cli.places import Places, scattered
from exitwave.cli.quantities import Depths, as_recipe, check_dealt, dealt_halves, finished, rings_told, stack_plane, with_depths
from exitwave.cli.recipes import calibration_yaml, write_text
from exitwave.cli.session import Outputs, Progress, peak_bytes
from exitwave.cli.told import Making, made_from
from exitwave.core import CalibrationError, record
from exitwave.core.aberrations import focus_in_words
from exitwave.data import Calibration, Dataset4D, FrameSource
from exitwave.io import Plane, write_result, write_tiff
from exitwave.io.recipes import Recipe
from exitwave.plot import Curve, full_plane
from exitwave.plot.spectra import significant
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
            "noise_rms_rad": float(np.sqrt(_whole_noise(image).mean())),
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


def save_direct(
    done: Reconstructed,
    data: Dataset4D,
    recipe: Mapping[str, Any],
    outputs: Outputs,
    *,
    force: bool,
    making: Making | None = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[str, ...]:
    """The result file and, where asked, a TIFF (of the depths, where there are some) and a PNG; `more` goes into the metrics. Returns what NeXus
    (NXem) requires of the result and nobody knows."""
    image = done.image
    columns = image.image.shape[1]
    ny, nx = image.image.shape
    dq = 1 / (ny * image.pitch_A[0]), 1 / (nx * image.pitch_A[1])
    phase = _numpy(image.image)
    planes = [
        Plane(name="phase", array=phase, pitch=image.pitch_A, unit="rad", title=title_of(done)),
        *(
            Plane(name=f"half_{name}", array=_numpy(half), pitch=image.pitch_A, unit="rad", title=f"half {name} of the detector pixels")
            for name, half in zip("ab", image.halves, strict=True)
        ),
        Plane(
            name="ctf",
            array=full_plane(image.ctf.numpy().astype(np.complex64), columns),
            pitch=dq,
            pitch_unit="1/A",
            title="transfer of a weak phase",
        ),
        Plane(
            name="noise",
            array=_whole_noise(image).astype(np.float32),
            pitch=dq,
            pitch_unit="1/A",
            unit="rad^2",
            title="variance of a Fourier coefficient over the count of pixels",
        ),
    ]
    if image.amplitude is not None:
        planes.append(Plane(name="log_amplitude", array=_numpy(image.amplitude), pitch=image.pitch_A, title="log-amplitude"))
    stack = stack_plane(done.depths, done.asked) if done.depths else None
    if stack:
        planes.append(stack)
    metrics = {**done.metrics, **more, "method": image.method, "seconds": done.seconds, "peak_bytes": peak_bytes(), "pitch_A": list(image.pitch_A)}
    provenance, facts = made_from(data, making or Making())
    lacking = write_result(
        outputs.result, images=planes, recipe=dict(recipe), calibration=done.calibration, metrics=metrics, provenance=provenance, facts=facts,
        force=force,
    )
    if outputs.tiff and stack:
        write_tiff(outputs.tiff, stack.array, image.pitch_A, force, stack.depth_A)
    elif outputs.tiff:
        write_tiff(outputs.tiff, phase, image.pitch_A, force)
    if outputs.png:
        picture(done, outputs.png, force)
    return lacking


def picture(done: Reconstructed, png: str, force: bool) -> None:
    """The PNG of a reconstruction."""
    from exitwave.plot import phase_figure, save

    image = done.image
    curve = Curve(q_invA=done.rings.q_invA.numpy(), value=done.rings.value.numpy())
    save(
        phase_figure(
            _numpy(image.image),
            pitch_A=image.pitch_A,
            ctf=image.ctf.numpy(),
            noise=image.noise.numpy(),
            aperture_invA=done.geometry.edge_invA,
            title=title_of(done),
            rings=curve,
            resolution_A=done.rings.resolution_A(),
        ),
        png,
        force,
    )


def title_of(done: Reconstructed) -> str:
    """ "ssb phase, underfocus 30 nm, 1e4 e/Å^2": how people read it."""
    c10 = done.calibration.aberrations.get("C10_A")
    focus = f", {focus_in_words(float(c10.value))}" if c10 is not None and c10.value is not None else ""
    method, _, changed = done.image.method.partition(" ")
    label = LABELS.get(method, method) + (f", {changed}" if changed else "")
    return f"{label}{focus}, {significant(done.metrics['dose_e_per_A2'])} e/Å²"


LABELS = {"ssb": "SSB phase", "parallax": "parallax", "flipped-parallax": "parallax, phase-flipped", "icom": "iCOM phase",
          "dpc": "iDPC phase of four quadrants", "obf": "OBF phase", "lsq": "least-squares phase", "wiener": "phase, posterior mean",
          "wdd": "WDD phase"}


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


def _numpy(image: torch.Tensor) -> np.ndarray:
    return image.to(torch.float32).numpy()


def _whole_noise(image: DirectImage) -> np.ndarray:
    return full_plane(image.noise.numpy(), image.image.shape[1]).real
