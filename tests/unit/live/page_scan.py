"""A small scan with a session on it, and a server on a port of its own, for the tests of the live page."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.data import Calibration, Chunk, FrameChunk, Quantity
from exitwave.live.page import Doing, Scene, Session, Settings, guard_of, scene_of, settings_for
from exitwave.live.page.guard import Ticket
from exitwave.live.page.wire import unpacked

SHAPE = (11, 14, 9, 10)
TOKEN = "a-token-for-tests-only"


def told(value: float | bool) -> Quantity:
    return Quantity(value=value, source="given")


CALIBRATION = Calibration(
    energy_eV=told(200e3), semiangle_mrad=told(10.0), scan_step_y_A=told(0.7), scan_step_x_A=told(0.8), detector_mrad=told(3.0),
    centre_y_px=told(4.2), centre_x_px=told(4.4), rotation_deg=told(17.0), transpose=told(True), counts_per_electron=told(1.0),
    aberrations={"C10_A": told(-90.0), "C30_A": told(1e5)},
)


def counts(seed: int = 5) -> np.ndarray:
    """(Ry, Rx, ky, kx): no two axes alike."""
    rng = np.random.default_rng(seed)
    y, x, v, u = (np.arange(n) for n in SHAPE)
    mean = 3 + np.sin(0.9 * y)[:, None, None, None] + np.cos(0.5 * x)[:, None, None] * (v / 9)[:, None] + 0.1 * u
    made: np.ndarray = rng.poisson(mean).astype(np.uint16)
    return made


def scene(memory_bytes: int = 2**28) -> Scene:
    return scene_of(CALIBRATION, SHAPE, None, memory_bytes)


class Scan:
    """A stream of the counts, row by row; each row waits until `go` is set, and after `fails` rows the source breaks off."""

    frame, scan = SHAPE[2:], SHAPE[:2]

    def __init__(self, fails: int | None = None) -> None:
        self.go, self.fails = threading.Event(), fails
        self.rows = SHAPE[0]

    @property
    def rejected(self) -> Mapping[str, int]:
        return {}

    def chunks(self) -> Iterator[Chunk]:
        columns, data = SHAPE[1], counts().reshape(-1, *SHAPE[2:])
        for row in range(SHAPE[0]):
            while not (self.go.is_set() or row < self.rows):
                sleep(0.005)
                yield FrameChunk(position=np.zeros(0, np.int32), frames=np.zeros((0, *SHAPE[2:]), np.uint16))
            if row == self.fails:
                raise FormatError("the detector was switched off")
            yield FrameChunk(position=np.arange(row * columns, (row + 1) * columns, dtype=np.int32), frames=data[row * columns : (row + 1) * columns])


class Heard:
    """The last message of each kind, and how many there were."""

    def __init__(self) -> None:
        self.last: dict[str, bytes] = {}
        self.number: dict[str, int] = {}

    def __call__(self, kind: str, message: bytes) -> None:
        self.last[kind], self.number[kind] = message, self.number.get(kind, 0) + 1

    def header(self, kind: str) -> dict[str, Any]:
        return unpacked(self.last[kind])[0] if kind in self.last else {}

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        return unpacked(self.last[kind])[1]


def until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    end = monotonic() + seconds
    while not true():
        if monotonic() > end:
            raise TimeoutError("what was waited for did not happen")
        sleep(0.01)


@contextmanager
def session(scan: Scan, settings: Settings | None = None, **doing: Any) -> Iterator[tuple[Session, Heard]]:
    """A session at work."""
    place = scene()
    made = Session(place, settings or settings_for(place, "ssb", 1), Doing(reopen=lambda: scan, **doing), "a scan")
    heard = Heard()
    made.listen(heard)
    made.open()
    try:
        yield made, heard
    finally:
        scan.go.set()
        made.close()


@contextmanager
def served(shows: Any, ticket: Ticket | None = None) -> Iterator[int]:
    """A server of the page at work; its port."""
    from exitwave.live.page.server import server_of

    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = int(bound.getsockname()[1])
        server = server_of(shows, guard_of("127.0.0.1", port, TOKEN), "127.0.0.1", port, ticket)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(timeout=10)
