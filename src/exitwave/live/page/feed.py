"""What a session hands to `exitwave.live.watch`: counts as they are, a stream that can be stopped, a recording that can be switched."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from exitwave.core.errors import ExitwaveError, InputError
from exitwave.data import Chunk, EventChunk, LiveStream
from exitwave.live.page.scene import Scene
from exitwave.live.replay import Through
from exitwave.live.watch import Recording
from exitwave.recon.live import CubeState


class Counts:
    """The cube, whose view is the state itself: looks are copies already."""

    def __init__(self, scene: Scene) -> None:
        self.cube = scene.cube

    def start(self, shape: tuple[int, int, int, int]) -> CubeState:
        return self.cube.start(shape)

    def add(self, state: CubeState, chunk: Any) -> CubeState:
        return self.cube.add(state, chunk)

    def merge(self, left: CubeState, right: CubeState) -> CubeState:
        return self.cube.merge(left, right)

    def copier(self) -> Callable[[CubeState], CubeState]:
        return self.cube.copier()

    def view(self, state: CubeState) -> CubeState:
        return state

    def finish(self, state: CubeState) -> CubeState:
        return state


def stoppable(stream: LiveStream, stop: threading.Event) -> Through:
    """A stream that ends when a person says so."""

    def change(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            if stop.is_set():
                return
            yield chunk

    return Through(stream, change)


class Switch:
    """A recording that is switched on and off while the stream runs. One that fails is over, and `failed` is told the sentence: the next is another.
    `events` counts all that passed, recorded or not."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._lock = threading.Lock()
        self._to: Recording | None = None
        self._close: Callable[[bool], None] = lambda complete: None
        self._failed = failed
        self.where, self.events = "", 0

    def on(self, opened: Callable[[], tuple[Recording, Callable[[bool], None], str]]) -> str:
        """Record to what `opened` gives.

        Raises:
            InputError: there is a recording already, and `opened` is not called; or as `opened`.
        """
        with self._lock:
            if self._to is not None:
                raise InputError(f"already recording to {self.where}")
            self._to, self._close, self.where = opened()
            return f"recording to {self.where}"

    def off(self, complete: bool) -> str:
        """End it, with the mark of a `complete` one or without. A sentence, "" where there is none.

        Raises:
            InputError: what the disk refused; the recording is over.
        """
        with self._lock:
            if self._to is None:
                return ""
            where, self._to, self.where = self.where, None, ""
            self._close(complete)
        return f"recorded to {where}"

    def write(self, chunk: EventChunk) -> None:
        self.events += len(chunk)
        self._try(lambda to: to.write(chunk))

    def flush(self) -> None:
        self._try(lambda to: to.flush())

    def _try(self, work: Callable[[Recording], None]) -> None:
        words = ""
        with self._lock:
            try:
                if self._to is not None:
                    work(self._to)
            except ExitwaveError as error:
                words, self._to, self.where = str(error), None, ""
                with suppress(ExitwaveError):
                    self._close(False)
        if words:
            self._failed(words)


def whole_rows(state: CubeState, scene: Scene) -> int:
    """How many rows of the scan are done, from the first on."""
    seen = state.reach.seen.reshape(scene.shape[:2]).all(1)
    return int(np.argmin(seen)) if not seen.all() else len(seen)
