"""EDS: seconds and memory of zeta with absorption beside exSpy, agreement with it on the same counts, the oxides that it gets wrong, and the
conditions under which zeta keeps ZnO within 1 at%."""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.bench.direct import PEERS, peer_python
from exitwave.bench.process import ProcessDied, Server, largest, middle, seconds, server
from exitwave.bench.registry import Options, Row
from exitwave.matter.xrays import EdsDetector, xray_tables
from exitwave.simulate.eds import EdsBeam, expected_spectra
from exitwave.simulate.eds_rays import wedge
from exitwave.spectra.eds import (
    Factors,
    LineSet,
    Uncertain,
    correction,
    line_set,
    quantify_cliff_lorimer,
    quantify_zeta,
    theory,
    view_of,
)

PEER, RUNS, SIDE, CHANNELS = "exspy", 5, 256, 2048
ELEVATION, DOSE, DENSITY = 22.0, 1e9, 5606.0
LINES, ELEMENTS = ("O-Ka", "Zn-Ka"), ("O", "Zn")
MISSING = "exSpy is not installed, ours ran alone: `make peers PEERS=exspy`, or name the folder of peers in EXITWAVE_PEERS"
COUNTED = "from the file (in the page cache) to at% in every pixel: windows with background, zeta with absorption; ours with its full covariance"
# formula, density in kg/m^3, lines, atoms
OXIDES = (("ZnO", 5606.0, ("O-Ka", "Zn-Ka"), (1, 1)), ("MgO", 3580.0, ("Mg-Ka", "O-Ka"), (1, 1)), ("Al2O3", 3950.0, ("Al-Ka", "O-Ka"), (2, 3)),
          ("SiO2", 2650.0, ("O-Ka", "Si-Ka"), (2, 1)))


def rows(options: Options) -> list[Row]:
    """Speed beside exSpy, agreement with it, oxides, and the map of what zeta bears."""
    python = peer_python(PEER)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exitwave-bench-")))
        given = _written(folder)
        ours = stack.enter_context(server([sys.executable, str(PEERS / "exitwave_eds.py"), str(options.threads)], options.threads))
        theirs, note = None, MISSING
        if python is not None:
            try:
                theirs = stack.enter_context(server([str(python), str(PEERS / "exspy_eds.py"), str(options.threads)], options.threads))
                note = ""
            except ProcessDied as error:
                note = f"exSpy did not run, ours ran alone: {error}"
        found = [_speed(given, ours, theirs, options.runs or RUNS) | {"note": note}, _fit(given, ours)]
        if theirs is not None:
            found += [_agreement(given, theirs, folder), *(_oxide(theirs, *oxide) for oxide in OXIDES)]
    return found + tolerances()


def tolerances(thicknesses_nm: tuple[float, ...] = (50.0, 100.0, 200.0, 400.0)) -> list[Row]:
    """At each thickness of ZnO: the shift of O by a stated error of dose, take-off angle, table and efficiency, and how large that error may be for
    zeta to stay within 1 at%."""
    tables, other = xray_tables("elam"), xray_tables("chantler")
    lines, bent = line_set(LINES, tables), line_set(LINES, other)
    factors = theory(lines, 200e3, (EdsDetector(elevation_deg=ELEVATION),), tables)
    found = []
    for thickness in thicknesses_nm:
        counts = _counts(lines, factors, thickness, ELEVATION)

        def shift(dose: float = 1.0, elevation: float = ELEVATION, efficiency: float = 1.0, used: LineSet = lines,
                  counts: np.ndarray = counts) -> float:
            zeta = replace(factors, zeta=factors.zeta * np.array([efficiency, 1.0]))
            view = view_of((EdsDetector(elevation_deg=elevation),))
            return float(100 * quantify_zeta(counts, counts, used, zeta, Uncertain(value=DOSE * dose), view).atomic[0] - 50)

        found.append({"case": f"zeta of ZnO, {thickness:g} nm", "counted": "shift of O in at%; and the error that shifts it by 1 at%",
                      "dose +5 %": shift(dose=1.05), "take-off 20 deg in place of 22": shift(elevation=20.0), "table chantler": shift(used=bent),
                      "O efficiency +2 %": shift(efficiency=1.02), "dose_tolerance": 0.05 / abs(shift(dose=1.05)),
                      "angle_tolerance_deg": 2 / abs(shift(elevation=20.0)), "efficiency_tolerance": 0.02 / abs(shift(efficiency=1.02))})
    return found


