"""An iterative fit on the page: the phase as it grows, losses, the probe, how far it is, and a button that ends it with what there is."""

from collections.abc import Mapping
from math import isfinite
from time import monotonic
from typing import Any

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.live.page.board import Board, Listener, Newest
from exitwave.live.page.picture import Picture, spectrum
from exitwave.live.page.settings import Change, Command, Settings, changed
from exitwave.live.page.wire import packed
from exitwave.live.watch import in_words
from exitwave.plot.spectra import middle_origin
from exitwave.recon.iterative.result import ScanImage, phase_of, probe_modes, projected, scan_image
from exitwave.recon.iterative.run import Kept, Prepared

PHASE, SLICES = "phase", "slices"
FIGURES = ("loss", "held_out")
SHARE = 5.0  # drawing takes at most one part in so many of the time
STAGE_S = 0.2
DIM = 0.05
MODES = 4  # of the probe that are drawn
LATE_S = 10.0  # to draw what came last, when the work is done


@record
class Moment:
    """A fit after an iteration."""

    prepared: Prepared
    kept: Kept


class Fitting:
    """A fit that is watched: `exitwave.live.page.server.Shows` for whoever runs it. The one who runs it says what it does (`stage`, `begins`,
    `took`, `ended`); a thread draws the newest of it. `took` raises KeyboardInterrupt where a viewer has pressed Stop, as Ctrl-C would there."""

    def __init__(self, name: str) -> None:
        self.name, self.settings = name, Settings(plane=PHASE)
        self._board, self._draw = Board(), Newest(self._drawn, "fit")
        self._prepared: Prepared | None = None
        self._moment: Moment | None = None
        self._image: tuple[Kept, ScanImage] | None = None
        self._stage, self._part, self._said = "", (0, 0), 0.0
        self._status, self._words, self._note, self._notes = "running", "", "", 0
        self._asked = self._fitting = False
        self._last, self._each_s = monotonic(), 0.0

    def open(self) -> None:
        """Begin to draw."""
        self._draw.open()
        self._publish_status()

    def close(self) -> None:
        """Draw what came last, and end."""
        self._draw.settle(LATE_S)
        self._draw.close()
        self._publish_status()

    def listen(self, listener: Listener) -> None:
        """Send what there is, and all that comes."""
        self._board.listen(listener)

    def stage(self, title: str, done: int = 0, total: int = 0) -> None:
        """What is being done, and how much of it: reading, short fits of a search, residuals."""
        fresh = title != self._stage
        self._fitting = self._fitting and not title
        self._stage, self._part = title, (done, total)
        if fresh or monotonic() - self._said > STAGE_S or done == total:
            self._publish_status()

    def begins(self, prepared: Prepared) -> None:
        """The fit itself, from now on."""
        self._prepared, self._fitting, self._last = prepared, True, monotonic()
        self.stage("", 0, 0)

    def took(self, kept: Kept) -> None:
        """An iteration is done.

        Raises:
            KeyboardInterrupt: a viewer has asked for the end.
        """
        self._each_s, self._last = monotonic() - self._last, monotonic()
        if self._prepared is not None:
            self._moment = Moment(prepared=self._prepared, kept=kept)
            self._draw.give(self._moment)
        self._publish_status()
        if self._asked and (self._prepared is None or kept.state.iteration < self._prepared.options.iterations):  # else it is done anyway
            raise KeyboardInterrupt

    def ended(self, status: str, words: str) -> None:
        """All is done: `status` is one of the page's ("complete", "stopped", "broken")."""
        self._fitting, self._stage, self._part = False, "", (0, 0)
        self._status, self._words = status, words
        self._publish_status()

    def set(self, change: Change) -> None:
        """Choose what is drawn: the plane and its layer.

        Raises:
            InputError: another knob, or no such plane or layer.
        """
        other = [name for name in change.values if name not in ("plane", "layer")]
        if other:
            raise InputError("a fit has no knobs while it runs", got=other[0])
        names = [name for name, _ in self._planes()]
        if change.values.get("plane", PHASE) not in names:
            raise InputError("the fit has no such plane", expected=", ".join(names), got=change.values["plane"])
        if (layer := change.values.get("layer")) is not None and not layer < self._layers():
            raise InputError("the fit has no such slice", expected=f"below {self._layers()}", got=layer)
        self.settings = changed(self.settings, change.values)
        if self._moment is not None:
            self._draw.give(self._moment)
        self._publish_status()

    def do(self, command: Command) -> str:
        """End the fit after the iteration under way. A sentence for the one who asked.

        Raises:
            InputError: another command, or no iterations under way.
        """
        if command.name != "stop":
            raise InputError(f"a fit cannot {command.name}")
        if not self._fitting:
            raise InputError("there are no iterations under way", got=self._stage or self._status)
        self._asked = True
        self._publish_status()
        return "stops after this iteration; --resume goes on from there"

    def _drawn(self, moment: Moment) -> None:
        """Draw a moment, and rest as long as leaves the fit its time."""
        begun = monotonic()
        try:
            self._draw_all(moment)
        except Exception as error:  # noqa: BLE001 - a picture that cannot be drawn is nothing to lose a fit for
            self._note, self._notes = in_words(error), self._notes + 1
            self._publish_status()
        if self._fitting:
            self._draw.rest((SHARE - 1) * (monotonic() - begun))

    def _draw_all(self, moment: Moment) -> None:
        s, leaves = moment.prepared.problem.setup, moment.kept.state.leaves
        if self._image is None or self._image[0] is not moment.kept:
            self._image = moment.kept, scan_image(s, phase_of(leaves))
            self._board.publish("probe", packed("probe", *_probe(moment)))
            self._board.publish("history", packed("history", {}, history_of([dict(turn) for turn in moment.kept.history])))
        shown = _picture(self._image[1], self.settings, len(moment.kept.history))
        self._board.publish("image", packed("image", shown.header, shown.arrays))
        self._board.publish("spectrum", packed("spectrum", *spectrum(shown)))

    def _layers(self) -> int:
        return 1 if self._prepared is None else self._prepared.options.slices

    def _planes(self) -> list[list[str]]:
        more = [[SLICES, "slice by slice"]] if self._layers() > 1 else []
        return [[PHASE, "phase, all slices" if more else PHASE], *more]

    def _publish_status(self) -> None:
        self._said = monotonic()
        history = self._moment.kept.history if self._moment is not None else ()
        total = self._prepared.options.iterations if self._prepared is not None else 0
        done, of = (len(history), total) if self._fitting else self._part
        doing = "stopping" if self._asked and self._fitting else self._stage + (f" {done} of {of}" if self._stage and of else "")
        header = {"scene": "fit", "name": self.name, "status": self._status, "because": self._words, "busy": doing, "note": self._note,
                  "notes": self._notes, "can": ["stop"] if self._fitting and not self._asked else [], "part": done / of if of else 0.0,
                  "iteration": len(history), "iterations": total, "each_s": round(self._each_s, 4), "settings": None,
                  "planes": self._planes(), "plane": self.settings.plane, "layers": self._layers(), "layer": self.settings.layer,
                  **{name: float(history[-1][name]) for name in FIGURES if history and isfinite(history[-1].get(name, np.nan))}}
        self._board.publish("status", packed("status", header, {}))


