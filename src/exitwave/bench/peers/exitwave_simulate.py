"""exitwave's side of the simulation benchmark: `exitwave_simulate.py THREADS`, jobs by `serve`."""

import sys
from importlib.metadata import version

import numpy as np
import torch
from serve import serve

from exitwave import __version__
from exitwave.core import Beam, Grid
from exitwave.core.threads import set_threads
from exitwave.matter import Structure, even_slices, structure
from exitwave.optics import fresnel, probe
from exitwave.simulate.slabs import transmissions
from exitwave.simulate.stem import stem_images
from exitwave.wave import Annulus, Experiment, FarField, Illumination, Image, Specimen, multislice, raster_scan

set_threads(int(sys.argv[1]))
held = {}


def atoms_of(given: dict) -> Structure:
    """The atoms that were written."""
    table = np.load(given["atoms"])
    return structure(torch.from_numpy(table["numbers"]), torch.from_numpy(table["positions"]), tuple(table["cell"].tolist()))


def potential(given: dict) -> list:
    """Build and keep the alias-free transmission of every slice."""
    atoms, n = atoms_of(given), given["gpts"]
    grid = Grid(shape=(n[1], n[0]), pitch_A=(atoms.cell_A[1] / n[1], atoms.cell_A[0] / n[0]))
    dz = even_slices(atoms, given["slice_A"])
    beam = Beam.electron(given["energy_eV"])
    held.clear()
    with torch.no_grad():
        made = torch.stack(list(transmissions(atoms, grid, beam, dz)))
    held.update(t=made, grid=grid, dz=dz, beam=beam)
    return list(made.shape)


def exit_wave(given: dict) -> dict:
    """A plane wave through the transmission."""
    grid, beam, dz = held["grid"], held["beam"], held["dz"]
    with torch.no_grad():
        kernel = fresnel(grid, beam, float(dz[0]))
        wave, _ = multislice(torch.ones(grid.shape, dtype=torch.complex64), held["t"], [kernel] * len(dz))
    if "out" in given:
        np.save(given["out"], wave.numpy())
    return {"mean": float((wave.abs() ** 2).mean())}


def scanned(given: dict) -> dict:
    """Probes over the transmission: full patterns inside the band, or an annulus."""
    grid, beam, dz, t = held["grid"], held["beam"], held["dz"], held["t"]
    phase = torch.complex(torch.angle(t), -torch.log(torch.clamp(t.abs(), min=1e-6)))
    specimen = Specimen(grid=grid, dz_A=dz, phase_rad=phase, at_beam=beam)
    psi = probe(grid, beam, semiangle_mrad=given["semiangle_mrad"])
    detector = Annulus(inner_mrad=given["annulus_mrad"][0], outer_mrad=given["annulus_mrad"][1]) if "annulus_mrad" in given else Image()
    (nx, ny), (ex, ey) = given["positions"], given["end_A"]
    scan = raster_scan((ny, nx), (ey / ny, ex / nx))
    x = Experiment(beam=beam, illumination=Illumination(grid=grid, modes=psi[None]), specimen=specimen, transfer=FarField(), detectors=(detector,),
                   dose_e=torch.tensor(1.0), scan=scan)
    (made,) = stem_images(x)
    if "out" in given:
        np.save(given["out"], made.numpy())
    return {"shape": list(made.shape), "mean": float(made.mean())}


def floor(given: dict) -> None:
    """2 transforms and 2 products for each slice and wave."""
    n = given["side"]
    psi, work = (torch.ones(n, n, dtype=torch.complex64) for _ in range(2))
    with torch.no_grad():
        for _ in range(given["steps"]):
            psi = torch.fft.ifft2(torch.fft.fft2(psi.mul_(work)).mul_(work))


if __name__ == "__main__":
    serve({"potential": potential, "exit_wave": exit_wave, "scanned": scanned, "floor": floor},
          {"exitwave": __version__, "torch": version("torch"), "threads": torch.get_num_threads()})