def _written(folder: Path) -> dict[str, Any]:
    """A ZnO wedge of 256 x 256 spectra with Poisson counts on disk."""
    tables = xray_tables("elam")
    weights = np.array([tables.weight_g_mol(element) for element in ELEMENTS])
    thickness = np.linspace(200, 4000, SIDE)[None]
    detector = EdsDetector(elevation_deg=ELEVATION, solid_angle_sr=0.9, silicon_um=450.0)
    energies = -200 + 10.0 * np.arange(CHANNELS)
    sheet = wedge(ELEMENTS, tuple(weights / weights.sum()), DENSITY, thickness, (20.0, 20.0))
    mean = expected_spectra(sheet, energies, EdsBeam(energy_eV=200e3, dose_e=DOSE), (detector,), tables)[0]
    path, generator = folder / "image.npy", np.random.default_rng(1)
    image = np.lib.format.open_memmap(path, "w+", np.uint16, (SIDE, SIDE, CHANNELS))
    for row in range(SIDE):
        image[row] = generator.poisson(mean)
    image.flush()
    lines = line_set(LINES, tables)
    return {"path": str(path), "lines": LINES, "elements": ELEMENTS, "scale_eV": 10.0, "offset_eV": -200.0, "elevation_deg": ELEVATION,
            "dose_e": DOSE, "zeta": theory(lines, 200e3, (detector,), tables).zeta.tolist()}


def _speed(given: Mapping[str, Any], ours: Server, theirs: Server | None, runs: int) -> Row:
    """Ours and theirs in turn after one warm-up each, which compiles."""
    folder = Path(given["path"]).parent
    own, peer = ({**given, "out": str(folder / f"{name}.npy")} for name in ("ours", "theirs"))
    libraries = ours.ask("rest")["rest_bytes"], theirs.ask("rest")["rest_bytes"] if theirs is not None else None
    mine: list[Mapping[str, Any]] = []
    said: list[Mapping[str, Any]] = []
    for run in range(runs + 1):
        mine += [ours.ask("zeta", own)] if run else [ours.ask("zeta", own)][1:]
        if theirs is not None:
            said += [theirs.ask("zeta", peer)] if run else [theirs.ask("zeta", peer)][1:]
    atomic = np.load(own["out"])
    row: Row = {"case": f"EDS zeta, {SIDE} x {SIDE} x {CHANNELS}", "ours_s": middle(mine), "ours_s_all": seconds(mine),
                "ours_peak_bytes": largest(mine), "ours_libraries_bytes": libraries[0], "counted": COUNTED,
                "error_ours": float(abs(atomic[..., 0].mean(0) - 50)[20:].max())}
    if not said:
        return row
    image = np.load(peer["out"])
    return row | {"peer": f"exspy {theirs.about['exspy'] if theirs else ''}", "peer_s": middle(said), "peer_s_all": seconds(said),
                  "peer_peak_bytes": largest(said), "peer_libraries_bytes": libraries[1],
                  "ratio_of_quickest": min(seconds(said)) / min(seconds(mine)), "error_peer": float(abs(image[0].mean(0) - 50)[20:].max())}


def _fit(given: Mapping[str, Any], ours: Server) -> Row:
    said = [ours.ask("fit", given)]
    return {"case": f"EDS Poisson fit of {SIDE} x {SIDE} x {CHANNELS}", "ours_s": middle(said), "ours_peak_bytes": largest(said),
            "counted": "every spectrum fitted: lines, their covariance, background; run once"}


