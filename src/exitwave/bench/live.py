"""Events a second, end to end: a sender process, a connection, decoding, adding up, looks ten times a second; the ceiling of each beside it."""

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from types import MappingProxyType
from typing import Any

import numpy as np

from exitwave.bench.registry import Options, Row
from exitwave.core.records import record
from exitwave.core.seeds import generator_at
from exitwave.core.threads import set_threads
from exitwave.data import Calibration
from exitwave.flow import EventAccumulator
from exitwave.io import open as open_scan
from exitwave.io.streams import Clusterer, Clustering, Packing, Recorder, begin, decode, open_events, quad
from exitwave.io.streams.replay import Pace
from exitwave.io.streams.sending import ReplayServer
from exitwave.io.streams.synthetic import Edges, lit_pixels, tpx3_bytes
from exitwave.live import Ended, Look, Microscope, watch
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.live import Field, LiveGuides, LiveMoments, live_phase, make_guides
from exitwave.recon.live.shifted import LiveShifts
from exitwave.recon.live.shifts import make_shifts
from exitwave.simulate import FourD, FourDRecipe, experiment_of, write_fourd

SCAN, FRAME = (128, 128), (64, 64)
DOSE_E_PER_A2, BLOCK, CEILING_EVENTS = 4000.0, 2**16, 2**22
SECONDS, EVERY_S, BEGIN_S = 6.0, 0.1, 4.0  # the sender looks through its file before it begins
RIDGE = 100 / DOSE_E_PER_A2  # of complex guides: noise over the specimen's power, 1e-2 at 1e4 e/A^2
COUNTED = (
    "events a second from the first to the last chunk that was added, 128 x 128 positions, a looped recording of 16 million simulated events (MoS2, "
    "4000 e/A^2) of 8 bytes sent by a process of its own on one core (sender: its share of it); checksums, decoding, adding up, looks every 0.1 s. "
    "ceiling: the same chunks added from memory by the same accumulator, nothing else. approximation: the stated rms error over the image's rms, "
    "of one whole scan. looks: those that were made a second, and the median seconds of one. at_target: the same with a sender at the rate that is "
    "asked for. anonymous_bytes: the receiver's most, libraries included"
)


@record
class Engine:
    """A way to an image: its name, what makes its accumulator, the defocus of its case and the rate that it should reach."""

    name: str
    make: Callable[[Geometry], EventAccumulator[Any, Any]]
    C10_A: float
    target_per_s: float


def engines() -> tuple[Engine, ...]:
    """The ways that are compared; guides at the half-width that their defocus needs."""
    def guides(method: str) -> Callable[[Geometry], EventAccumulator[Any, Any]]:
        return lambda g: LiveGuides(g=g, guides=make_guides(g, method, ridge=RIDGE if method == "wdd" else None), field=Field(shape=SCAN))

    return (
        Engine(name="count cube, obf", make=lambda g: live_phase(g, "obf"), C10_A=-300.0, target_per_s=20e6),
        Engine(name="count cube, random halves, obf", make=lambda g: live_phase(g, "obf", sets=2), C10_A=-300.0, target_per_s=20e6),
        Engine(name="moments, icom", make=lambda g: LiveMoments(g=g), C10_A=-300.0, target_per_s=20e6),
        Engine(name="shifts, parallax", make=lambda g: LiveShifts(g=g, shifts=make_shifts(g, Field(shape=SCAN)), field=Field(shape=SCAN)),
               C10_A=-300.0, target_per_s=20e6),
        Engine(name="guides, ssb", make=guides("ssb"), C10_A=-100.0, target_per_s=5e6),
        Engine(name="guides, obf", make=guides("obf"), C10_A=-100.0, target_per_s=5e6),
        Engine(name="guides, wdd (complex)", make=guides("wdd"), C10_A=-100.0, target_per_s=2.5e6),
    )


def rows(options: Options, chosen: Sequence[Engine] | None = None) -> list[Row]:
    """A row for each engine, then the decoders; `runs` is the seconds of each stream (60 for the endurance that is asked of a detector's day)."""
    set_threads(options.threads)
    seconds = float(options.runs or SECONDS)
    with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as name:
        made = [streamed(engine, Path(name), seconds) for engine in (engines() if chosen is None else chosen)]
        return made + timepix_rows(Path(name) / "run.tpx3")


def scene(C10_A: float) -> FourD:
    """A layer of MoS2 at 200 kV, 20 mrad, half an Angstrom a step, 4000 e/A^2; about 490 pixels in the bright disk."""
    return experiment_of(FourDRecipe(specimen="MoS2", energy_eV=200e3, semiangle_mrad=20.0, scan_step_A=0.5, scan_shape=SCAN, detector_px=FRAME,
                                     detector_mrad=1.6, aberrations=MappingProxyType({"C10_A": C10_A}), dose_e_per_A2=DOSE_E_PER_A2))


def record_events(folder: Path, C10_A: float) -> tuple[Path, Calibration]:
    """The scene's electrons, one by one in the order of the scan, in a file that stays for the next engine."""
    made, scan, path = scene(C10_A), folder / f"{C10_A:g}.h5", folder / f"{C10_A:g}.ewe"
    if not path.exists():
        write_fourd(scan, made, memory_bytes=2**30)
        source = Microscope(open_scan(scan).frames)
        with Recorder(path, Packing(frame=FRAME, scan=SCAN), block_events=BLOCK) as recorder:
            for chunk in source.chunks():
                recorder.write(chunk)
    return path, made.calibration


