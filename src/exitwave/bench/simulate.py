"""Simulation beside abTEM, turn by turn: potentials, exit waves, patterns and HAADF of SrTiO3, with the floor that transforms alone set."""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from exitwave.bench.direct import PEERS, peer_python
from exitwave.bench.process import ProcessDied, Server, largest, middle, seconds, server
from exitwave.bench.registry import Options, Row

PEER, RUNS = "abtem", 3
SIGMA_300_KV = 6.526161e-4  # rad / (V A)
A = 3.905
BASIS = ((38, (0, 0, 0)), (22, (0.5, 0.5, 0.5)), (8, (0.5, 0.5, 0)), (8, (0.5, 0, 0.5)), (8, (0, 0.5, 0.5)))
MISSING = "abTEM is not installed, ours ran alone: `make peers PEERS=abtem`, or name the folder of peers in EXITWAVE_PEERS"
BEAM = {"energy_eV": 300e3, "slice_A": A / 2}
SCAN = {"semiangle_mrad": 20.0, "end_A": [2 * A, 2 * A], **BEAM}
COUNTED = ("ours: the alias-free exponential belongs to the potential; abTEM takes exp and its band limit in the wave. "
           "floor: 2 transforms and 2 products for each wave and slice, the quicker of FFTW in place (planned) and torch")


def rows(options: Options) -> list[Row]:
    """A row a case; `runs` timed repetitions of each program, in turn, after one that is not counted."""
    python, runs = peer_python(PEER), options.runs or RUNS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exitwave-bench-")))
        ours = stack.enter_context(server([sys.executable, str(PEERS / "exitwave_simulate.py"), str(options.threads)], options.threads))
        theirs, note = None, MISSING
        if python is not None:
            try:
                theirs = stack.enter_context(server([str(python), str(PEERS / "abtem_simulate.py"), str(options.threads)], options.threads))
                note = ""
            except ProcessDied as error:
                note = f"abTEM did not run, ours ran alone: {error}"
        image, scan = hrtem(ours, theirs, folder, runs), stem(ours, theirs, folder, runs)
    return [row | {"note": note} for row in (*image, *scan, *accuracy(options))]


def hrtem(ours: Server, theirs: Server | None, folder: Path, runs: int) -> list[Row]:
    """10 x 10 x 51 cells, 1024 x 1024 points, 102 slices: the potential, then a plane wave through it."""
    given = {"atoms": written(folder / "hrtem.npz", 10, 10, 51), "gpts": [1024, 1024], **BEAM}
    name = "SrTiO3 1024 x 1024, 102 slices"
    made = turns("potential", given, ours, theirs, runs, f"{name}: potential")
    cell = turns("exit_wave", given, ours, theirs, runs, f"{name}: exit wave, one cell for all")
    ours.ask("whole_field")
    wave = turns("exit_wave", given, ours, theirs, runs, f"{name}: exit wave, the whole field")
    return [made, cell, wave | floor_of(wave, 1024, 102, ours, theirs, runs)]


def stem(ours: Server, theirs: Server | None, folder: Path, runs: int) -> list[Row]:
    """10 x 10 x 25 cells, 512 x 512 points, 50 slices, 8 x 8 probes over 2 x 2 cells: every pattern whole, then an annulus."""
    given = {"atoms": written(folder / "stem.npz", 10, 10, 25), "gpts": [512, 512], "positions": [8, 8], **SCAN}
    name, each = "SrTiO3 512 x 512, 50 slices", {"mode": "whole", "periodic": False}
    ring = {"annulus_mrad": [60, 85]}
    made = turns("potential", given, ours, theirs, runs, f"{name}: potential")
    whole = turns("scanned", given | each, ours, theirs, runs, f"{name}: 64 whole patterns, whole field")
    haadf = turns("scanned", given | ring | each, ours, theirs, runs, f"{name}: 64 probes, HAADF 60-85 mrad, whole field")
    free = alone(haadf, "scanned", given | ring, ours, runs, f"{name}: 64 probes, HAADF, as the cost model picks")
    floor = floor_of(whole, 512, 50 * 64, ours, theirs, runs)
    return [made, whole | floor, haadf | over(haadf, floor["floor_s"]), free]


