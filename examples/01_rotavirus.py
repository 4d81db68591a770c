"""
A real cryo scan, from its file to virus particles
==================================================

Calibrate, sweep the focus, reconstruct. The scan (rotavirus double-layered particles, 127 x 127 positions, from SeanXPWu/Ptycho.jl, MIT licence) is
not part of the repository: put ``rotavirus_bin4_u16.h5`` into a folder and name that folder in ``EXITWAVE_DATA``. Without it the script says so and
ends. Its pictures and figures are in the gallery. Run: ``python examples/01_rotavirus.py OUTPUT_FOLDER``.
"""

# sphinx_gallery_thumbnail_path = 'gallery/rotavirus.png'

# %%
# The file
# --------
import os
import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch

import exitwave
from exitwave.data import Quantity
from exitwave.recon import calibrate, direct
from exitwave.signal import frc

matplotlib.use("Agg")
import matplotlib.pyplot as plt

folder = Path(os.environ.get("EXITWAVE_DATA", Path(__file__).parents[2] / "shared" / "data"))
output = Path(sys.argv[1] if len(sys.argv) > 1 else "rotavirus")
scan = folder / "rotavirus_bin4_u16.h5"
if not scan.exists():
    print(f"skipped: {scan} is not there")
    sys.exit()
output.mkdir(parents=True, exist_ok=True)
data = exitwave.io.open(f"{scan}::/dp")

# %%
# What the counts say about the instrument
# ----------------------------------------
found = calibrate.calibrate(data)
known = found.calibration
for line in found.notes:
    print(f"- {line}")
dispersion = known.need("counts_per_electron")
alive = torch.from_numpy(found.alive)


def image_at(c10_A: float, method: str = "ssb", upsample: int = 1) -> direct.DirectImage:
    """The phase image with another defocus."""
    turned = known.updated(aberrations={**known.aberrations, "C10_A": Quantity(value=c10_A, source="given")})
    geometry = direct.geometry(turned, data.shape, alive)
    return direct.reconstruct(
        data.frames, geometry, method, upsample=upsample, dispersion=dispersion, counts_per_electron=dispersion
    )


# %%
# A refocus sweep
# ---------------
# Correlation of the two half sets and contrast, as functions of defocus.
sweep_A = known.need("C10_A") + np.linspace(-30e3, 30e3, 25)
agreement, contrast = [], []
for c10 in sweep_A:
    image = image_at(float(c10))
    agreement.append(frc(*image.halves, image.pitch_A).mean(1.0))
    contrast.append(float(image.image.std()))
top = np.polynomial.Polynomial.fit(sweep_A[8:17], np.array(contrast)[8:17], 2).convert().coef
peak_A = -top[1] / (2 * top[2])
best_A = sweep_A[int(np.argmax(agreement))]
print(f"likelihood: C10 = {known.need('C10_A'):.0f} A; contrast peaks at {peak_A:.0f} A; half sets agree best at {best_A:.0f} A")

# %%
# The picture
# -----------
final = image_at(known.need("C10_A"), "ssb", upsample=4)
ring = frc(*final.halves, final.pitch_A)
print(f"dose {final.electrons / known.need('scan_step_y_A') ** 2:.3g} e/A^2, half-set resolution (1/7) {ring.resolution_A():.3g} A")
figure, axes = plt.subplots(1, 3, figsize=(17, 6), width_ratios=(1.15, 1, 1), layout="constrained")
extent_nm = [0, data.shape[1] * known.need("scan_step_x_A") / 10, data.shape[0] * known.need("scan_step_y_A") / 10, 0]
low, high = np.percentile(final.image, [0.5, 99.5])
shown = axes[0].imshow(final.image, cmap="gray", vmin=low, vmax=high, extent=extent_nm)
axes[0].set(title="SSB phase x transfer, upsampled four times", xlabel="nm", ylabel="nm")
figure.colorbar(shown, ax=axes[0], label="rad", shrink=0.8)
axes[1].plot(sweep_A / 1e4, np.array(contrast) / max(contrast), "o-", label="contrast (rms), of its maximum")
axes[1].plot(sweep_A / 1e4, agreement, "s--", label="mean half-set FRC")
axes[1].axvline(known.need("C10_A") / 1e4, color="k", lw=0.8, label="calibrated")
axes[1].set(xlabel="C10 (um); negative is underfocus", title="refocus sweep")
axes[1].legend()
axes[2].plot(ring.q_invA, ring.value)
axes[2].axhline(1 / 7, color="k", lw=0.8, ls=":")
axes[2].set(xlabel="q (1/A)", ylabel="half-set FRC", title="x4 upsampled SSB", ylim=(-0.4, 1.05))
figure.savefig(output / "rotavirus.png", dpi=90)