def _agreement(given: Mapping[str, Any], theirs: Server, folder: Path) -> Row:
    """The same counts, absorption coefficients and atomic weights: at% of exSpy as it comes and with its iteration tightened."""
    lines = line_set(LINES, xray_tables("elam"))
    factors = Factors(lines=lines.names, zeta=np.array(given["zeta"]), covariance=np.zeros((2, 2)), absolute=True, source="bench")
    counts = np.stack([_counts(lines, factors, t, ELEVATION) for t in np.linspace(20, 800, SIDE)])
    counts = np.ascontiguousarray(np.broadcast_to(counts, (SIDE, SIDE, 2)))
    np.save(folder / "counts.npy", counts)
    theirs.ask("load", given)
    asked = {**given, "counts": str(folder / "counts.npy"), "out": str(folder / "agree.npy")}
    differ = {}
    for name, criterion in (("as it comes", 0.5), ("tightened", 1e-9)):
        answer = theirs.ask("counts", {**asked, "criterion": criterion})["result"]
        same = replace(lines, mac_m2_kg=np.array(answer["mac_m2_kg"]), weights_g_mol=np.array(answer["weights"]))
        ours = quantify_zeta(counts, counts, same, factors, Uncertain(value=DOSE), view_of((EdsDetector(elevation_deg=ELEVATION),)))
        differ[name] = float(abs(100 * np.moveaxis(ours.atomic, -1, 0) - np.load(asked["out"])).max())
    return {"case": "EDS zeta, agreement, 20 to 800 nm", "peer": f"exspy {theirs.about['exspy']}", "counted": "largest difference in at%",
            "difference_at": differ["as it comes"], "difference_at_tightened": differ["tightened"]}


def _oxide(theirs: Server, formula: str, density: float, names: tuple[str, ...], atoms: tuple[int, ...]) -> Row:
    """Cliff-Lorimer of 200 nm with absorption: O in at%, true, ours with the compound's density, exSpy with its own."""
    lines = line_set(names, xray_tables("elam"))
    share = np.array(atoms) / sum(atoms)
    k, view = np.array([1.0, 1.3]), view_of((EdsDetector(elevation_deg=ELEVATION),))
    asked = {"lines": names, "elements": [name.split("-")[0] for name in names], "elevation_deg": ELEVATION, "k": k.tolist(), "thickness_nm": 200.0}
    first = theirs.ask("cliff_lorimer", {**asked, "counts": [1.0, 1.0]})["result"]
    same = replace(lines, mac_m2_kg=np.array(first["mac_m2_kg"]))
    mass = share * same.weights_g_mol / (share @ same.weights_g_mol) * density * 2e-7
    counts = 1e7 * mass / k / correction(view.paths * (same.mac_m2_kg @ mass))
    factors = Factors(lines=same.names, zeta=k, covariance=np.zeros((2, 2)), absolute=False, source="bench")
    ours = quantify_cliff_lorimer(counts, counts, same, factors, Uncertain(value=density * 2e-7), view)
    peer = theirs.ask("cliff_lorimer", {**asked, "counts": counts.tolist()})["result"]["atomic"]
    oxygen = [name.split("-")[0] for name in names].index("O")
    return {"case": f"EDS Cliff-Lorimer of {formula}, 200 nm", "peer": f"exspy {theirs.about['exspy']}", "counted": "O in at%",
            "truth": 100 * float(share[oxygen]), "ours": 100 * float(ours.atomic[oxygen]), "theirs": float(peer[oxygen]),
            "error_ours": 100 * abs(float(ours.atomic[oxygen] - share[oxygen])), "error_peer": abs(float(peer[oxygen]) - 100 * float(share[oxygen]))}


def _counts(lines: LineSet, factors: Factors, thickness_nm: float, elevation: float) -> np.ndarray:
    weights = 0.5 * lines.weights_g_mol
    mass = weights / weights.sum() * DENSITY * thickness_nm * 1e-9
    view = view_of((EdsDetector(elevation_deg=elevation),))
    return mass / factors.zeta * DOSE / correction(view.paths * (lines.mac_m2_kg @ mass))
