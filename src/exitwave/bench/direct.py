"""Every direct method on the same counts: ours beside each peer that has it, turn by turn in one run, speed, memory and truth over seeds."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

import exitwave
from exitwave.bench.process import ProcessDied, Server, server, timed
from exitwave.bench.quality import Quality, calibrated_error, quality
from exitwave.bench.registry import Options, Row
from exitwave.bench.scans import Means, drawn, finer, means_of, write_arrays
from exitwave.bench.scene import scan_recipe
from exitwave.core.records import record
from exitwave.core.threads import set_threads
from exitwave.io import write_scan

RUNS = 5
DOSE_E_PER_A2 = 1e5
PEERS = Path(__file__).parent / "peers"
COUNTED = (
    "ours: counts in memory to image, transfer, noise and half sets; quantem: counts in memory to its stack of bright-field images, centre told "
    "(peer_prepare_s), and that stack to the image (peer_image_s); others: counts in memory to image; bytes: the most above libraries and counts; "
    "jobs: start of the process, file to file, all of its memory"
)
COMMAND_LINE = "import sys; from exitwave.cli.main import run; sys.exit(run(sys.argv[1:]))"


@record
class Ask:
    """One image: the method, how many times finer than the scan, and the kind of object."""

    method: str
    upsample: int = 1
    parts: str = "phase"

    @property
    def name(self) -> str:
        """As a row is called."""
        finer_by = f" x{self.upsample}" if self.upsample > 1 else ""
        return f"direct {self.method}{finer_by}" + (" complex" if self.parts == "complex" else "")

    @property
    def words(self) -> dict[str, Any]:
        """As a process is asked."""
        return {"method": self.method, "upsample": self.upsample, "parts": self.parts}


@record
class Peer:
    """A peer's environment and script, what it is asked for and, of that, what takes it so long that it is asked once."""

    name: str
    script: str
    asks: tuple[Ask, ...]
    prepares: bool = False
    slow: frozenset[str] = frozenset()


ALL = tuple(Ask(method=m) for m in ("ssb", "parallax", "flipped-parallax", "icom", "obf", "wiener", "wdd"))
FINER = tuple(Ask(method=m, upsample=2) for m in ("ssb", "flipped-parallax", "icom", "obf", "wiener"))
COMPLEX = (Ask(method="obf", parts="complex"), Ask(method="wiener", parts="complex"), Ask(method="wiener", upsample=2, parts="complex"))
OWN = (Ask(method="lsq"), Ask(method="lsq", upsample=2))
COMPARED = (
    Peer(name="quantem", script="quantem_direct.py", asks=ALL + FINER + COMPLEX, prepares=True),
    Peer(
        name="py4dstem", script="py4dstem_direct.py", slow=frozenset({"ssb", "obf", "wdd"}),
        asks=(*(Ask(method=m) for m in ("flipped-parallax", "icom", "ssb", "obf", "wdd")), Ask(method="flipped-parallax", upsample=2)),
    ),
    Peer(
        name="libertem", script="libertem_direct.py", slow=frozenset({"ssb", "flipped-parallax"}),
        asks=(Ask(method="parallax"), Ask(method="parallax", upsample=2), Ask(method="flipped-parallax"), Ask(method="ssb")),
    ),
)