def prism(options: Options) -> list[Row]:
    """32 x 32 probes, patterns at half the field's sampling: ours in windows of half the field beside abTEM's PRISM f=2, once."""
    python = peer_python(PEER)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exitwave-bench-")))
        given = {"atoms": written(folder / "stem.npz", 10, 10, 25), "gpts": [512, 512], "positions": [32, 32], **SCAN}
        ours = stack.enter_context(server([sys.executable, str(PEERS / "exitwave_simulate.py"), str(options.threads)], options.threads))
        ours.ask("potential", given)
        name = "SrTiO3 512 x 512, 50 slices: 32 x 32 patterns of 256 x 256 points"
        half = given | {"window": [256, 256]}
        warm = ours.ask("scanned", half | {"positions": [2, 2]})
        each, once = (ours.ask("scanned", half | {"periodic": periodic}) for periodic in (False, True))
        error = ours.ask("window_error", half)["result"]
        row = {"counted": COUNTED, "error_ours": error, "why": once["result"]["why"], "warm_s": warm["seconds"]}
        rows = [{"case": f"{name}, {what}", "ours_s": said["seconds"], "ours_cpu_s": said["cpu_s"], "ours_peak_bytes": said["peak_bytes"], **row}
                for what, said in (("every position", each), ("positions a cell apart once", once))]
        if python is None:
            return [row | {"note": MISSING} for row in rows]
        theirs = stack.enter_context(server([str(python), str(PEERS / "abtem_simulate.py"), str(options.threads)], options.threads))
        theirs.ask("potential", given)
        said = theirs.ask("scanned", given | {"prism": 2})
    peer = {"peer": f"abtem {theirs.about['abtem']} PRISM f=2", "peer_s": said["seconds"], "peer_cpu_s": said["cpu_s"],
            "peer_peak_bytes": said["peak_bytes"]}
    return [row | peer | {"ratio_of_processor_time": said["cpu_s"] / row["ours_cpu_s"]} for row in rows]


def accuracy(options: Options) -> list[Row]:
    """The same potential through both programs, and what moving an atom and the probe by 0.37 of a pixel does to HAADF in each."""
    python = peer_python(PEER)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exitwave-bench-")))
        ours = stack.enter_context(server([sys.executable, str(PEERS / "exitwave_simulate.py"), str(options.threads)], options.threads))
        theirs = None if python is None else stack.enter_context(
            server([str(python), str(PEERS / "abtem_simulate.py"), str(options.threads)], options.threads))
        return [transport(ours, theirs, folder), *(moved(element, ours, theirs, folder) for element in (6, 14, 79))]


def transport(ours: Server, theirs: Server | None, folder: Path) -> Row:
    """40 slices of random smooth phases, the same transmissions for both: the largest difference of exit waves, mean intensity 1."""
    generator, n, extent = np.random.default_rng(5), (160, 180), (32.0, 36.0)
    fx, fy = np.meshgrid(np.fft.fftfreq(n[0], extent[0] / n[0]), np.fft.fftfreq(n[1], extent[1] / n[1]), indexing="ij")
    smooth = np.exp(-((fx**2 + fy**2) / 0.2**2))  # nothing reaches the band edge, which abTEM tapers
    volts = np.fft.ifft2(np.fft.fft2(generator.standard_normal((40, *n))) * smooth).real
    volts *= 0.1 / volts.std() / SIGMA_300_KV
    given = {"volts": str(folder / "volts.npy"), "transmission": str(folder / "t.npy"), "extent_A": extent, **BEAM}
    np.save(given["volts"], volts)
    np.save(given["transmission"], np.exp(1j * SIGMA_300_KV * volts).swapaxes(1, 2).astype(np.complex64))
    ours.ask("given_transmission", given)
    ours.ask("exit_wave", given | {"out": str(folder / "ours.npy")})
    row: Row = {"case": "40 given slices, exit wave", "counted": "largest difference of the two waves, mean intensity 1"}
    if theirs is None:
        return row
    theirs.ask("given_potential", given)
    theirs.ask("exit_wave", given | {"out": str(folder / "theirs.npy")})
    mine, other = np.load(folder / "ours.npy"), np.squeeze(np.load(folder / "theirs.npy")).T
    return row | {"peer": f"abtem {theirs.about['abtem']}", "difference": float(abs(mine - other).max())}


