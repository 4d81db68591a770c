"""Finished results on the same page, one or a folder that fills: planes and layers one by one, spectra and curves of the phase."""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import isfinite
from typing import Any

import numpy as np
import torch

from exitwave.core import Beam
from exitwave.core.errors import CalibrationError, ExitwaveError, InputError
from exitwave.io import read_result
from exitwave.io.nexus import Plane
from exitwave.io.results import Result
from exitwave.io.store import reading
from exitwave.live.page.board import Board, Listener, Newest
from exitwave.live.page.picture import Picture, spectrum
from exitwave.live.page.settings import Change, Command, Settings, changed
from exitwave.live.page.wire import packed
from exitwave.live.watch import in_words
from exitwave.plot.spectra import middle_origin
from exitwave.recon.direct.image import DirectImage

ENDINGS = (".h5", ".hdf5", ".nxs", ".zarr")
FOLDER_S = 1.0
HALVES = ("half_a", "half_b")
Found = tuple[str, float]  # where a file is, and when it was changed last


class Browsing:
    """Results that are looked at: `exitwave.live.page.server.Shows` without a stream. `find` names the files there are; where more may come
    (`every_s`: how often it is looked for them) the newest is shown until a person chooses one. Files are read and drawn by a thread of their own."""

    def __init__(self, find: Callable[[], Mapping[str, Found]], name: str, every_s: float | None = None) -> None:
        self.find, self.name, self.every_s = find, name, every_s
        self.settings = Settings()
        self.result: Result | None = None
        self.files: Mapping[str, Found] = {}
        self._board, self._drawing = Board(), Newest(self._draw, "result")
        self._ended, self._looking = threading.Event(), threading.Thread(target=self._look, name="exitwave-page-folder", daemon=True)
        self._shown, self._at, self._away, self._note, self._notes = "", 0.0, "", "", 0

    def open(self) -> None:
        """Begin to read."""
        self._drawing.open()
        self._found()
        if self.every_s is not None:
            self._looking.start()

    def close(self) -> None:
        """Read no more."""
        self._ended.set()
        self._drawing.close()
        if self._looking.is_alive():
            self._looking.join(timeout=5.0)

    def listen(self, listener: Listener) -> None:
        """Send what there is, and what is chosen later."""
        self._board.listen(listener)

    def set(self, change: Change) -> None:
        """Choose a file, a plane, a layer of a stack.

        Raises:
            InputError: there is none of this name, or another knob: a result is what it is.
        """
        other = [name for name in change.values if name not in ("file", "plane", "layer")]
        if other:
            raise InputError("a finished result has no knobs", got=other[0], remedy="`exitwave live` with the scan it was made from has them")
        if "file" in change.values and change.values["file"] not in self.files:
            raise InputError("there is no such result", expected=", ".join(list(self.files)[:8]), got=change.values["file"])
        images = self.result.images if self.result is not None else {}
        if "file" not in change.values and change.values.get("plane", None) not in (None, *images):
            raise InputError("the result has no such plane", expected=", ".join(images), got=change.values["plane"])
        self.settings = changed(self.settings, {"layer": None, **change.values} if "plane" in change.values else change.values)
        self._drawing.give(self.settings)

    def do(self, command: Command) -> str:
        """Nothing can be done to a result.

        Raises:
            InputError: always.
        """
        raise InputError(f"a finished result cannot {command.name}")

    def _look(self) -> None:
        while not self._ended.wait(self.every_s):
            self._found()

    def _found(self) -> None:
        """See which files there are; draw where there is another newest one and nobody has chosen, or one was written anew."""
        before, away = self.files, ""
        try:
            self.files = dict(self.find())
        except OSError as error:  # a folder that is gone, or on a disk that is away, may come back
            self.files, away = {}, in_words(error)
        if away and away != self._away:
            self._note, self._notes = away, self._notes + 1
        self._away = away
        if self.files != before or not self._board.latest:
            self._drawing.give(self.settings)

    def _draw(self, settings: Settings) -> None:
        try:
            self._read(settings.file or next(reversed(list(self.files)), ""))
            self._publish(settings)
        except Exception as error:  # noqa: BLE001 - a file that is damaged, or gone, is told; the page goes on with others
            self._note, self._notes = in_words(error), self._notes + 1
            self._publish_status(settings)

    def _read(self, name: str) -> None:
        files = self.files
        if name in files:
            path, at = files[name]
            if (name, at) != (self._shown, self._at):
                self.result, self._shown, self._at = read_result(path), name, at
        elif name and name != self._shown:
            raise InputError(f"{name} is no longer there")

    def _publish(self, settings: Settings) -> None:
        self._publish_status(settings)
        if self.result is None:
            return
        plane = _plane(self.result, settings)
        shown = picture_of(self.result, plane, settings.layer)
        self._board.publish("image", packed("image", shown.header, shown.arrays))
        turns = self.result.model.get("history", {})
        curves = {name: np.asarray(turns[name], np.float32) for name in ("loss", "held_out") if name in turns}
        self._board.publish("history", packed("history", {}, curves))
        drawn = plane.pitch_unit == "A" and not np.iscomplexobj(plane.array)
        with suppress(ExitwaveError):
            self._board.publish("spectrum", packed("spectrum", *(spectrum(shown) if drawn else ({}, {}))))

    def _publish_status(self, settings: Settings) -> None:
        result, header = self.result, {"scene": "result", "name": self.name, "status": "result", "because": "", "note": self._note,
                                       "notes": self._notes, "busy": "", "recording": "", "can": [], "settings": None}
        if self.every_s is not None:
            header |= {"status": "folder", "files": [[name, name] for name in reversed(list(self.files))], "file": self._shown}
        if result is not None:
            plane = _plane(result, settings)
            layers = len(plane.depth_A)
            header |= {"planes": [[name, one.title or name] for name, one in result.images.items()], "plane": plane.name, "layers": layers,
                       "layer": None if settings.layer is None else max(0, _layer(layers, settings.layer)),
                       **({"depth_A": plane.depth_A[_layer(layers, settings.layer)]} if layers else {})}
        self._board.publish("status", packed("status", header, {}))


