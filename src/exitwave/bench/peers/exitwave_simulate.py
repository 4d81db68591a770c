"""exitwave's side of the simulation benchmark: `exitwave_simulate.py THREADS`, jobs by `serve`."""

import sys
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch
from serve import serve

from exitwave import __version__
from exitwave.core import Beam, Grid
from exitwave.core.threads import set_threads
from exitwave.matter import Structure, even_slices, structure
from exitwave.simulate.choose import Probes, choose, run, trial_error
from exitwave.simulate.slabs import in_field, layer, layers, propagated
from exitwave.simulate.stem import Samples
from exitwave.wave import Annulus, Scan, raster_scan

set_threads(int(sys.argv[1]))
held = {}


def atoms_of(given: dict) -> Structure:
    """The atoms that were written."""
    table = np.load(given["atoms"])
    return structure(torch.from_numpy(table["numbers"]), torch.from_numpy(table["positions"]), tuple(table["cell"].tolist()))


def potential(given: dict) -> dict:
    """Make and keep the alias-free transmission of every slice that is not like another."""
    atoms, n = atoms_of(given), given["gpts"]
    grid = Grid(shape=(n[1], n[0]), pitch_A=(atoms.cell_A[1] / n[1], atoms.cell_A[0] / n[0]))
    held.clear()
    with torch.no_grad():
        of = layers(atoms, grid, Beam.electron(given["energy_eV"]), even_slices(atoms, given["slice_A"]))
        held.update(of=of, unit={z: layer(of, z) for z in of.distinct})
    return {"slices": len(of.first), "made": len(of.distinct), "cells": of.cells, "unit": of.unit.shape}


def whole_field(given: dict) -> None:
    """Forget that cells repeat: transmissions on the grid of the field."""
    held["unit"] = {z: in_field(held["of"], t) for z, t in held["unit"].items()}
    held["of"] = replace(held["of"], unit=held["of"].grid, cells=(1, 1))


def given_transmission(given: dict) -> None:
    """Keep a transmission (z, y, x) from a file instead, each slice for itself."""
    made, energy = torch.from_numpy(np.load(given["transmission"])), given["energy_eV"]
    count, (ny, nx), (ey, ex) = len(made), made.shape[1:], given["extent_A"][::-1]
    grid = Grid(shape=(ny, nx), pitch_A=(ey / ny, ex / nx))
    empty = structure([1], [[0.0, 0.0, 0.0]], (ex, ey, count * given["slice_A"]))
    of = layers(empty, grid, Beam.electron(energy), even_slices(empty, given["slice_A"]))
    held.clear()
    held.update(of=replace(of, unit=grid, cells=(1, 1), first=tuple(range(count))), unit=dict(enumerate(made)))


def exit_wave(given: dict) -> dict:
    """A plane wave through the transmission."""
    of, unit = held["of"], held["unit"]
    with torch.no_grad():
        wave = in_field(of, propagated(of, (unit[z] for z in of.first), [len(of.first) - 1]))[0]
    if "out" in given:
        np.save(given["out"], wave.numpy())
    return {"mean": float((wave.abs() ** 2).mean())}


def scanned(given: dict) -> dict:
    """Probes over the transmission: patterns to the edge that abTEM calls valid, or an annulus."""
    of, unit = held["of"], held["unit"]
    grid, beam = of.grid, of.beam
    reach = 1e3 * beam.wavelength_A * of.band_limit * grid.nyquist_invA / 2**0.5
    ring = given.get("annulus_mrad")
    detector = Samples(reach_mrad=reach) if ring is None else Annulus(inner_mrad=ring[0], outer_mrad=ring[1])
    scan = scan_of(given)
    with torch.no_grad():
        optics = Probes(beam=beam, semiangle_mrad=given["semiangle_mrad"], scan=scan, detectors=(detector,))
        window = tuple(given["window"]) if "window" in given else None
        plan = choose(of, optics, mode=given.get("mode"), window=window, periodic=given.get("periodic", True), ready=unit)
        (made,) = run([of], optics, plan, periodic=given.get("periodic", True), ready=unit)
    if "out" in given:
        np.save(given["out"], made.numpy())
    return {"shape": list(made.shape), "mean": float(made.mean()), "why": plan.why}


def scan_of(given: dict) -> Scan:
    """The raster, without its end points."""
    (nx, ny), (ex, ey), (x, y) = given["positions"], given["end_A"], given.get("start_A", (0, 0))
    return raster_scan((ny, nx), (ey / ny, ex / nx), (y, x))


def window_error(given: dict) -> float:
    """The largest difference of patterns from the whole field's at two positions, relative to the incident pattern's largest sample."""
    of, (ny, nx) = held["of"], given["window"]
    optics = Probes(beam=of.beam, semiangle_mrad=given["semiangle_mrad"], scan=scan_of(given), detectors=())
    fields = {z: in_field(of, t) for z, t in held["unit"].items()}
    with torch.no_grad():
        return trial_error(of, fields, optics, Grid(shape=(ny, nx), pitch_A=of.grid.pitch_A), [0, len(optics.scan.positions_A) // 2 + 5], 1.0)


def floor(given: dict) -> None:
    """2 transforms and 2 products for each slice and wave."""
    n = given["side"]
    psi, work = (torch.ones(n, n, dtype=torch.complex64) for _ in range(2))
    with torch.no_grad():
        for _ in range(given["steps"]):
            psi = torch.fft.ifft2(torch.fft.fft2(psi.mul_(work)).mul_(work))


if __name__ == "__main__":
    serve({"potential": potential, "whole_field": whole_field, "given_transmission": given_transmission, "exit_wave": exit_wave, "scanned": scanned,
           "window_error": window_error, "floor": floor},
          {"exitwave": __version__, "torch": version("torch"), "threads": torch.get_num_threads()})
