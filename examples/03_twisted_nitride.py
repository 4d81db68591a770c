"""
Two twisted nitride membranes, taken apart
==========================================

Freestanding CrN membranes stacked at a twist make a moire: eightfold and quasiperiodic at 45 degrees, with coinciding columns at 16.26
degrees (arXiv 2512.18193). A projection shows both lattices at once; multislice ptychography tells which column lies in which membrane. The
script simulates both stacks on a finer grid than the fit uses, with counting noise, fits a defocused scan with four slices, and reads the
twist of each half off its own Fourier peaks. Needs no data; about five minutes on two cores, most of it simulation.
Run: ``python examples/03_twisted_nitride.py OUTPUT_FOLDER``.
"""

# sphinx_gallery_thumbnail_path = 'gallery/twisted_nitride.png'

# %%
# The stacks
# ----------
# Rock-salt CrN along [001] is a square lattice of columns b = a / 2 apart, every one alike in projection. Both stacks are exactly periodic: at 45
# degrees 17 b is 12 b sqrt 2 to 0.17 percent, which strains one membrane by that much; at 16.26 = 2 atan (1 / 7) degrees five b coincide.
import sys
from math import atan, cos, degrees, radians, sin, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import numpy as np

import exitwave
from exitwave.recon.iterative import PtychoOptions, follow, prepare, scan_image
from exitwave.simulate import FourDRecipe, experiment_of, write_fourd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

output = Path(sys.argv[1] if len(sys.argv) > 1 else "twisted_nitride")
output.mkdir(parents=True, exist_ok=True)
A, CELLS, GAP_A, SCAN, STEP_A, ITERATIONS = 4.15, 6, 3.5, 40, 0.5, 30
B = A / 2
THICK_A = (CELLS - 0.5) * A


def membrane(side_A: float, twist_deg: float, period_A: float, top_A: float) -> list[str]:
    """Atoms of a membrane whose column lattice has the period `period_A`, turned about the origin, inside one periodic square."""
    c, s, reach = cos(radians(twist_deg)), sin(radians(twist_deg)), int(1.5 * side_A / period_A) + 2
    lines = []
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            x, y = period_A * (c * i - s * j), period_A * (s * i + c * j)
            if -1e-6 <= x < side_A - 1e-6 and -1e-6 <= y < side_A - 1e-6:
                for layer in range(2 * CELLS):
                    name = "Cr" if (i + j + layer) % 2 == 0 else "N"
                    lines.append(f"{name} {x % side_A:.5f} {y % side_A:.5f} {top_A + layer * B:.5f}")
    return lines


def stack_xyz(twist_deg: float) -> tuple[str, float]:
    """Extended XYZ of two membranes, and the twist that they have."""
    if twist_deg == 45:
        cell, lower = 17 * B, 17 * B / (12 * sqrt(2))
        turned = [(0.0, B), (45.0, lower)]
        times = 2
    else:
        cell, turned, times = 5 * B, [(0.0, B), (degrees(2 * atan(1 / 7)), B)], 7
    side = 2 * cell * times / 2
    tops = (0.0, THICK_A + GAP_A)
    atoms = [line for (twist, period), top in zip(turned, tops, strict=True) for line in membrane(side, twist, period, top)]
    box = f'Lattice="{side} 0 0 0 {side} 0 0 0 {2 * THICK_A + GAP_A}" Properties=species:S:1:pos:R:3 pbc="T T F"'
    return "\n".join([str(len(atoms)), box, *atoms]) + "\n", turned[1][0]


# %%
# Scan and fit
# ------------
# 300 kV, 25 mrad, 10 nm overfocus, a field of 22 A, 1e6 electrons per square Angstrom. The fit starts from nothing but the calibration.
def fitted(twist_deg: float) -> tuple[np.ndarray, float, float]:
    """(slices, pitch, true twist) of a stack."""
    text, true = stack_xyz(twist_deg)
    with TemporaryDirectory() as folder:
        file, scan = Path(folder) / "stack.xyz", Path(folder) / "scan.h5"
        file.write_text(text, encoding="ascii")
        recipe = FourDRecipe(
            specimen=str(file), energy_eV=300e3, semiangle_mrad=25.0, aberrations={"C10_A": -100.0}, scan_shape=(SCAN, SCAN), scan_step_A=STEP_A,
            detector_px=(64, 64), detector_mrad=1.6, centre_offset_px=(0.5, 0.5), dose_e_per_A2=1e6, slice_A=B,
        )
        write_fourd(scan, experiment_of(recipe))
        data = exitwave.io.open(scan)
        options = PtychoOptions(slices=4, thickness_A=2 * THICK_A + GAP_A, iterations=ITERATIONS, held_share=0.02)
        ready = prepare(data.frames, data.calibration, None, options, memory_bytes=2 * 2**30)
        done = follow(ready)
        image = scan_image(ready.problem.setup, done.leaves["phase"].real.mean(0))
    return image.slices, image.pitch_A[0], true


