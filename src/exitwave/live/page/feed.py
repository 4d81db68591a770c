"""What a session hands to `exitwave.live.watch`: counts as they are, a stream that can be stopped, a recording that can be switched."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from exitwave.core.errors import InputError
from exitwave.data import EventChunk, LiveStream
from exitwave.live.page.scene import Scene
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

    def view(self, state: CubeState) -> CubeState:
        return state

    def finish(self, state: CubeState) -> CubeState:
        return state


class Stopped:
    """A stream that ends when a person says so."""

    def __init__(self, stream: LiveStream, stop: threading.Event) -> None:
        self.stream, self.stop = stream, stop

    @property
    def frame(self) -> tuple[int, int]:
        return self.stream.frame

    @property
    def scan(self) -> tuple[int, int] | None:
        return self.stream.scan

    @property
    def rejected(self) -> Mapping[str, int]:
        return self.stream.rejected

    def chunks(self) -> Any:
        for chunk in self.stream.chunks():
            if self.stop.is_set():
                return
            yield chunk


class Switch:
    """A recording that is switched on and off while the stream runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._to: Recording | None = None
        self._close: Callable[[bool], None] = lambda complete: None
        self.where, self.events = "", 0

    def on(self, to: Recording, close: Callable[[bool], None], where: str) -> str:
        with self._lock:
            if self._to is not None:
                close(False)
                raise InputError(f"already recording to {self.where}")
            self._to, self._close, self.where = to, close, where
        return f"recording to {where}"

    def off(self, complete: bool) -> str:
        with self._lock:
            if self._to is None:
                return ""
            where, self._to, self.where = self.where, None, ""
            self._close(complete)
        return f"recorded to {where}"

    def write(self, chunk: EventChunk) -> None:
        with self._lock:
            self.events += len(chunk)
            if self._to is not None:
                self._to.write(chunk)

    def flush(self) -> None:
        with self._lock:
            if self._to is not None:
                self._to.flush()


def whole_rows(state: CubeState, scene: Scene) -> int:
    """How many rows of the scan are done, from the first on."""
    seen = state.reach.seen.reshape(scene.shape[:2]).all(1)
    return int(np.argmin(seen)) if not seen.all() else len(seen)