def history_of(turns: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """The figures of all iterations as curves by name."""
    names = [name for name in FIGURES if turns and all(name in turn for turn in turns)]
    return {name: np.array([turn[name] for turn in turns], np.float32) for name in names}


def _picture(image: ScanImage, settings: Settings, iterations: int) -> Picture:
    layers = len(image.slices)
    if settings.plane == SLICES and layers > 1:
        at = layers // 2 if settings.layer is None else settings.layer
        array, title = image.slices[at] - image.slices[at].mean(), f"phase of slice {at + 1} of {layers}"
    else:
        array, title = projected(image), f"phase after {iterations} iteration{'s' * (iterations > 1)}"
    header: dict[str, Any] = {"reached": 1.0, "scan": list(array.shape), "pitch_A": list(image.pitch_A), "unit": "rad", "view": "plane",
                              "title": title, "sigma": 0.0}
    return Picture(header=header, arrays={"image": array, "seen": np.full(-(-array.size // 8), 255, np.uint8)}, image=None, geometry=None)


def _probe(moment: Moment) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
    """The probe's first modes side by side, their zero in the middle, as much of them as is lit; amplitudes on one scale."""
    s = moment.prepared.problem.setup
    modes, shares = probe_modes(s, moment.kept.state.leaves, moment.prepared.problem.terms)
    shown = middle_origin(modes[:MODES].detach().numpy())
    tiles = np.concatenate(list(shown[:, *_lit(np.abs(shown).max(0))]), axis=1)
    return ({"pitch_A": list(s.window.pitch_A), "shares": [float(share) for share in shares[:MODES]]},
            {"image": np.abs(tiles), "angle": np.angle(tiles)})


def _lit(size: np.ndarray) -> tuple[slice, slice]:
    """The part around the middle of an amplitude (y, x) that holds all that is brighter than `DIM` of it, and a fifth more."""
    lit = size > DIM * size.max()
    reach = [np.abs(np.flatnonzero(lit.any(1 - axis)) - n // 2).max(initial=1) for axis, n in enumerate(size.shape)]
    half = [int(1.2 * r) + 2 for r in reach]
    y, x = (slice(max(0, n // 2 - h), min(n, n // 2 + h + 1)) for n, h in zip(size.shape, half, strict=True))
    return y, x
