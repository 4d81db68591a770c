"""The live page at work: images a second at a browser's end, knobs, slow viewers, memory, and malformed messages by the hundred thousand."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

import numpy as np

from exitwave.bench.process import status_bytes
from exitwave.bench.registry import Options, Row
from exitwave.core.errors import ExitwaveError, InputError
from exitwave.core.seeds import generator_at
from exitwave.core.threads import set_threads
from exitwave.data import Calibration, EventChunk, Quantity
from exitwave.live.page import Change, Doing, Scene, Session, guard_of, scene_of, settings_for
from exitwave.live.page.picture import pictured
from exitwave.live.page.settings import message_of
from exitwave.live.page.wire import unpacked
from exitwave.recon.live import CubeState

SCAN, FRAME, EVENTS_PER_S, SECONDS, CHUNK = (256, 256), (32, 32), 5e6, 60, 2**16
TURNS, SLOW_S, FUZZED = 8, 1.0, 100_000
METHODS = ("ssb", "parallax", "obf")
WRONG = ('"', "{", "}", "[", "]", ":", "1e999", "\\u0000", "é", "null", "-")
TOKEN = "a-token-for-benchmarks-only"
COUNTED = (
    "256 x 256 positions, about 530 pixels in the bright disk (all 1024 are counted), events at the rate that is named, one process for stream, "
    "images and server, another for each of two viewers, one of whom draws once a second. image_s: mean time between images at the other one's end "
    "while the scan runs; refocus_s: median (and largest) time from a turned knob to its exact image at the viewer's end; "
    "anonymous_bytes: the process's own memory after a fifth of the time and at the end"
)


class Endless:
    """Events at a rate: the beam goes over the scan once in so many seconds, electrons fall anywhere on the bright disk."""

    frame, scan = FRAME, SCAN

    def __init__(self, per_s: float, seconds: float) -> None:
        self.per_s, self.seconds = per_s, seconds
        y, x = np.indices(FRAME)
        inside = np.flatnonzero(np.hypot(y - 15.5, x - 15.5) <= 13)
        self.pixels = generator_at(1, 0).choice(inside, 2**22).astype(np.int32)

    @property
    def rejected(self) -> Mapping[str, int]:
        """Nothing is."""
        return {}

    def chunks(self) -> Iterator[EventChunk]:
        """Chunks when their time has come, as many as fit into it."""
        begun, done, total = monotonic(), 0, int(self.per_s * self.seconds)
        cells = SCAN[0] * SCAN[1]
        while done < total:
            ready = min(total, int((monotonic() - begun) * self.per_s))
            if ready - done < CHUNK and ready < total:
                sleep(0.002)
                continue
            stop = min(done + CHUNK, total)
            first = done % (len(self.pixels) - CHUNK)
            where = np.arange(done, stop, dtype=np.int64) * cells // total
            yield EventChunk(position=where.astype(np.int32), pixel=self.pixels[first : first + stop - done])
            done = stop


def rows(options: Options) -> list[Row]:
    """A row for each method, then the malformed messages; `runs` is the seconds of each method."""
    set_threads(options.threads)
    seconds = float(options.runs or SECONDS)
    return [watched(method, seconds, EVENTS_PER_S) for method in METHODS] + [fuzzed(FUZZED)]


def watched(method: str, seconds: float, per_s: float) -> Row:
    """A scan watched by one viewer, then by a slow one too, then refocused while it goes on."""
    place = scene_of(_calibration(), (*SCAN, *FRAME), None, 2**31)
    settings = settings_for(place, method, 1)
    pictured(place, _few(place), settings)  # compiled, and weighed for the first time
    session = Session(place, settings, Doing(reopen=lambda: Endless(per_s, seconds)), "benchmark")
    with _served(session) as port, _viewer(port, 0.0, 0.95 * seconds) as quick, _viewer(port, SLOW_S, 0.6 * seconds) as slow:
        session.open()
        begun = monotonic()
        sleep(0.2 * seconds)
        early = status_bytes(os.getpid(), "RssAnon")
        sleep(0.5 * seconds)
        turned = _turned(session, 0.25 * seconds)
        late, status = status_bytes(os.getpid(), "RssAnon"), dict(session.told)
        got, held = (json.loads(one.communicate(timeout=60.0 + seconds)[0].splitlines()[-1]) for one in (quick, slow))
        session.close()
    after = {value: at for at, value in reversed(got)}
    delays = [after[value] - at for value, at in turned if value in after]
    return {
        "case": f"live page, {method}, {per_s / 1e6:g} M events/s asked", "image_s": _interval(got, begun + 0.05 * seconds, begun + 0.68 * seconds),
        "slow_images": len(held), "refocus_s": median(delays) if delays else None, "refocus_most_s": max(delays, default=None),
        "refocus_turns": len(delays), "events_per_s": status["events"] / max(status["seconds"], 1e-9), "waiting_bytes": status["waiting_bytes"],
        "seconds": seconds, "anonymous_bytes": [early, late], "counted": COUNTED,
    }


def _few(place: Scene) -> CubeState:
    """A first row of events."""
    pixel = np.arange(FRAME[0] * FRAME[1], dtype=np.int32)
    return place.cube.add(place.cube.start(place.shape), EventChunk(position=(pixel % SCAN[1]).astype(np.int32), pixel=pixel))


@contextmanager
def _viewer(port: int, rest_s: float, seconds: float) -> Iterator["subprocess.Popen[str]"]:
    """A viewer that is connected."""
    command = [sys.executable, str(Path(__file__).with_name("page_viewer.py")), str(port), TOKEN, str(rest_s), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise InputError("the viewer of the benchmark did not start")
            yield process
        finally:
            process.kill()


def _turned(session: Session, seconds: float) -> list[tuple[float, float]]:
    """Turn the defocus a few times; each value and when."""
    made = []
    for turn in range(TURNS):
        value = -150.0 - 7.0 * turn
        made.append((value, monotonic()))
        session.set(Change(values={"C10_A": value}))
        sleep(seconds / TURNS)
    return made


def _interval(seen: Sequence[tuple[float, float]], start: float, stop: float) -> float | None:
    """The mean time from one image to the next."""
    inside = [at for at, _ in seen if start <= at <= stop]
    return (inside[-1] - inside[0]) / (len(inside) - 1) if len(inside) > 1 else None


def fuzzed(many: int) -> Row:
    """So many malformed messages at the parser and, over connections that the server closes when it has had enough, at the server itself."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    draw, refused, sent, links = random.Random(3), 0, 0, 0
    for _ in range(many):
        try:
            message_of(malformed(draw))
        except ExitwaveError:
            refused += 1
    place = scene_of(_calibration(), (*SCAN, *FRAME), None, 2**31)
    session = Session(place, settings_for(place, "ssb", 1), Doing(reopen=lambda: Endless(1e5, 1.0)), "benchmark")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    begun = monotonic()
    with _served(session) as port:
        while sent < many:
            links += 1
            with suppress(ConnectionClosed, TimeoutError), connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers, compression=None) as link:
                while sent < many:
                    link.send(malformed(draw).encode("utf-8", "replace").decode("utf-8", "replace"))
                    sent += 1
        session.open()
        with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers, compression=None, max_size=2**25) as link:
            alive = any(_is_image(link) for _ in range(200))
        session.close()
    return {"case": "malformed messages", "parsed": many, "refused": refused, "sent": sent, "connections": links, "server_alive": alive,
            "seconds": monotonic() - begun}