def moved(element: int, ours: Server, theirs: Server | None, folder: Path) -> Row:
    """One atom under the probe, on a grid point and 0.37 of a pixel off: the relative change of HAADF."""
    n, side, pixel = 320, 16.0, 0.05
    row: Row = {"case": f"HAADF 80-160 mrad of one atom, Z = {element}, moved by 0.37 px", "counted": "relative change; 200 kV, 20 mrad, 0.05 A"}
    for key, server_ in (("error_ours", ours), ("error_peer", theirs)):
        seen = []
        for shift in (0.0, 0.37 * pixel):
            if server_ is None:
                continue
            place, path = 8.0 + shift, folder / f"{element}_{shift}.npz"
            np.savez(path, numbers=np.array([element]), positions=np.array([[place, place, 1.0]]), cell=np.array([side, side, 2.0]))
            given = {"atoms": str(path), "gpts": [n, n], "energy_eV": 200e3, "slice_A": 2.0, "semiangle_mrad": 20.0, "positions": [1, 1],
                     "end_A": [side, side], "start_A": [place, place], "annulus_mrad": [80, 160], "mode": "whole", "out": str(folder / "seen.npy")}
            server_.ask("potential", given)
            server_.ask("scanned", given)
            seen.append(float(np.load(given["out"]).ravel()[0]))
        if seen:
            row[key] = abs(seen[1] / seen[0] - 1)
    return row


def alone(row: Row, job: str, given: Mapping[str, Any], ours: Server, runs: int, name: str) -> Row:
    """A case of ours beside a peer's row that was timed already."""
    said = [ours.ask(job, given) for _ in range(runs + 1)][1:]
    peer = {key: value for key, value in row.items() if key.startswith("peer")}
    return {"case": name, "counted": COUNTED, "ours_s": middle(said), "ours_s_all": seconds(said), "ours_peak_bytes": largest(said),
            "ours_cpu_s": median(float(one["cpu_s"]) for one in said), "why": said[-1]["result"]["why"], **peer}


def turns(job: str, given: Mapping[str, Any], ours: Server, theirs: Server | None, runs: int, name: str) -> Row:
    """Ours and theirs in turn after one warm-up each, which compiles and plans."""
    mine: list[Mapping[str, Any]] = []
    said: list[Mapping[str, Any]] = []
    for run in range(runs + 1):
        for side, answers in ((ours, mine), (theirs, said)):
            if side is not None:
                answer = side.ask(job, given)
                answers += [answer] if run else []
    row: Row = {"case": name, "counted": COUNTED, "ours_s": middle(mine), "ours_s_all": seconds(mine), "ours_peak_bytes": largest(mine),
                "ours_cpu_s": median(float(one["cpu_s"]) for one in mine)}
    if theirs is None:
        return row
    return row | {"peer": f"abtem {theirs.about['abtem']}", "peer_s": middle(said), "peer_s_all": seconds(said), "peer_peak_bytes": largest(said),
                  "peer_cpu_s": median(float(one["cpu_s"]) for one in said), "ratio_of_quickest": min(seconds(said)) / min(seconds(mine))}


def floor_of(row: Row, side: int, steps: int, ours: Server, theirs: Server | None, runs: int) -> Row:
    """The quicker of two programs at transforms and products alone, and how much longer the case took."""
    given = {"side": side, "steps": steps}
    found = {}
    for run in range(runs + 1):
        for name, server_ in (("torch", ours), ("fftw", theirs)):
            if server_ is not None:
                took = float(server_.ask("floor", given)["seconds"])
                found[name] = min(took, found.get(name, took)) if run else took
    return {"floors_s": found, **over(row, min(found.values()))}


def over(row: Row, floor_s: float) -> Row:
    """How many floors a case took, of its quickest run."""
    told = {"floor_s": floor_s, "ours_over_floor": min(row["ours_s_all"]) / floor_s}
    return told | ({"peer_over_floor": min(row["peer_s_all"]) / floor_s} if "peer_s_all" in row else {})


def written(path: Path, nx: int, ny: int, nz: int) -> str:
    """SrTiO3 [001], repeated, a quarter of a cell down so that every plane of atoms lies inside one slice."""
    cells = np.stack(np.meshgrid(range(nx), range(ny), range(nz), indexing="ij"), -1).reshape(-1, 1, 3)
    places = ((cells + np.array([place for _, place in BASIS])[None]) * A).reshape(-1, 3)
    places[:, 2] += A / 4
    np.savez(path, numbers=np.tile([z for z, _ in BASIS], nx * ny * nz), positions=places, cell=np.array([nx, ny, nz]) * A)
    return str(path)