# %%
# Reading the twist
# -----------------
# The angle of the four {10} spots of each half stack, as the weighted mean direction of its ring in Fourier space taken fourfold.
def orientation_deg(phase: np.ndarray, pitch_A: float) -> float:
    """The direction of a square lattice of period b, modulo 90 degrees: the phase of sum |F|^2 exp(4 i angle) over its first ring."""
    power, angle = ring(phase, pitch_A)
    return float(np.degrees(np.angle((power * np.exp(4j * angle)).sum())) / 4)


def eightfold(phase: np.ndarray, pitch_A: float) -> float:
    """|<exp(8 i angle)>| - |<exp(4 i angle)>| over the first ring: one where spots lie every 45 degrees, zero for one square lattice."""
    power, angle = ring(phase, pitch_A)
    eight, four = (abs((power * np.exp(n * 1j * angle)).sum()) / power.sum() for n in (8, 4))
    return float(eight - four)


def ring(phase: np.ndarray, pitch_A: float) -> tuple[np.ndarray, np.ndarray]:
    """Power and angle of the peaks on the ring of the {10} spots, on a four times finer frequency grid."""
    ny, nx = phase.shape
    window = np.hanning(ny)[:, None] * np.hanning(nx)[None]
    spectrum = np.abs(np.fft.fft2((phase - phase.mean()) * window, (8 * ny, 8 * nx))) ** 2
    ky, kx = np.fft.fftfreq(8 * ny, pitch_A)[:, None], np.fft.fftfreq(8 * nx, pitch_A)[None]
    k = np.hypot(ky, kx)
    on = (np.abs(k - 1 / B) < 0.04) & (spectrum > 0.2 * spectrum[np.abs(k - 1 / B) < 0.04].max())
    return spectrum[on], np.broadcast_to(np.arctan2(ky, kx), on.shape)[on]


# %%
# What comes out
# --------------
# Upper and lower half, their sum, and the same of the other twist. A half that leaked into the other would show both lattices and a twist between.
figure, axes = plt.subplots(2, 4, figsize=(13, 6.6), layout="constrained")
for row, twist in zip(axes, (45.0, 16.26), strict=True):
    slices, pitch, true = fitted(twist)
    upper, lower = slices[:2].sum(0), slices[2:].sum(0)
    found = (orientation_deg(lower, pitch) - orientation_deg(upper, pitch)) % 90
    score = eightfold(upper + lower, pitch)
    print(f"twist {found:.3f} degrees (true {true:.3f}); eightfold score of the projection {score:.2f}")
    side = upper.shape[0] * pitch
    for ax, image, name in zip(row, (upper, lower, upper + lower), ("upper membrane", "lower membrane", "both"), strict=False):
        low, high = np.percentile(image, (1, 99.5))
        ax.imshow(image, cmap="gray", vmin=low, vmax=high, extent=(0, side, side, 0))
        ax.set(title=f"{name}, {high - low:.2f} rad", xticks=[], yticks=[])
        ax.plot([1, 6], [side - 1, side - 1], color="white", linewidth=3)
        ax.text(3.5, side - 1.6, "5 Å", color="white", ha="center", va="bottom")
    both = upper + lower
    window = np.hanning(both.shape[0])[:, None] * np.hanning(both.shape[1])[None]
    power = np.fft.fftshift(np.abs(np.fft.fft2((both - both.mean()) * window, (512, 512))))
    k = 0.5 / pitch
    row[3].imshow(np.sqrt(power), cmap="magma", extent=(-k, k, k, -k), vmax=np.sqrt(power.max()) * 0.8)
    row[3].set(xlim=(-1, 1), ylim=(1, -1), xlabel="1/Å", title=f"twist {found:.2f}° (true {true:.2f}°)")
figure.savefig(output / "twisted_nitride.png", dpi=100)
