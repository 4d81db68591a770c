"""A finished result on the same page: its planes one by one, spectra and curves of its phase."""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from exitwave.core import Beam
from exitwave.core.errors import CalibrationError, ExitwaveError, InputError
from exitwave.io import read_result
from exitwave.io.nexus import Plane
from exitwave.io.results import Result
from exitwave.live.page.picture import Picture, spectrum
from exitwave.live.page.settings import Change, Command, Settings, changed
from exitwave.live.page.wire import packed
from exitwave.plot.spectra import middle_origin
from exitwave.recon.direct.image import DirectImage

HALVES = ("half_a", "half_b")


class Browsing:
    """A result that is looked at: `exitwave.live.page.server.Shows` without a stream."""

    def __init__(self, result: Result, name: str) -> None:
        self.result, self.name = result, name
        self.settings = Settings(plane=result.default)
        self._lock = threading.Lock()
        self._listeners: list[Callable[[str, bytes], None]] = []

    def open(self) -> None:
        """There is nothing to begin."""

    def close(self) -> None:
        """Nor to end."""

    def listen(self, listener: Callable[[str, bytes], None]) -> None:
        """Send what there is, and what is chosen later."""
        with self._lock:
            self._listeners.append(listener)
        self._show()

    def set(self, change: Change) -> None:
        """Choose a plane.

        Raises:
            InputError: there is none of this name, or another knob: a result is what it is.
        """
        other = [name for name in change.values if name != "plane"]
        if other:
            raise InputError("a finished result has no knobs", got=other[0], remedy="`exitwave live` with the scan it was made from has them")
        if change.values["plane"] not in self.result.images:
            raise InputError("the result has no such plane", expected=", ".join(self.result.images), got=change.values["plane"])
        self.settings = changed(self.settings, change.values)
        self._show()

    def do(self, command: Command) -> str:
        """Nothing can be done to a result.

        Raises:
            InputError: always.
        """
        raise InputError(f"a finished result cannot {command.name}")

    def _show(self) -> None:
        plane = self.result.images[str(self.settings.plane)]
        shown = picture_of(self.result, plane)
        messages = {"status": packed("status", self._status(), {}), "image": packed("image", shown.header, shown.arrays)}
        with suppress(ExitwaveError):
            messages["spectrum"] = packed("spectrum", *spectrum(shown)) if plane.pitch_unit == "A" else packed("spectrum", {}, {})
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            for kind, message in messages.items():
                listener(kind, message)

    def _status(self) -> dict[str, Any]:
        metrics = self.result.metrics
        seconds = metrics.get("seconds")
        return {"scene": "result", "name": self.name, "status": "result", "because": "", "note": "", "busy": "", "recording": "", "can": [],
                "planes": [[name, plane.title or name] for name, plane in self.result.images.items()],
                "plane": self.settings.plane, "seconds": float(seconds) if isinstance(seconds, int | float) else 0.0, "settings": None}


def is_result(path: str) -> bool:
    """Whether there is a result of the package at a path."""
    if not os.path.exists(path) or not path.endswith((".h5", ".hdf5", ".nxs", ".zarr")):
        return False
    try:
        read_result(path)
    except (ExitwaveError, OSError):
        return False
    return True


def browsed(path: str) -> Browsing:
    """A result for the page.

    Raises:
        InputError, FormatError: as `exitwave.io.read_result`.
    """
    return Browsing(read_result(path), os.path.basename(path))


def picture_of(result: Result, plane: Plane) -> Picture:
    """A plane as the page draws it: a complex one as a wave, a Fourier plane with its zero in the middle, of a stack the layer in the middle."""
    array = plane.array[len(plane.array) // 2] if plane.depth_A else plane.array
    if plane.pitch_unit == "1/A":
        array = middle_origin(array)
    header: dict[str, Any] = {"reached": 1.0, "scan": list(array.shape), "pitch_A": [float(p) for p in plane.pitch], "pitch_unit": plane.pitch_unit,
                              "unit": plane.unit, "title": plane.title or plane.name, "sigma": 0.0,
                              "view": "wave" if np.iscomplexobj(array) else "plane"}
    seen = np.full(-(-array.size // 8), 255, np.uint8)
    if np.iscomplexobj(array):
        return Picture(header=header, arrays={"image": np.abs(array), "angle": np.angle(array), "seen": seen}, image=None, geometry=None)
    image = _direct(result, plane, header) if plane.name == result.default else None
    return Picture(header=header, arrays={"image": array.astype(np.float64), "seen": seen}, image=image, geometry=None)


def _direct(result: Result, plane: Plane, header: dict[str, Any]) -> DirectImage | None:
    """The image with its transfer and halves where the result is one of a direct method."""
    images, metrics = result.images, result.metrics
    if not all(name in images for name in (*HALVES, "ctf", "noise")) or images["ctf"].array.shape != plane.array.shape:
        return None
    try:
        beam = Beam.electron(result.calibration.need("energy_eV"))
        edge = result.calibration.need("semiangle_mrad") * 1e-3 / beam.wavelength_A
    except CalibrationError:
        return None
    half = plane.array.shape[1] // 2 + 1
    noise, one, other = (torch.from_numpy(np.asarray(images[name].array)) for name in ("noise", *HALVES))
    header |= {"view": "phase", "sigma": float(noise.double().mean().sqrt()), "aperture_invA": edge, **_dose(metrics)}
    transfer = torch.from_numpy(np.ascontiguousarray(images["ctf"].array[:, :half]))
    return DirectImage(method=str(metrics.get("method", "")), image=torch.from_numpy(np.asarray(plane.array)), halves=(one, other),
                       pitch_A=(float(plane.pitch[0]), float(plane.pitch[1])), ctf=transfer, noise=noise[:, :half],
                       electrons=float(metrics.get("electrons_per_position") or 0.0), pixels=int(metrics.get("detector_pixels") or 0))


def _dose(metrics: Mapping[str, Any]) -> dict[str, float]:
    dose = metrics.get("dose_e_per_A2")
    return {"dose_e_per_A2": float(dose)} if isinstance(dose, int | float) else {}
