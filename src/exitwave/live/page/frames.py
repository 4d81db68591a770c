"""A finished scan on the page, read from the disk as it is looked at: the frame under the cursor, the mean pattern, virtual detectors."""

from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import Dataset4D
from exitwave.flow import MeanPattern, VirtualImages, chunks
from exitwave.live.page.board import Board, Listener, Newest
from exitwave.live.page.picture import Picture, spectrum
from exitwave.live.page.scene import annulus, centre_of, detector_words, pitch_of, pixel_of
from exitwave.live.page.settings import Change, Command, Settings, changed
from exitwave.live.page.wire import packed
from exitwave.live.watch import in_words

KNOBS = ("position", "inner_mrad", "outer_mrad", "centre_y_mrad", "centre_x_mrad")
FIRST_S, EVERY_S = 0.15, 0.3  # after a detector moved: until the image is shown as far as it is, and from then on
LARGEST = 512  # pixels of a pattern's side; larger ones are averaged for the screen


@record
class Asked:
    """A virtual detector, and when it was asked for."""

    settings: Settings
    at: float


class Frames:
    """A scan (Ry, Rx, ky, kx) that is looked at: `exitwave.live.page.server.Shows`. One thread reads the scan for the virtual detector, a block at a
    time, and begins anew where the detector moves; another reads the frame that is asked for. What is kept: an image, a pattern, a block."""

    def __init__(self, data: Dataset4D, alive: np.ndarray | None, name: str, memory_bytes: int) -> None:
        self.data, self.alive, self.name, self.memory_bytes = data, alive, name, memory_bytes
        self.settings = _settings_for(data)
        self.mean: np.ndarray | None = None
        self._board = Board()
        self._passing, self._picking = Newest(self._pass, "scan"), Newest(self._pick, "frame")
        self._part, self._per_second = 0.0, 0.0
        self._status, self._words, self._note, self._notes = "frames", "", "", 0

    def open(self) -> None:
        """Begin to read."""
        self._passing.open()
        self._picking.open()
        self._publish_status()
        self._passing.give(Asked(settings=self.settings, at=monotonic()))

    def close(self) -> None:
        """Read no more."""
        self._passing.close()
        self._picking.close()

    def listen(self, listener: Listener) -> None:
        """Send what there is, and all that comes."""
        self._board.listen(listener)

    def set(self, change: Change) -> None:
        """Move the detector, or ask for a frame (None: the mean pattern).

        Raises:
            InputError: another knob, a position outside the scan, a detector without a pixel.
        """
        other = [name for name in change.values if name not in KNOBS]
        if other:
            raise InputError("frames have no such knob", got=other[0], remedy="`exitwave live` without --browse has methods and optics")
        at, (ry, rx) = change.values.get("position"), self.data.shape[:2]
        if at is not None and not (at[0] < ry and at[1] < rx):
            raise InputError("a position outside the scan", expected=f"below {ry}, {rx}", got=f"{at[0]}, {at[1]}")
        made = changed(self.settings, change.values)
        moved = any(getattr(made, name) != getattr(self.settings, name) for name in KNOBS[1:])
        if moved and not self._mask(made).any():
            raise InputError("no pixel lies inside the virtual detector", remedy="move it or make it larger")
        self.settings = made
        if "position" in change.values:
            self._picking.give(made)
        if moved:
            self._passing.give(Asked(settings=made, at=monotonic()))
        self._publish_status()

    def do(self, command: Command) -> str:
        """Nothing can be done to a scan on the disk.

        Raises:
            InputError: always.
        """
        raise InputError(f"a scan on the disk cannot {command.name}")

    def _mask(self, settings: Settings) -> np.ndarray:
        return annulus(self.data.shape[2:], self.data.calibration, self.alive, settings)

    def _pass(self, asked: Asked) -> None:
        try:
            self._read_all(asked)
        except Exception as error:  # noqa: BLE001 - a disk that fails, for whatever reason, is told to the one who looks
            self._say(in_words(error))

    def _read_all(self, asked: Asked) -> None:
        """One reading of the scan: the image of the detector, and the mean pattern where that is not known yet."""
        shape, frames = self.data.shape, self.data.frames
        detector, mean = VirtualImages(weights=self._mask(asked.settings)[None]), MeanPattern()
        image, sums = detector.start(shape, frames.dtype), mean.start(shape, frames.dtype) if self.mean is None else None
        total, begun, due = shape[0] * shape[1], monotonic(), asked.at + FIRST_S
        frame_bytes = shape[2] * shape[3] * frames.dtype.itemsize
        for chunk in chunks(frames, self.memory_bytes):
            image = detector.add(image, chunk)
            sums = None if sums is None else mean.add(sums, chunk)
            if self._passing.overtaken:
                return
            if monotonic() > due or chunk.stop == total:
                self._part, self._per_second = chunk.stop / total, chunk.stop * frame_bytes / max(1e-9, monotonic() - begun)
                if sums is not None:
                    self._mean_of(mean.view(sums).mean, chunk.stop == total)
                self._show(image[0], chunk.stop, asked.settings)
                due = monotonic() + EVERY_S

    def _mean_of(self, pattern: np.ndarray, whole: bool) -> None:
        if whole:
            self.mean = pattern
        if self.settings.position is None:
            self._board.publish("pattern", packed("pattern", *self._pattern(pattern, None)))

    def _show(self, image: np.ndarray, done: int, settings: Settings) -> None:
        known, shape = self.data.calibration, self.data.shape[:2]
        seen = np.zeros(shape[0] * shape[1], bool)
        seen[:done] = np.isfinite(image.reshape(-1)[:done])
        header: dict[str, Any] = {"reached": done / len(seen), "holes": not bool(seen[:done].all()), "scan": list(shape),
                                  "pitch_A": pitch_of(known), "view": "detector",
                                  "title": detector_words(settings), "pitch_unit": "A" if known.scan_step_x_A.known else "px",
                                  **_unit(known.counts_per_electron.value, self.data.frames.dtype)}
        shown = Picture(header=header, arrays={"image": image.astype(np.float64), "seen": np.packbits(seen)}, image=None, geometry=None)
        self._board.publish("image", packed("image", header, shown.arrays))
        if done == len(seen):
            self._board.publish("spectrum", packed("spectrum", *spectrum(shown)))
        self._publish_status()

    def _pick(self, settings: Settings) -> None:
        """Read the frame that is asked for. Of several that were asked for meanwhile, the newest."""
        try:
            at = settings.position
            if at is None:
                pattern = self.mean
            else:
                index = at[0] * self.data.shape[1] + at[1]
                pattern = np.array(self.data.frames.read(index, index + 1)[0], np.float64)
            if pattern is not None:
                self._board.publish("pattern", packed("pattern", *self._pattern(pattern, at)))
        except Exception as error:  # noqa: BLE001 - as in _pass
            self._say(in_words(error))

    def _pattern(self, pattern: np.ndarray, at: tuple[int, int] | None) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
        """A pattern for the screen, in squares of `by` pixels where it is large."""
        known, by = self.data.calibration, -(-max(pattern.shape) // LARGEST)
        cy, cx = centre_of(known, pattern.shape)
        if by > 1:
            ny, nx = (n // by for n in pattern.shape)
            pattern = pattern[: ny * by, : nx * by].reshape(ny, by, nx, by).mean((1, 3))
            cy, cx = ((c - (by - 1) / 2) / by for c in (cy, cx))
        header = {"pixel_mrad": by * pixel_of(known), "centre_px": [cy, cx], "semiangle_mrad": known.semiangle_mrad.value,
                  "position": None if at is None else list(at), "whole": True, "unit": "counts"}
        return header, {"image": pattern}

    def _say(self, words: str) -> None:
        self._note, self._notes = words, self._notes + 1
        self._publish_status()

    def _publish_status(self) -> None:
        shape, itemsize = self.data.shape, self.data.frames.dtype.itemsize
        header = {"scene": "frames", "name": self.name, "status": self._status, "because": self._words, "busy": "", "note": self._note,
                  "notes": self._notes, "can": [], "part": self._part, "scan": list(shape[:2]), "frame": list(shape[2:]),
                  "bytes": int(np.prod(shape, dtype=np.int64)) * itemsize, "per_second": self._per_second,
                  "settings": {name: getattr(self.settings, name) for name in Settings.__dataclass_fields__}}
        self._board.publish("status", packed("status", header, {}))


def _settings_for(data: Dataset4D) -> Settings:
    """The bright disk where it is known, else the largest circle."""
    outer, edge = data.calibration.semiangle_mrad.value, pixel_of(data.calibration) * min(data.shape[2:]) / 2
    known = outer is not None and data.calibration.detector_mrad.known
    return replace(Settings(view="detector"), outer_mrad=float(outer) if known and outer is not None else edge)


def _unit(gain: float | bool | str | None, dtype: np.dtype[Any]) -> dict[str, Any]:
    """What the values are, and their standard error: that of electrons where one makes one count."""
    if dtype.kind in "ui":
        return {"unit": "e" if gain == 1 else "counts", "sigma": "poisson" if gain == 1 else 0.0}
    return {"unit": "", "sigma": 0.0}