def _is_image(link: Any) -> bool:
    got = link.recv(timeout=20.0)
    if isinstance(got, str):
        link.send('{"type":"shown"}')
        return False
    return bool(unpacked(got)[0]["kind"] == "image")


def malformed(draw: random.Random) -> str:
    """A message of the page with something wrong in it, most of the time."""
    sound = json.dumps(draw.choice([{"type": "set", "settings": {"C10_A": draw.uniform(-1e9, 1e9)}}, {"type": "record", "on": draw.choice([1, None])},
                                    {"type": "set", "settings": {draw.choice(["position", "method", "view", "x"]): [draw.randint(-9, 9)] * 2}}]))
    text = list(sound)
    for _ in range(draw.randint(1, 5)):
        at = draw.randrange(len(text) + 1)
        text[at : at + draw.randint(0, 3)] = draw.choice((*WRONG, chr(draw.randint(1, 0xFFFF))))
    return "".join(text)


@contextmanager
def _served(session: Session) -> Iterator[int]:
    from exitwave.live.page.server import server_of

    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = int(bound.getsockname()[1])
        server = server_of(session, guard_of("127.0.0.1", port, TOKEN), "127.0.0.1", port)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            sleep(0.01)
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(timeout=10.0)


def _calibration() -> Calibration:
    def told(value: float | bool) -> Quantity:
        return Quantity(value=value, source="given")

    return Calibration(energy_eV=told(200e3), semiangle_mrad=told(20.0), scan_step_y_A=told(0.4), scan_step_x_A=told(0.4), detector_mrad=told(1.6),
                       rotation_deg=told(0.0), transpose=told(False), counts_per_electron=told(1.0), aberrations={"C10_A": told(-200.0)})