def is_result(path: str) -> bool:
    """Whether there is a result of the package at a path."""
    if not os.path.exists(path) or not path.endswith(ENDINGS):
        return False
    try:
        with reading(path, ("entry/title",)) as root:
            return root.attrs.get("exitwave_kind") == "result" and "entry" in root
    except (ExitwaveError, OSError):
        return False


def browsed(path: str) -> Browsing:
    """A result for the page."""
    name = os.path.basename(path)
    return Browsing(lambda: {name: (path, 0.0)}, name)


def folder_of(path: str) -> Browsing:
    """The results in a folder, and those that a batch of jobs still writes into it."""
    known: dict[str, tuple[float, bool]] = {}  # by name: when it was changed last, and whether it is a result

    def find() -> Mapping[str, Found]:
        found = {}
        for name in os.listdir(path):
            if name.startswith("."):  # what is still being written
                continue
            where = os.path.join(path, name)
            try:
                changed_at = os.path.getmtime(where)
            except OSError:
                continue
            if name not in known or known[name][0] != changed_at:
                known[name] = changed_at, is_result(where)
            if known[name][1]:
                found[name] = changed_at
        return {name: (os.path.join(path, name), found[name]) for name in sorted(found, key=lambda name: (found[name], name))}

    return Browsing(find, os.path.basename(os.path.abspath(path)), FOLDER_S)


def _plane(result: Result, settings: Settings) -> Plane:
    """The plane that is asked for, the main one where this result has none of the name."""
    return result.images.get(settings.plane or result.default, result.images[result.default])


def _layer(layers: int, asked: int | None) -> int:
    return min(layers - 1, layers // 2 if asked is None else asked)


def picture_of(result: Result, plane: Plane, layer: int | None = None) -> Picture:
    """A plane as the page draws it: a complex one as a wave, a Fourier plane with its zero in the middle, of a stack one layer (None: the middle)."""
    array = plane.array[_layer(len(plane.array), layer)] if plane.depth_A else plane.array
    if plane.pitch_unit == "1/A":
        array = middle_origin(array)
    whole = np.isfinite(array)
    header: dict[str, Any] = {"reached": 1.0, "holes": not bool(whole.all()), "scan": list(array.shape), "pitch_A": [float(p) for p in plane.pitch],
                              "pitch_unit": plane.pitch_unit,
                              "unit": plane.unit, "title": plane.title or plane.name, "sigma": 0.0, **_dose(result.metrics),
                              "view": "wave" if np.iscomplexobj(array) else "plane"}
    seen = np.packbits(whole)
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
    header |= {"view": "phase", "sigma": sigma if isfinite(sigma := float(noise.double().mean().sqrt())) else 0.0, "aperture_invA": edge}
    transfer = torch.from_numpy(np.ascontiguousarray(images["ctf"].array[:, :half]))
    return DirectImage(method=str(metrics.get("method", "")), image=torch.from_numpy(np.asarray(plane.array)), halves=(one, other),
                       pitch_A=(float(plane.pitch[0]), float(plane.pitch[1])), ctf=transfer, noise=noise[:, :half],
                       electrons=float(metrics.get("electrons_per_position") or 0.0), pixels=int(metrics.get("detector_pixels") or 0))


def _dose(metrics: Mapping[str, Any]) -> dict[str, float]:
    dose = metrics.get("dose_e_per_A2")
    return {"dose_e_per_A2": float(dose)} if isinstance(dose, int | float) and isfinite(dose) else {}
