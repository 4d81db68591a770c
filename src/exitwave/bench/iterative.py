"""Seconds and memory of an iteration of ptychography beside quantem and PtyRAD, turn by turn, of the same counts, modes, slices and batch."""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from exitwave.bench.direct import command, peer_python
from exitwave.bench.iterative_scene import counts_of, scene, write_scene
from exitwave.bench.process import ProcessDied, Server, server
from exitwave.bench.registry import Options, Row
from exitwave.core.records import record

RUNS = 5
DOSE_E_PER_A2 = 1e5
PEERS = ("quantem", "ptyrad")
COUNTED = (
    "seconds of one pass over all patterns, all of it: the order, the model, gradients, steps, constraints; simple precision, probe and phase free, "
    "positions fixed, one sample a pixel. ours: the likelihood of counts (Poisson); ours_amplitude_s: the loss "
    "of amplitudes, which is what the peers minimise here (their default). bytes: the most above libraries and counts, from the counts to the last "
    "iteration"
)


@record
class Shape:
    """What is fitted to how many patterns at a time."""

    modes: int
    slices: int
    batch: int

    @property
    def name(self) -> str:
        """As a row is called."""
        return f"iterative {self.modes} mode{'s' * (self.modes > 1)}, {self.slices} slice{'s' * (self.slices > 1)}, batch {self.batch}"

    def words(self, loss: str) -> dict[str, Any]:
        """As a process is asked."""
        return {"modes": self.modes, "slices": self.slices, "batch": self.batch, "dz_A": 10.0, "loss": loss, "oversample": 1, "iterations": 1000}


SHAPES = (Shape(modes=1, slices=1, batch=128), Shape(modes=1, slices=5, batch=128), Shape(modes=4, slices=1, batch=32))


@record
class Side:
    """One program at work: its process, what it held with the counts alone, and seconds, processor seconds and peaks of its iterations."""

    process: Server
    rest_bytes: int
    seconds: list[float]
    cpu_s: list[float]
    peaks: list[int]

    def build(self, words: Mapping[str, Any]) -> None:
        """Begin a fit; building belongs to its peak of memory."""
        for kept in (self.seconds, self.cpu_s, self.peaks):
            kept.clear()
        self.peaks.append(int(self.process.ask("build", words)["peak_bytes"]))

    def iterate(self, *, count: bool) -> None:
        """One pass over all patterns, timed if `count`."""
        said = self.process.ask("iterate", {"count": 1})
        self.peaks.append(int(said["peak_bytes"]))
        if count:
            self.seconds.append(float(said["seconds"]))
            self.cpu_s.append(float(said["cpu_s"]))

    @property
    def bytes_above(self) -> int:
        """The most memory above libraries and counts."""
        return max(0, max(self.peaks) - self.rest_bytes)


def rows(options: Options, shapes: Sequence[Shape] = SHAPES, scan: int = 64, peers: Sequence[str] = PEERS) -> list[Row]:
    """A row for each shape and peer. `scan` is the side of the scan in positions; `runs` the timed iterations of each program, in turn."""
    with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as name:
        folder = Path(name)
        made = scene(folder, films=((0.0, 10.0),), slice_A=10.0, band_invA=0.5, scan=scan)
        file = folder / "scan.npz"
        write_scene(file, made, counts_of(made, DOSE_E_PER_A2, 0), 10.0)
        there = [peer for peer in peers if peer_python(peer) is not None]
        done = [row for shape in shapes for row in timed_rows(file, shape, there, options.threads, options.runs or RUNS)]
    missing = [peer for peer in peers if peer not in there]
    note = f"not installed: {', '.join(missing)} (`make peers PEERS='{' '.join(missing)}'`, or name the folder of peers in EXITWAVE_PEERS)"
    return [row | {"note": note} for row in done] if missing else done


def timed_rows(file: Path, shape: Shape, peers: Sequence[str], threads: int, runs: int) -> list[Row]:
    """Ours with two losses and each peer, one iteration each in turn, the first not counted."""
    with ExitStack() as stack:
        sides: dict[str, Side] = {}
        ended: dict[str, str] = {}
        for who, loss in (("exitwave", "poisson"), ("amplitude", "amplitude"), *((peer, "amplitude") for peer in peers)):
            try:
                side = stack.enter_context(working("exitwave" if who == "amplitude" else who, file, threads))
                side.build(shape.words(loss))
                sides[who] = side
            except ProcessDied as error:
                ended[who] = str(error)
        for turn in range(runs + 1):
            for who, side in list(sides.items()):
                try:
                    side.iterate(count=turn > 0)
                except ProcessDied as error:
                    ended[who] = str(error)
                    del sides[who]
        if {"exitwave", "amplitude"} & set(ended):
            raise ProcessDied("; ".join(ended.values()))
        return _compared(shape, sides, ended)


@contextmanager
def working(who: str, file: Path, threads: int) -> Iterator[Side]:
    """A program's process with the counts in its memory.

    Raises:
        ProcessDied: it does not run.
    """
    python = sys.executable if who == "exitwave" else peer_python(who) or sys.executable
    with server(command(python, f"{who}_iterative.py", threads), threads) as process:
        process.ask("load", {"file": str(file)})
        yield Side(process=process, rest_bytes=int(process.ask("rest")["rest_bytes"]), seconds=[], cpu_s=[], peaks=[])


def _compared(shape: Shape, sides: Mapping[str, Side], ended: Mapping[str, str]) -> list[Row]:
    us, alike = sides["exitwave"], sides["amplitude"]
    ours: Row = {
        "case": shape.name, "ours_s": median(us.seconds), "ours_cpu_s": median(us.cpu_s), "ours_peak_bytes": us.bytes_above,
        "ours_s_all": list(us.seconds),
        "ours_amplitude_s": median(alike.seconds), "ours_amplitude_cpu_s": median(alike.cpu_s), "counted": COUNTED,
        "versions": {who: side.process.about for who, side in sides.items() if who != "amplitude"},
    }
    made = []
    for peer in (who for who in sides if who not in ("exitwave", "amplitude")):
        them = sides[peer]
        made.append(ours | {
            "peer": peer, "peer_s": median(them.seconds), "peer_cpu_s": median(them.cpu_s), "peer_peak_bytes": them.bytes_above,
            "peer_s_all": list(them.seconds), "ratio_same_loss": median(them.seconds) / median(alike.seconds),
            "cpu_ratio": median(them.cpu_s) / median(us.cpu_s), "memory_ratio": them.bytes_above / max(1, us.bytes_above),
        })
    if ended:
        made = [row | {"ended": dict(ended)} for row in made or [ours]]
    return made or [ours]
