"""abTEM's side of the simulation benchmark, run by its own python: `abtem_simulate.py THREADS`, jobs by `serve`. Eager, FFTW, as quick as it goes."""

import sys
import warnings
from importlib.metadata import version

import numpy as np

warnings.filterwarnings("ignore")

import abtem  # noqa: E402
import pyfftw  # noqa: E402
from ase import Atoms  # noqa: E402
from serve import serve  # noqa: E402

THREADS = int(sys.argv[1])
abtem.config.set({"fft": "fftw", "fftw.threads": THREADS, "dask.lazy": False, "diagnostics.progress_bar": False, "precision": "float32",
                  "device": "cpu"})
held = {}


def atoms_of(given: dict) -> Atoms:
    """The atoms that were written."""
    table = np.load(given["atoms"])
    return Atoms(numbers=table["numbers"], positions=table["positions"], cell=table["cell"], pbc=True)


def potential(given: dict) -> list:
    """Build and keep the potential of every slice."""
    made = abtem.Potential(atoms_of(given), gpts=tuple(given["gpts"]), slice_thickness=given["slice_A"], parametrization="lobato",
                           projection="infinite").build()
    held["potential"] = made
    return list(made.array.shape)


def given_potential(given: dict) -> list:
    """Keep a potential (z, x, y) in V A from a file instead."""
    volts = np.load(given["volts"])
    held["potential"] = abtem.PotentialArray(volts.astype(np.float32), slice_thickness=given["slice_A"], extent=tuple(given["extent_A"]))
    return list(volts.shape)


def exit_wave(given: dict) -> dict:
    """A plane wave through the potential."""
    wave = abtem.PlaneWave(energy=given["energy_eV"]).multislice(held["potential"])
    if "out" in given:
        np.save(given["out"], wave.array)
    return {"mean": float((np.abs(wave.array) ** 2).mean())}


def scanned(given: dict) -> dict:
    """Probes over the potential: full patterns, an annulus, or PRISM with an interpolation."""
    if "start_A" in given:
        scan = abtem.CustomScan(np.array([given["start_A"]]))
    else:
        scan = abtem.GridScan(start=(0, 0), end=tuple(given["end_A"]), gpts=tuple(given["positions"]))
    detector = abtem.AnnularDetector(*given["annulus_mrad"]) if "annulus_mrad" in given else abtem.PixelatedDetector(max_angle="valid")
    if given.get("prism"):
        source = abtem.SMatrix(potential=held["potential"], energy=given["energy_eV"], semiangle_cutoff=given["semiangle_mrad"],
                               interpolation=given["prism"])
        made = source.scan(scan, detectors=detector)
    else:
        probe = abtem.Probe(energy=given["energy_eV"], semiangle_cutoff=given["semiangle_mrad"], soft=False)
        made = probe.scan(held["potential"], scan=scan, detectors=detector)
    if "out" in given:
        np.save(given["out"], made.array)
    return {"shape": list(made.array.shape), "mean": float(made.array.mean())}


def floor(given: dict) -> None:
    """2 transforms and 2 products for each slice and wave, in place, planned beforehand."""
    n = given["side"]
    psi, work = (pyfftw.empty_aligned((n, n), dtype="complex64") for _ in range(2))
    plans = held.setdefault(("plans", n), [pyfftw.FFTW(psi, psi, axes=(0, 1), direction=way, flags=("FFTW_MEASURE",), threads=THREADS)
                                           for way in ("FFTW_FORWARD", "FFTW_BACKWARD")])
    psi[:] = 1
    work[:] = 1
    for plan in plans:
        plan.update_arrays(psi, psi)
    for _ in range(given["steps"]):
        psi *= work
        plans[0].execute()
        psi *= work
        plans[1].execute()


if __name__ == "__main__":
    serve({"potential": potential, "given_potential": given_potential, "exit_wave": exit_wave, "scanned": scanned, "floor": floor},
          {"abtem": version("abtem"), "pyfftw": version("pyfftw")})