def rows(options: Options, scan: int = 128, detector: int = 64, peers: Sequence[Peer] = COMPARED) -> list[Row]:
    """One row for each method and peer from the array in memory, and one for the whole SSB job from file to file. `scan` and `detector` are sides in
    pixels; `runs` the seeds."""
    set_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as name:
        folder = Path(name)
        means = means_of(scan_recipe(folder, scan, detector))
        files = written(folder, means, options.runs or RUNS)
        done = compared(means, folder, files, None, (*ALL, *FINER, *COMPLEX, *OWN), options.threads)
        for peer in peers:
            python = peer_python(peer.name)
            if python is not None:
                done += compared(means, folder, files, peer, peer.asks, options.threads)
        missing = [peer.name for peer in peers if peer_python(peer.name) is None]
        if missing:
            note = f"not installed: {', '.join(missing)} (`make peers PEERS='{' '.join(missing)}'`, or name the folder of peers in EXITWAVE_PEERS)"
            done = [row | {"note": note} for row in done]
        return [*done, job_row(means, folder, files[0], options.threads, max(1, (options.runs or RUNS) // 2))]


def written(folder: Path, means: Means, seeds: int) -> list[Path]:
    """Counts of every seed as plain arrays."""
    files = [folder / f"scan-{seed}.npz" for seed in range(seeds)]
    for seed, file in enumerate(files):
        write_arrays(file, means, drawn(means, DOSE_E_PER_A2, seed))
    return files


def peer_python(name: str) -> Path | None:
    """The python of a peer's own environment: in EXITWAVE_PEERS, else in `.peers` here or beside the package's sources; None without one."""
    told = os.environ.get("EXITWAVE_PEERS")
    folders = [Path(told)] if told else [Path.cwd() / ".peers", Path(exitwave.__file__).parents[2] / ".peers"]
    return next((python for folder in folders if (python := (folder / name / "bin" / "python").absolute()).exists()), None)


@record
class Tried:
    """What one side did with one ask: seconds and processor seconds of each run, the most memory above its rest, and the truth of each image."""

    seconds: list[float]
    cpu_s: list[float]
    peaks: list[int]
    found: list[Quality]
    stated: list[float]


def compared(means: Means, folder: Path, files: Sequence[Path], peer: Peer | None, asks: Sequence[Ask], threads: int) -> list[Row]:
    """Rows of ours beside a peer (or alone), each ask in turn; a peer that dies leaves ours alone with a remark."""
    ours: dict[Ask, Tried] = {}
    theirs: dict[Ask, Tried] = {}
    prepared = Tried(seconds=[], cpu_s=[], peaks=[], found=[], stated=[])
    about: dict[str, Any] = {}
    note = None
    with ExitStack() as stack:
        mine = _Side(process=stack.enter_context(server(command(sys.executable, "exitwave_direct.py", threads), threads)), folder=folder, means=means)
        about["exitwave"] = mine.process.about
        other: _Side | None = None
        if peer is not None:
            python = peer_python(peer.name) or Path(sys.executable)
            try:
                other = _Side(process=stack.enter_context(server(command(python, peer.script, threads), threads)), folder=folder, means=means)
                about[peer.name] = other.process.about
            except ProcessDied as error:
                note = f"{peer.name} ended early: {error}"
        try:
            for number, file in enumerate((files[0], *files)):  # the first is a warm-up
                turn = asks if peer is None or number < 2 else [ask for ask in asks if ask.method not in peer.slow]
                _in_turn(mine, other, peer, turn, file, ours, theirs, prepared, count=number > 0)
        except ProcessDied as error:
            if other is None or peer is None:
                raise
            note = f"{peer.name} ended early: {error}"
    made = [_row(ask, ours[ask], theirs.get(ask), prepared, peer, about) for ask in asks if ask in ours]
    return [row | {"ended": note} for row in made] if note else made


@record
class _Side:
    """A process, where its images go, what is true, and what it held before its first image."""

    process: Server
    folder: Path
    means: Means
    rest: dict[str, int] = field(default_factory=dict)

    def image(self, ask: Ask, into: dict[Ask, Tried], rest: int, count: bool) -> None:
        """One image, timed and judged; nothing where it is refused."""
        saved = self.folder / "made.npz"
        said = self.process.ask("image", {**ask.words, "save": str(saved)})
        if (said["result"] or {}).get("refused") or not count:
            return
        tried = into.setdefault(ask, Tried(seconds=[], cpu_s=[], peaks=[], found=[], stated=[]))
        truth = finer(self.means.truth, ask.upsample)
        with np.load(saved) as made:
            tried.seconds.append(float(said["seconds"]))
            tried.cpu_s.append(float(said["cpu_s"]))
            tried.peaks.append(max(0, int(said["peak_bytes"]) - rest))
            if made["image"].shape == truth.shape:
                tried.found.append(quality(made["image"], truth, self.means.recipe.scan_step_A / ask.upsample, self.means.band_invA))
            if "ctf" in made:
                tried.stated.append(calibrated_error(made["image"], made["ctf"], truth))


def _in_turn(
    mine: _Side, other: _Side | None, peer: Peer | None, asks: Sequence[Ask], file: Path, ours: dict[Ask, Tried], theirs: dict[Ask, Tried],
    prepared: Tried, count: bool,
) -> None:
    """One scan through every ask, ours and the peer's alternately."""
    rest = {}
    for side in (mine, other):
        if side is not None:
            side.process.ask("load", {"file": str(file)})
            held = int(side.process.ask("rest")["rest_bytes"])
            rest[id(side)] = side.rest.setdefault("bytes", held)  # before its first image: what it keeps of earlier ones counts as taken
    if other is not None and peer is not None and peer.prepares:
        said = other.process.ask("prepare")
        if count:
            prepared.seconds.append(float(said["seconds"]))
            prepared.cpu_s.append(float(said["cpu_s"]))
            prepared.peaks.append(int(said["peak_bytes"]) - rest[id(other)])
    for ask in asks:
        mine.image(ask, ours, rest[id(mine)], count)
        if other is not None:
            other.image(ask, theirs, rest[id(other)], count)


def command(python: str | Path, script: str, threads: int) -> list[str]:
    """The command line of a serving process."""
    return [str(python), str(PEERS / script), str(threads)]


def _row(ask: Ask, us: Tried, them: Tried | None, prepared: Tried, peer: Peer | None, about: Mapping[str, Any]) -> Row:
    row: Row = {
        "case": ask.name, "ours_s": median(us.seconds), "ours_cpu_s": median(us.cpu_s), "ours_peak_bytes": max(us.peaks), **_judged("ours", us),
        "error_of_stated_transfer_ours": mean(us.stated), "ours_s_all": us.seconds, "counted": COUNTED, "versions": dict(about),
    }
    if peer is None or them is None:
        return row
    before = median(prepared.seconds) if prepared.seconds else 0.0
    row |= {
        "peer": peer.name, "peer_s": before + median(them.seconds), "peer_peak_bytes": max(*them.peaks, *prepared.peaks, 0),
        **_judged("peer", them), "peer_s_all": them.seconds,
    }
    row["peer_cpu_s"] = median(them.cpu_s) + (median(prepared.cpu_s) if prepared.cpu_s else 0.0)
    row["cpu_ratio"] = row["peer_cpu_s"] / row["ours_cpu_s"]
    row["memory_ratio"] = row["peer_peak_bytes"] / max(1, row["ours_peak_bytes"])
    if prepared.seconds:
        row |= {"peer_prepare_s": before, "peer_image_s": median(them.seconds), "ratio_without_preparation": median(them.seconds) / row["ours_s"]}
    return row


def _judged(who: str, tried: Tried) -> Row:
    """Error and ring correlation over the seeds with their standard errors."""
    if not tried.found:
        return {}
    row: Row = {}
    for key, values in (("error", [one.error for one in tried.found]), ("frc", [one.frc for one in tried.found])):
        row[f"{key}_{who}"] = mean(values)
        if len(values) > 1:
            row[f"{key}_{who}_standard_error"] = stdev(values) / len(values) ** 0.5
    return row


def job_row(means: Means, folder: Path, arrays: Path, threads: int, runs: int) -> Row:
    """`exitwave reconstruct` as a person runs it, from an HDF5 file to a result file, beside a quantem process from arrays to array."""
    scan, result = folder / "scan.h5", str(folder / "result.h5")
    with np.load(arrays) as held:
        counts = held["counts"]
    write_scan(scan, iter([counts.reshape(-1, *counts.shape[2:])]), shape=counts.shape, dtype="uint16", calibration=means.calibration, attributes={})
    words = ["reconstruct", str(scan), "--method", "ssb", "-o", result, "--force", "--threads", str(threads)]
    asked: list[dict[str, Any]] = [{"do": "load", "file": str(arrays)}, {"do": "prepare"}]
    asked.append({"do": "image", **Ask(method="ssb").words, "save": str(folder / "job.npz")})
    said = "".join(json.dumps(job) + "\n" for job in asked)
    python = peer_python("quantem")
    mine, theirs = [], []
    for _ in range(runs + 1):
        mine.append(timed([sys.executable, "-c", COMMAND_LINE, *words], threads))
        if python is not None:
            try:
                theirs.append(timed(command(python, "quantem_direct.py", threads), threads, said))
            except ProcessDied:
                python = None
    row: Row = {
        "case": "direct ssb job", "ours_s": median(s for s, _ in mine[1:]), "ours_peak_bytes": max(peak for _, peak in mine[1:]) or None,
        "ours_s_all": [s for s, _ in mine[1:]], "counted": COUNTED,
    }
    if len(theirs) > 1:
        row |= {
            "peer": "quantem", "peer_s": median(s for s, _ in theirs[1:]), "peer_peak_bytes": max(peak for _, peak in theirs[1:]) or None,
            "peer_s_all": [s for s, _ in theirs[1:]],
        }
    return row
