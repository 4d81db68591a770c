"""
How true are atomic electric fields from DPC?
=============================================

A sheet of MoS2 at 80 kV is scanned with a four-quadrant detector. The field that the quadrants report is compared with the one in focus, as
defocus and two-fold astigmatism grow (the question of arXiv 2512.03372). Needs no data and takes about half a minute on one core; the long form is
``exitwave bench dpc``. Run: ``python examples/07_fields_by_dpc.py``.
"""

# sphinx_gallery_thumbnail_path = 'gallery/fields_by_dpc.png'

# %%
# Fields in focus and out of it
# -----------------------------
# 30 mrad; C10 > 0 is overfocus, counted from the middle of the sheet. Fields are minus the gradient of the projected potential, in volts.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from exitwave.bench.dpc import gain, measured, scene, strength

sheet = scene("MoS2", 80e3, 30.0)
lenses = {"in focus": {}, "30 Å overfocus": {"C10_A": 30.0}, "20 Å astigmatism at 0°": {"C12_A": 20.0, "phi12_deg": 0.0}}
fields = {name: measured(sheet, terms, step_A=0.2).segments for name, terms in lenses.items()}
sharp = fields["in focus"]
for name, field in fields.items():
    most, least, along = gain(field, sharp)
    print(f"{name:24s} strength {strength(field) / strength(sharp):.2f}, gain {most:.2f} along {along:.0f}°, {least:.2f} across")

# %%
# How much is lost
# ----------------
foci = np.array([-40.0, -30, -20, -10, 0, 10, 20, 30, 40])
loss = {}
for semiangle in (21.0, 30.0):
    one = scene("MoS2", 80e3, semiangle)
    best = strength(measured(one, {}, step_A=0.3).segments)
    loss[semiangle] = [1 - strength(measured(one, {"C10_A": f}, step_A=0.3).segments) / best for f in foci]
    print(f"{semiangle:g} mrad:", ", ".join(f"{f:+.0f} Å {100 * x:.0f} %" for f, x in zip(foci, loss[semiangle], strict=True)))

figure, axes = plt.subplots(2, 3, figsize=(13, 8.2), layout="constrained")
high = strength(sharp, 99.5)
for i, (name, field) in enumerate(fields.items()):
    tall = np.tile(field, (2, 3, 1))
    extent = [0, 3 * sheet.cell_A[1], 2 * sheet.cell_A[0], 0]
    shown = axes[0, i].imshow(np.linalg.norm(tall, axis=-1), cmap="magma", vmin=0, vmax=high, extent=extent, interpolation="bicubic")
    rows, columns = np.meshgrid(*(np.arange(0, n, 3) for n in tall.shape[:2]), indexing="ij")
    arrows = tall[rows, columns]
    axes[0, i].quiver((columns + 0.5) * extent[1] / tall.shape[1], (rows + 0.5) * extent[2] / tall.shape[0], arrows[..., 1], arrows[..., 0],
                      color="white", angles="xy", scale=12 * high, width=0.003)
    axes[0, i].set(title=f"field, {name}", xlabel="x (Å)", ylabel="y (Å)")
    if i:
        place = axes[1, i - 1]
        place.scatter(sharp[..., 1], sharp[..., 0], s=6, color="#999999", lw=0, label="in focus")
        place.scatter(field[..., 1], field[..., 0], s=6, color="#0072b2", lw=0, label=name)
        place.set(title=f"scattergram, {name}", xlabel="$E_x$ (V)", ylabel="$E_y$ (V)", aspect="equal", xlim=(-high, high), ylim=(high, -high))
        place.legend(loc="upper right", markerscale=2)
figure.colorbar(shown, ax=axes[0, 2], label="projected field (V)", fraction=0.06)
for semiangle, colour, limit in ((21.0, "#0072b2", 40.0), (30.0, "#d55e00", 30.0)):
    axes[1, 2].plot(foci / 10, 100 * np.array(loss[semiangle]), "o-", color=colour, label=f"{semiangle:g} mrad")
    for sign, percent in ((1, {21.0: 16, 30.0: 30}[semiangle]), (-1, {21.0: 10, 30.0: 20}[semiangle])):
        axes[1, 2].plot(sign * limit / 10, percent, "x", color=colour, ms=10, mew=2)
axes[1, 2].plot([], [], "x", color="black", label="arXiv 2512.03372")
axes[1, 2].set(xlabel="C10 (nm), overfocus to the right", ylabel="field underestimated by (%)", title="strength against focus")
axes[1, 2].legend()
figure.savefig(Path("fields_by_dpc.png"), dpi=110)
plt.show()