@record
class Flow:
    """What a watcher saw: events a second between its first and last look, its looks, how it ended, the sender's share of a core, the most memory."""

    per_s: float
    looks_per_s: float
    view_s: float | None
    looks: Sequence[Look]
    ended: Ended
    sender: float
    anonymous_bytes: int
    seconds: float


def streamed(engine: Engine, folder: Path, seconds: float) -> Row:
    """One engine: its ceiling, then the whole way as fast as it goes, then at the rate that it should reach."""
    path, known = record_events(folder, engine.C10_A)
    accumulator = engine.make(geometry(known, (*SCAN, *FRAME)))
    ceiling, stated = _ceiling(accumulator, path, (*SCAN, *FRAME))
    full = _flowing(accumulator, path, Pace(loops=None), seconds)
    paced = _flowing(accumulator, path, Pace(events_per_s=engine.target_per_s, loops=None), seconds)
    return {
        "case": f"stream to image: {engine.name}", "ours_per_s": full.per_s, "ceiling_per_s": ceiling, "target_per_s": engine.target_per_s,
        "events": full.ended.events, "seconds": full.seconds, "looks_per_s": full.looks_per_s, "view_s": full.view_s,
        "at_target_per_s": paced.per_s, "at_target_looks_per_s": paced.looks_per_s, "at_target_view_s": paced.view_s,
        "most_waiting_bytes": max(look.waiting_bytes for look in full.looks), "rejected": dict(full.ended.rejected), "status": full.ended.status,
        "approximation": stated, "sender_share_of_its_core": full.sender, "anonymous_bytes": full.anonymous_bytes, "counted": COUNTED,
    }


def _flowing(accumulator: EventAccumulator[Any, Any], path: Path, pace: Pace, seconds: float) -> Flow:
    looks: list[Look] = []
    watcher = _Watcher()
    with ReplayServer(path, pace, core=sorted(os.sched_getaffinity(0))[-1]) as server:
        stream = open_events(server.address, wait_s=60.0)
        begun = perf_counter()
        with watcher:
            ended = watch(stream, {"phase": accumulator}, (*SCAN, *FRAME), every_s=EVERY_S, show=lambda look: looks.append(_light(look)),
                          until_s=seconds + BEGIN_S)
        sent = server.result(30.0)
    spent = perf_counter() - begun
    flowing = [look for look in looks if look.events > 0]
    first, last = flowing[0], flowing[-1]
    between = last.seconds - first.seconds
    made = [look.view_s for look in flowing[1:]]
    return Flow(per_s=(last.events - first.events) / between, looks_per_s=len(made) / between, view_s=median(made) if made else None, looks=looks,
                ended=ended, sender=sent.cpu_s / sent.wall_s, anonymous_bytes=watcher.most, seconds=spent)


def _light(look: Look) -> Look:
    """A look without its images."""
    return replace(look, views={})


def _ceiling(accumulator: EventAccumulator[Any, Any], path: Path, shape: tuple[int, int, int, int]) -> tuple[float, float]:
    """Events a second from memory, and the stated error of the whole scan."""
    chunks = list(open_events(path).chunks())
    some, rates = chunks[: CEILING_EVENTS // BLOCK], []
    for _ in range(3):
        state = accumulator.start(shape)
        begun = perf_counter()
        for chunk in some:
            state = accumulator.add(state, chunk)
        rates.append(sum(map(len, some)) / (perf_counter() - begun))
    for chunk in chunks[len(some) :]:
        state = accumulator.add(state, chunk)
    return max(rates), float(accumulator.finish(state).approximation)


class _Watcher:
    """The most anonymous memory of this process while it is entered."""

    def __init__(self) -> None:
        self.most, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _look(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
                self.most = max([self.most, *(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))])
            sleep(0.1)


def timepix_rows(path: Path) -> list[Row]:
    """Packets decoded, hits clustered, in memory on one thread: four chips, three hits an electron, triggers that overtake."""
    draw = generator_at(1, 0)
    n = 400_000
    y, x = draw.uniform(4, 507, n), draw.uniform(4, 507, n)
    time = 640_000 + np.cumsum(draw.integers(1, 200, n))
    lines = np.arange(640_000, time[-1], 64_000)
    lit = lit_pixels(y, x, time, (512, 512))
    edges = Edges(time=lines, channel=np.ones(len(lines), np.int64), rising=np.ones(len(lines), bool))
    data = memoryview(tpx3_bytes(lit, quad(), edges=edges, disorder=60_000))
    pieces: list[Any] = []

    def parse() -> None:
        pieces.clear()
        state = begin()
        for start in range(0, len(data), 2**20):
            hits, _, state = decode(data[start : start + 2**20], state, quad())
            pieces.append(hits)

    def cluster() -> None:
        clusterer = Clusterer((512, 512), Clustering())
        for hits in pieces:
            clusterer.add(hits)
        clusterer.finish()

    parsing = _rate(len(data) // 8, parse)
    hits = sum(map(len, pieces))
    return [{"case": "Timepix3: parsing", "ours_per_s": parsing, "target_per_s": 30e6, "packets": len(data) // 8},
            {"case": "Timepix3: clustering", "ours_per_s": _rate(hits, cluster), "target_per_s": 3e6, "hits": hits, "hits_per_electron": hits / n}]


def _rate(count: int, work: Callable[[], None], repeats: int = 3) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        begun = perf_counter()
        work()
        seconds.append(perf_counter() - begun)
    return count / min(seconds)
