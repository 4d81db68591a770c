"""SSB and parallax on one array: ours beside quantem's, turn by turn in one run, speed, memory and truth."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import exitwave
from exitwave.bench.process import ProcessDied, Server, server, timed
from exitwave.bench.quality import calibrated_error, quality
from exitwave.bench.registry import Options, Row
from exitwave.bench.scene import scan_recipe
from exitwave.core import Beam
from exitwave.core.records import record
from exitwave.core.threads import set_threads
from exitwave.data import Dataset4D
from exitwave.io import open as open_scan
from exitwave.io import read_truth
from exitwave.simulate import FourDRecipe, experiment_of, write_fourd

METHODS = ("ssb", "flipped-parallax")
RUNS = 5
PEERS = Path(__file__).parent / "peers"
PEER = "quantem"
COUNTED = (
    "ours: counts in memory to image, transfer, noise and half sets; peer: counts in memory to its stack of bright-field images, centre told "
    "(peer_prepare_s), and that stack to the image (peer_image_s); jobs: start of the process, file to file"
)
MISSING = "quantem is not installed, ours ran alone: `make peers PEERS=quantem`, or name the folder of peers in EXITWAVE_PEERS"
COMMAND_LINE = "import sys; from exitwave.cli.main import run; sys.exit(run(sys.argv[1:]))"


@record
class Scan:
    """The scan of a run: the file, the same as plain arrays, and what is true."""

    recipe: FourDRecipe
    file: Path
    arrays: Path
    truth: np.ndarray

    @property
    def band_invA(self) -> float:
        """Twice the aperture: as far as a direct method sees."""
        return 2e-3 * self.recipe.semiangle_mrad / Beam.electron(self.recipe.energy_eV).wavelength_A


def rows(options: Options, scan: int = 128, detector: int = 64) -> list[Row]:
    """One row a method from the array in memory, and one for the whole SSB job from file to file. `scan` and `detector` are sides in pixels."""
    set_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as name:
        folder = Path(name)
        given = simulated(folder, scan, detector)
        runs = options.runs or RUNS
        python = peer_python(PEER)
        found = in_turn(given, folder, python, options.threads, runs)
        done = [method_row(given, folder, method, *found) for method in METHODS]
        return [*done, job_row(given, folder, python if found[1] else None, options.threads, max(1, runs // 2))]


def simulated(folder: Path, scan: int, detector: int) -> Scan:
    """Simulate the scan, write it as HDF5 and as plain arrays that any python reads."""
    recipe = scan_recipe(folder, scan, detector)
    x = experiment_of(recipe)
    file, arrays = folder / "scan.h5", folder / "scan.npz"
    write_fourd(file, x)
    np.savez(
        arrays, counts=counts_of(open_scan(file)), energy_eV=recipe.energy_eV, semiangle_mrad=recipe.semiangle_mrad, step_A=recipe.scan_step_A,
        detector_mrad=recipe.detector_mrad, centre_px=detector / 2, C10_A=recipe.aberrations["C10_A"],
    )
    return Scan(recipe=recipe, file=file, arrays=arrays, truth=np.asarray(read_truth(file)["reference"].array))


def counts_of(data: Dataset4D) -> np.ndarray:
    """All frames (Ry, Rx, ky, kx), native type."""
    ry, rx, *_ = data.shape
    return data.frames.read(0, ry * rx).reshape(data.shape)


def peer_python(name: str) -> Path | None:
    """The python of a peer's own environment: in EXITWAVE_PEERS, else in `.peers` here or beside the package's sources; None without one."""
    told = os.environ.get("EXITWAVE_PEERS")
    folders = [Path(told)] if told else [Path.cwd() / ".peers", Path(exitwave.__file__).parents[2] / ".peers"]
    return next((python for folder in folders if (python := (folder / name / "bin" / "python").absolute()).exists()), None)


Times = dict[str, list[Mapping[str, Any]]]


def in_turn(given: Scan, folder: Path, python: Path | None, threads: int, runs: int) -> tuple[Times, Times, dict[str, Any]]:
    """Answers of ours and of the peer by job, taken alternately after one warm-up, and what the two said of themselves; images are saved."""
    with ExitStack() as stack:
        ours = stack.enter_context(server(command(sys.executable, "exitwave_direct.py", given, threads), threads))
        about: dict[str, Any] = {"exitwave": ours.about}
        peer: Server | None = None
        if python is not None:
            try:
                peer = stack.enter_context(server(command(python, "quantem_direct.py", given, threads), threads))
                about[PEER] = peer.about
                _warm(peer, ["prepare", *METHODS], folder, PEER)
            except ProcessDied as error:
                peer, about["note"] = None, f"quantem did not run, ours ran alone: {error}"
        else:
            about["note"] = MISSING
        _warm(ours, METHODS, folder, "ours")
        mine: Times = {method: [] for method in METHODS}
        theirs: Times = {} if peer is None else {job: [] for job in ("prepare", *METHODS)}
        for _ in range(runs):
            if peer is not None:
                theirs["prepare"].append(peer.ask("prepare"))
            for method in METHODS:
                mine[method].append(ours.ask("image", {"method": method}))
                if peer is not None:
                    theirs[method].append(peer.ask("image", {"method": method}))
    return mine, theirs, about


def command(python: str | Path, script: str, given: Scan, threads: int) -> list[str]:
    """The command line of a serving process."""
    return [str(python), str(PEERS / script), str(given.arrays), str(threads)]


def _warm(process: Server, jobs: Sequence[str], folder: Path, who: str) -> None:
    for job in jobs:
        if job == "prepare":
            process.ask("prepare")
        else:
            process.ask("image", {"method": job, "save": str(folder / f"{who}-{job}.npz")})


def method_row(given: Scan, folder: Path, method: str, mine: Times, theirs: Times, about: Mapping[str, Any]) -> Row:
    """Medians, memory and truth of one method."""
    step = given.recipe.scan_step_A
    made = np.load(folder / f"ours-{method}.npz")
    us = quality(made["image"], given.truth, step, given.band_invA)
    row: Row = {
        "case": f"direct {method}", "ours_s": middle(mine[method]), "ours_peak_bytes": largest(mine[method]), "error_ours": us.error,
        "frc_ours": us.frc, "error_of_stated_transfer_ours": calibrated_error(made["image"], made["ctf"], given.truth),
        "ours_s_all": seconds(mine[method]), "counted": COUNTED, "versions": {key: about[key] for key in about if key != "note"},
        "note": about.get("note"),
    }
    if theirs:
        them = quality(np.load(folder / f"{PEER}-{method}.npz")["image"], given.truth, step, given.band_invA)
        prepare, image = middle(theirs["prepare"]), middle(theirs[method])
        row |= {
            "peer": f"{PEER} {about[PEER][PEER]}", "peer_s": prepare + image, "peer_prepare_s": prepare, "peer_image_s": image,
            "ratio_without_preparation": image / row["ours_s"], "peer_peak_bytes": max(largest(theirs["prepare"]), largest(theirs[method])),
            "error_peer": them.error, "frc_peer": them.frc, "peer_prepare_s_all": seconds(theirs["prepare"]),
            "peer_image_s_all": seconds(theirs[method]),
        }
    return row


def job_row(given: Scan, folder: Path, python: Path | None, threads: int, runs: int) -> Row:
    """`exitwave reconstruct` as a person runs it, from the HDF5 file to a result file, beside a peer's process from arrays to array."""
    result = str(folder / "result.h5")
    words = ["reconstruct", str(given.file), "--method", "ssb", "-o", result, "--force", "--threads", str(threads)]
    jobs = [{"do": "prepare"}, {"do": "image", "method": "ssb", "save": str(folder / "job.npz")}]
    said = "".join(json.dumps(job) + "\n" for job in jobs)
    mine, theirs = [], []
    for _ in range(runs + 1):
        mine.append(timed([sys.executable, "-c", COMMAND_LINE, *words], threads))
        if python is not None:
            theirs.append(timed(command(python, "quantem_direct.py", given, threads), threads, said))
    row: Row = {
        "case": "direct ssb job", "ours_s": median(s for s, _ in mine[1:]), "ours_peak_bytes": max(peak for _, peak in mine[1:]) or None,
        "ours_s_all": [s for s, _ in mine[1:]], "counted": COUNTED,
    }
    if theirs:
        row |= {
            "peer": PEER, "peer_s": median(s for s, _ in theirs[1:]), "peer_peak_bytes": max(peak for _, peak in theirs[1:]) or None,
            "peer_s_all": [s for s, _ in theirs[1:]],
        }
    return row


def middle(answers: Sequence[Mapping[str, Any]]) -> float:
    """The median of the seconds."""
    return median(seconds(answers))


def seconds(answers: Sequence[Mapping[str, Any]]) -> list[float]:
    """The seconds of every run."""
    return [float(answer["seconds"]) for answer in answers]


def largest(answers: Sequence[Mapping[str, Any]]) -> int:
    """The largest peak of memory."""
    return max(int(answer["peak_bytes"]) for answer in answers)
