"""
Simulate a scan, calibrate it blind, reconstruct it
===================================================

A gold nanoparticle on carbon is scanned with a defocused beam. The file says what an operator reads off the microscope (energy, aperture, scan
step, detector pixel) and nothing more; rotation, handedness, centre, defocus and astigmatism are found from the counts. Needs no data and
takes about twenty seconds on two cores. Run: ``python examples/02_simulate_and_reconstruct.py``.
"""

# %%
# The experiment
# --------------
# A recipe holds everything the scan depends on. Its optics are hidden from the file by ``blind=True``, so they have to be found again.
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch

import exitwave
from exitwave.core.fft import pad_spectrum
from exitwave.recon import calibrate, direct
from exitwave.signal import frc
from exitwave.simulate import FourDRecipe, experiment_of, write_fourd

recipe = FourDRecipe(
    specimen="Au-nanoparticle",
    energy_eV=200e3,
    semiangle_mrad=20.0,
    scan_shape=(64, 64),
    scan_step_A=0.625,
    detector_px=(48, 48),
    detector_mrad=1.25,
    aberrations={"C10_A": -300.0, "C12_A": 40.0, "phi12_deg": 23.0},
    rotation_deg=-54.0,
    transpose=True,
    dose_e_per_A2=5e3,
    slice_A=14.0,
)
folder = TemporaryDirectory()
path = Path(folder.name) / "scan.h5"
write_fourd(path, experiment_of(recipe), blind=True)

# %%
# What the counts say about the instrument
# ----------------------------------------
# Opening looks at headers only. :func:`~exitwave.recon.calibrate.calibrate` reads the frames and gives each figure with its uncertainty.
data = exitwave.io.open(path)
found = calibrate.calibrate(data)
known = found.calibration
print("\n".join(found.notes))
measured = {**known.aberrations, "rotation_deg": known.rotation_deg}
for name, true in {**recipe.aberrations, "rotation_deg": recipe.rotation_deg}.items():
    print(f"{name:>12}: {measured[name].value:8.2f} +- {measured[name].sigma:.2f}, true {true:g}")

# %%
# The phase image beside the truth
# --------------------------------
# Single side band, upsampled twice: tilted virtual images interleave, so the image holds detail beyond the scan's own Nyquist frequency. The
# image is the specimen's phase times the transfer ``phase.ctf``; the projected phase has therefore more low frequencies than any image can show.
geometry = direct.geometry(known, data.shape, torch.from_numpy(found.alive))
phase = direct.reconstruct(data.frames, geometry, "ssb", upsample=2)
truth = torch.from_numpy(exitwave.io.read_truth(path)["reference"].array).double()
folder.cleanup()


def as_fine_as(image: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The image on a finer grid, its spectrum padded with zeros."""
    padded = pad_spectrum(torch.fft.fft2(image.double()), shape)
    return torch.fft.ifft2(padded).real * shape[0] * shape[1] / image.numel()


rows, columns = truth.shape
extent_A = [n * step for n, step in zip(phase.image.shape, phase.pitch_A, strict=True)]
pitch_A = (extent_A[0] / rows, extent_A[1] / columns)
rings = frc(truth, as_fine_as(phase.image, (rows, columns)), pitch_A)

figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
panels = {"projected phase": truth, "SSB phase, calibrated blind": phase.image}
for at, (title, image) in zip(axes, panels.items(), strict=False):
    shown = at.imshow(image - image.median(), cmap="gray", extent=(0, extent_A[1], extent_A[0], 0))
    at.set(title=title, xlabel="Å", ylabel="Å")
    figure.colorbar(shown, ax=at, label="rad", shrink=0.85)
axes[2].plot(rings.q_invA, rings.value)
axes[2].axhline(0.5, color="k", lw=0.8, ls=":")
axes[2].set(xlim=(0, 2 * geometry.edge_invA), ylim=(-0.2, 1.02), xlabel="q (1/Å)")
axes[2].set(ylabel="correlation with the truth", title="up to twice the aperture")
plt.show()
