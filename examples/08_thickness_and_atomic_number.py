"""
Thickness fringes and the Z of a HAADF image
============================================

Left: beams of silicon along [001] swap their intensity with thickness; multislice (points) and Bloch waves of the zero-order Laue zone (lines) agree
to half a percent. Right: the high-angle signal of single atoms against atomic number for three settings, and the exponent that is so often taken for
two. Needs no data and takes about twenty seconds on one core. Run: ``python examples/08_thickness_and_atomic_number.py``.
"""

# sphinx_gallery_thumbnail_path = 'gallery/thickness_and_z.png'

# %%
# Fringes
# -------
# One cell across, four slices a cell, thermal motion as a Debye-Waller factor; the same atoms and table for both.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from exitwave.core import Beam, Grid
from exitwave.matter import even_slices, grid_for, projected_potential, prototype, structure, tile
from exitwave.optics import probe
from exitwave.simulate.bloch import beams_at, bloch_waves, reflections
from exitwave.simulate.slabs import exit_waves
from exitwave.simulate.stem import stem_images
from exitwave.wave import Annulus, Experiment, FarField, Illumination, Scan, Specimen

beam, cells = Beam.electron(200e3), 160
cell = prototype("Si", (5.0, 5.0), thickness_A=5.0)
thick = tile(cell, (1, 1, cells))
dz = even_slices(thick, cell.cell_A[2] / 4)
after = list(range(15, len(dz), 16))
grid = grid_for(thick, 0.06)
waves = exit_waves(thick, grid, beam, dz, after)
spectra = (torch.fft.fft2(waves).abs() / waves[0].numel()) ** 2
depth = np.array([float(dz[: i + 1].sum()) for i in after])

bloch = bloch_waves(cell, beam, reflections(cell, beam, 3.2))
line = torch.linspace(0, float(depth[-1]), 300, dtype=torch.float64)
found, amplitude = beams_at(bloch, line)
beams = {"000": (0, 0), "220": (2, 2), "400": (4, 0)}

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
for (name, hk), colour in zip(beams.items(), ("#0072b2", "#e69f00", "#009e73"), strict=True):
    column = next(i for i, row in enumerate(found.tolist()) if tuple(row) == hk)
    curve = amplitude[:, column].abs() ** 2
    h, k = hk
    points = spectra[:, k, h]
    scale = {"000": 1, "220": 5, "400": 20}[name]
    left.plot(line / 10, scale * curve, color=colour)
    left.plot(depth / 10, scale * points, "o", ms=3, color=colour, label=name if scale == 1 else f"{name} × {scale}")
    exact = np.interp(depth, line.numpy(), curve.numpy())
    print(f"beam {name}: multislice and Bloch waves differ by {np.abs(points.numpy() - exact).max():.1e} of the incident intensity at most")
left.set(xlabel="thickness (nm)", ylabel="intensity / incident", title="Si [001], 200 kV: lines Bloch, points multislice")
left.legend()

# %%
# The exponent of Z
# -----------------
# One atom that does not move, the probe on it. A static nucleus is pointed, so the pitch has to be fine.
numbers = [5, 6, 7, 8, 13, 14, 22, 29, 38, 47, 57, 64, 74, 79]


def signal(z: int, beam: Beam, semiangle_mrad: float, ring: tuple[float, float], pitch_A: float = 0.025, side_A: float = 12.0) -> float:
    """Share of the beam on the ring."""
    n = 2 * round(side_A / pitch_A / 2)
    grid, one = Grid(shape=(n, n), pitch_A=(side_A / n, side_A / n)), torch.tensor([1.0], dtype=torch.float64)
    atom = structure([z], [[side_A / 2, side_A / 2, 0.5]], (side_A, side_A, 1.0))
    phase = projected_potential(atom, grid, one) * beam.sigma_rad_per_VA
    x = Experiment(beam=beam, illumination=Illumination(grid=grid, modes=probe(grid, beam, semiangle_mrad=semiangle_mrad)[None]),
                   specimen=Specimen(grid=grid, dz_A=one, phase_rad=phase, at_beam=beam, oversample=2), transfer=FarField(),
                   detectors=(Annulus(inner_mrad=ring[0], outer_mrad=ring[1]),), dose_e=torch.tensor(1.0, dtype=torch.float64),
                   scan=Scan(positions_A=torch.full((1, 2), side_A / 2, dtype=torch.float64)))
    return float(stem_images(x)[0].reshape(-1)[0])


settings = {"300 kV, 25 mrad, 80–200 mrad": (300e3, 25.0, (80.0, 200.0)), "200 kV, 21 mrad, 80–200 mrad": (200e3, 21.0, (80.0, 200.0)),
            "60 kV, 30 mrad, 60–200 mrad": (60e3, 30.0, (60.0, 200.0))}
for (name, (energy, semiangle, ring)), colour in zip(settings.items(), ("#d55e00", "#0072b2", "#009e73"), strict=True):
    seen = np.array([signal(z, Beam.electron(energy), semiangle, ring) for z in numbers])
    exponent, offset = np.polyfit(np.log(numbers), np.log(seen), 1)
    right.loglog(numbers, seen, "o", ms=4, color=colour, label=f"{name}: $Z^{{{exponent:.2f}}}$")
    right.loglog(numbers, np.exp(offset) * np.array(numbers, dtype=float) ** exponent, color=colour, lw=0.8)
    print(f"{name}: Z^{exponent:.3f}")
right.set_xticks([5, 10, 20, 40, 79], labels=["5", "10", "20", "40", "79"])
right.set_xticks([], minor=True)
right.set(xlabel="atomic number", ylabel="share of the beam on the ring", title="single atoms, probe on them")
right.legend()
figure.savefig(Path("thickness_and_z.png"), dpi=110)
plt.show()
