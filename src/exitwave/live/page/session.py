"""One scan watched by any number of viewers: plain threads add up and render, listeners get messages."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

import numpy as np

from exitwave.core import record
from exitwave.core.errors import ExitwaveError, InputError
from exitwave.data import LiveStream
from exitwave.live.page.board import Board, Listener
from exitwave.live.page.feed import Counts, Switch, stoppable
from exitwave.live.page.picture import Picture, detected, pattern, pictured, spectrum
from exitwave.live.page.scene import Scene, unknown
from exitwave.live.page.settings import Change, Command, Settings, changed
from exitwave.live.page.wire import packed
from exitwave.live.watch import EARLY, Ended, Look, Recording, in_words, watch
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.live import CubeState, ended
from exitwave.recon.live.growing import Growing

EVERY_S = 0.05  # between looks at most; rendering sets the pace
STATUS_S = 0.25
SIDE_SHARE = 4.0  # spectra and curves take at most one part in five of the time
SIDE_S = 0.4
COUNTS = "counts"


@record
class Snapshot:
    """What is saved: the image as it is shown, what made it, the counts, and how far the scan was."""

    image: DirectImage
    geometry: Geometry
    settings: Settings
    scene: Scene
    state: CubeState
    events: int
    frames: int
    seconds: float
    status: str


@record
class Doing:
    """What a session can do beside looking: open the stream anew, save a snapshot and say where, open a recording, measure the optics from the
    counts. None: it cannot."""

    reopen: Callable[[], LiveStream]
    save: Callable[[Snapshot], str] | None = None
    record: Callable[[], tuple[Recording, Callable[[bool], None], str]] | None = None
    calibrate: Callable[[Scene, CubeState, Settings], tuple[Mapping[str, Any], str]] | None = None


class Session:
    """A stream, its counts and the settings. One thread watches (`exitwave.live.watch`), one renders, one at a time calibrates or saves.

    Listeners are called with a kind ("image", "pattern", "spectrum", "detector", "status") and a message, each of which replaces the one of the same
    kind before it. They are to return at once.
    """

    def __init__(self, scene: Scene, settings: Settings, doing: Doing, name: str) -> None:
        self.scene, self.settings, self.doing, self.name = scene, settings, doing, name
        self._board = Board()
        self._lock, self._asked = threading.Condition(), threading.Lock()  # of what is shown; of who begins something
        self._state: CubeState | None = None
        self._fresh = self._closing = False
        self._version = 0
        self._status, self._words, self._note, self._notes = "waiting", "", "", 0
        self._told: dict[str, Any] = {"events": 0, "frames": 0, "seconds": 0.0, "waiting_bytes": 0, "per_second": 0.0, "rejected": {}}
        self._shown: Picture | None = None
        self._costs = {"render_s": 0.0, "side_s": 0.0}
        self._stop, self._growing = threading.Event(), Growing()
        self._recording = Switch(lambda words: self._say(f"the recording is over: {words}"))
        self._busy = ""
        self._threads: dict[str, threading.Thread] = {}

    @property
    def latest(self) -> dict[str, bytes]:
        """The newest message of each kind."""
        return self._board.latest

    def listen(self, listener: Listener) -> None:
        """Send what there is, and all that comes."""
        self._board.listen(listener)

    def open(self) -> None:
        """Begin to watch and to render."""
        self._run("render", self._render)
        self.do(Command(name="start"))

    def close(self) -> None:
        """End all threads; a recording is closed."""
        self._stop.set()
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        for thread in list(self._threads.values()):
            thread.join(timeout=5.0)
        with suppress(ExitwaveError):
            self._recording.off(complete=False)

    @property
    def told(self) -> Mapping[str, Any]:
        """Counts so far: "events", "frames", "seconds", "per_second", "waiting_bytes", "rejected"."""
        return self._told

    def set(self, change: Change) -> None:
        """Turn knobs.

        Raises:
            InputError: settings that do not go together, or a position outside the scan.
        """
        at, (ry, rx) = change.values.get("position"), self.scene.shape[:2]
        if at is not None and not (at[0] < ry and at[1] < rx):
            raise InputError("a position outside the scan", expected=f"below {ry}, {rx}", got=f"{at[0]}, {at[1]}")
        with self._lock:
            self.settings = changed(self.settings, change.values)
            self._version += 1
            self._lock.notify_all()

    def do(self, command: Command) -> str:
        """Carry a command out, or begin to. A sentence for the one who asked, or "".

        Raises:
            InputError: it cannot be done now.
        """
        if command.name == "start":
            with self._asked:
                return self._start()
        if command.name == "stop":
            self._stop.set()
            return ""
        if command.name == "record":
            return self._record(command.on)
        with self._asked:
            return self._begin(command.name, self._save if command.name == "save" else self._calibrate)

    def _start(self) -> str:
        if (watching := self._threads.get("watch")) is not None and watching.is_alive():
            raise InputError("the stream is being watched already")
        self._stop = threading.Event()
        self._run("watch", self._watch)
        return ""

    def _record(self, on: bool) -> str:
        if not on:
            return self._recording.off(complete=True)
        if self.doing.record is None:
            raise InputError("a recording holds events, and this source sends frames")
        return self._recording.on(self.doing.record)

    def _begin(self, name: str, work: Callable[[], str]) -> str:
        if self._busy:
            raise InputError(f"still busy: {self._busy}")

        def run() -> None:
            try:
                self._say(work())
            except Exception as error:  # noqa: BLE001 - the one who asked is told, whatever it is
                self._say(f"{name}: {in_words(error)}")
            finally:
                self._busy = ""
                self._publish_status()

        self._busy = {"save": "saving", "calibrate": "calibrating"}[name]
        self._run(name, run)
        self._publish_status()
        return ""

    def _save(self) -> str:
        """Made anew from one moment's counts and knobs: what is on the screen may be a turn behind."""
        with self._lock:
            state, told, settings, status = self._state, dict(self._told), replace(self.settings, view="phase"), self._status
        if self.doing.save is None:
            raise InputError("there is no place to save to")
        if state is None:
            raise InputError("there is nothing to save yet")
        made = pictured(self.scene, state, settings)
        if made.image is None or made.geometry is None:
            raise InputError("there is no phase image to save")
        return "saved as " + self.doing.save(Snapshot(image=made.image, geometry=made.geometry, settings=settings, scene=self.scene, state=state,
                                                      events=told["events"], frames=told["frames"], seconds=told["seconds"], status=status))

    def _calibrate(self) -> str:
        state = self._state
        if self.doing.calibrate is None or state is None:
            raise InputError("there are no counts to calibrate from yet")
        values, words = self.doing.calibrate(self.scene, state, self.settings)
        self.set(Change(values=values))
        return words

    def _watch(self) -> None:
        self._became("running", "")
        try:
            self._told |= {"rejected": {}}
            made = watch(stoppable(self.doing.reopen(), self._stop), {COUNTS: Counts(self.scene)}, self.scene.shape, every_s=EVERY_S,
                         show=self._looked, recording=self._recording, looks_on_one_thread=False)
        except Exception as error:  # noqa: BLE001 - a page that says "running" for ever helps nobody
            self._became("broken", in_words(error))
            return
        self._finished(made)

    def _finished(self, made: Ended) -> None:
        status = "stopped" if made.status == "complete" and self._stop.is_set() else made.status
        state = made.states[COUNTS]
        self._recorded(status == "complete")
        with self._lock:
            if made.events or made.frames:
                self._state, self._fresh = ended(state) if status == "complete" else state, True
            self._told |= {"events": made.events, "frames": made.frames, "seconds": made.seconds, "waiting_bytes": 0, "per_second": 0.0,
                           "rejected": {why: n for why, n in made.rejected.items() if why not in EARLY}}
            self._lock.notify_all()
        self._became(status, "it ended in the middle, without saying so" if made.because in EARLY else made.because)

    def _recorded(self, complete: bool) -> None:
        """A recording ends with its scan: the next one would be added on top of it."""
        try:
            words = self._recording.off(complete)
        except ExitwaveError as error:
            words = f"the recording is over: {error}"
        if words:
            self._say(words)

    def _looked(self, look: Look) -> None:
        """Hand a look to the thread that renders, and wait until it takes it: no copy is made that nobody sees."""
        with self._lock:
            counts, before = look.events or look.frames, self._told
            passed = look.seconds - before["seconds"]
            rate = (counts - (before["events"] or before["frames"])) / passed if passed > 0 else 0.0
            smooth = rate if not before["per_second"] or passed < 0 else before["per_second"] + (rate - before["per_second"]) * min(1.0, passed)
            self._told = {"events": look.events, "frames": look.frames, "seconds": look.seconds, "waiting_bytes": look.waiting_bytes,
                          "per_second": max(0.0, smooth), "rejected": dict(look.rejected)}
            if counts:
                self._state, self._fresh = look.views[COUNTS], True
            self._lock.notify_all()
            self._lock.wait_for(lambda: not self._fresh or self._closing or self._stop.is_set(), timeout=2.0)

    def _render(self) -> None:
        """Until the session closes: what is newest, as quickly as it can be made."""
        version, side_due, status_due = -1, 0.0, 0.0
        while True:
            with self._lock:
                self._lock.wait_for(partial(self._has_news, version), timeout=STATUS_S)
                if self._closing:
                    return
                state, settings, work = self._state, self.settings, self._fresh or self._version != version
                turned, version, self._fresh = self._version != version, self._version, False
                self._lock.notify_all()
            if state is not None and (work or (self._shown is not None and side_due > 0)):
                side_due = self._draw(state, settings, work, turned, side_due)
            if monotonic() >= status_due or turned:
                self._publish_status()
                status_due = monotonic() + STATUS_S

    def _has_news(self, version: int) -> bool:
        return self._fresh or self._version != version or self._closing

    def _draw(self, state: CubeState, settings: Settings, work: bool, turned: bool, side_due: float) -> float:
        """Draw the big image, and the others where it is their turn. When that is next, 0: they are up to date."""
        begun = monotonic()
        try:
            if work:
                made = pictured(self.scene, state, settings, self._growing)
                self._shown, self._words = made, self._words if self._status == "broken" else ""
                self._costs["render_s"] = monotonic() - begun
                self._publish("image", packed("image", made.header, made.arrays))
            if monotonic() < side_due and not (turned and self._costs["side_s"] < SIDE_S):
                return side_due
            begun = monotonic()
            self._draw_sides(state, settings)
            self._costs["side_s"] = monotonic() - begun
            return 0.0 if not work else monotonic() + max(SIDE_S, SIDE_SHARE * self._costs["side_s"])
        except Exception as error:  # noqa: BLE001 - the page goes on with other counts and knobs, whatever these did
            self._say(in_words(error))
            return 0.0

    def _draw_sides(self, state: CubeState, settings: Settings) -> None:
        self._publish("pattern", packed("pattern", *pattern(self.scene, state, settings)))
        if self._shown is not None:
            self._publish("spectrum", packed("spectrum", *spectrum(self._shown)))
        if settings.view != "detector":
            with suppress(InputError):  # an empty detector has no image
                image, seen = detected(self.scene, state, settings), np.packbits(state.reach.seen)
                self._publish("detector", packed("detector", {"scan": list(self.scene.shape[:2])}, {"image": image, "seen": seen}))

    def _publish(self, kind: str, message: bytes) -> None:
        self._board.publish(kind, message)

    def _publish_status(self) -> None:
        with self._lock:
            header = {"name": self.name, "status": self._status, "because": self._words, "note": self._note, "notes": self._notes, "busy": self._busy,
                      "recording": self._recording.where, **self._told, **{name: round(s, 4) for name, s in self._costs.items()},
                      "scan": list(self.scene.shape[:2]), "frame": list(self.scene.shape[2:]), "whole": self.scene.whole, "lacks": self.scene.lacks,
                      "unknown": unknown(self.scene, self.settings),
                      "can": [name for name in ("save", "record", "calibrate") if getattr(self.doing, name) is not None],
                      "settings": {name: getattr(self.settings, name) for name in Settings.__dataclass_fields__}}
        self._publish("status", packed("status", header, {}))

    def _became(self, status: str, words: str) -> None:
        self._status, self._words = status, words
        self._publish_status()

    def _say(self, words: str) -> None:
        """A word to all who look. It stays in the status, with its number, until the next: a message that is replaced takes nothing with it."""
        self._note, self._notes = words, self._notes + 1
        self._publish_status()

    def _run(self, name: str, work: Callable[[], None]) -> None:
        self._threads[name] = threading.Thread(target=work, name=f"exitwave-page-{name}", daemon=True)
        self._threads[name].start()
