"""
Composition that does not depend on thickness
=============================================

A wedge of zinc oxide, 20 to 400 nm thick, is as much oxygen as zinc everywhere. Its spectra are simulated photon by photon along their rays to four
detectors. Three ways to quantify them: Cliff-Lorimer with factors from theory, Cliff-Lorimer with factors from a standard, zeta with factors from the
same standard. Then: how wrong may dose, take-off angle, table and efficiency be? Needs xraydb and xraylib (``pip install 'exitwave[eds]'``), no
data, about twenty seconds on two cores. Run: ``python examples/04_zinc_oxide_wedge.py``.
"""

# sphinx_gallery_thumbnail_path = 'gallery/zno_wedge.png'

# %%
# The measurement
# ---------------
# One row of pixels, thickness rising to the right; the standard is another piece of zinc oxide, 60 nm thick (known to 3 %), measured longer.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from exitwave.data import ArraySpectra, EnergyAxis, SpectrumImage
from exitwave.matter.xrays import EdsDetector, super_x, xray_tables
from exitwave.simulate.eds import EdsBeam, counted, expected_spectra
from exitwave.simulate.eds_rays import wedge
from exitwave.spectra import eds

tables, detectors = xray_tables("elam"), super_x(elevation_deg=22.0)
elements, density = ("O", "Zn"), 5606.0
weights = np.array([tables.weight_g_mol(element) for element in elements])
axis = EnergyAxis(size=1150, scale_eV=10.0, offset_eV=-200.0)
thickness_nm = np.linspace(20, 400, 39)


def measured(thickness_nm: np.ndarray, dose_e: float, seed: int) -> np.ndarray:
    """Spectra (1, x, channels) of counts."""
    sheet = wedge(elements, tuple(weights / weights.sum()), density, 10 * thickness_nm[None], (100.0, 100.0))
    return counted(expected_spectra(sheet, axis.energies_eV, EdsBeam(energy_eV=200e3, dose_e=dose_e), detectors, tables), seed)


dose, long_dose = 6e9, 2e11
spectra, standard = measured(thickness_nm, dose, 1), measured(np.array([60.0]), long_dose, 2)

# %%
# Counts of lines and factors
# ---------------------------
# Every spectrum is fitted by Poisson likelihood. Theory's factors come from another library than the one that made the photons, as in life.
lines = eds.line_set(["O-Ka", "Zn-Ka"], tables)
view = eds.view_of(detectors)
scene = eds.Scene(beam_eV=200e3, detector=detectors[0], tables=tables, view=view, mass_kg_m2=weights / weights.sum() * density * 200e-9)
found = eds.measure(SpectrumImage(spectra=ArraySpectra(spectra), energy=axis), lines, scene, eds.LineOptions(), 2**27)
known = eds.measure(SpectrumImage(spectra=ArraySpectra(standard), energy=axis), lines, scene, eds.LineOptions(), 2**27)
piece = eds.Standard(atoms={"O": 1, "Zn": 1}, mass_thickness_kg_m2=eds.Uncertain(value=density * 60e-9, relative_sigma=0.03),
                     dose_e=eds.Uncertain(value=long_dose, relative_sigma=0.02))
zeta = eds.from_standard(known.whole, lines, piece, view)
k = eds.from_standard(known.whole, lines, piece, None)  # absorption inside the standard is not undone, as is usual with k factors
theory = eds.theory(lines, 200e3, detectors, xray_tables("xraylib"))

counts, covariance = found.lines.counts, found.lines.covariance
results = {
    "Cliff–Lorimer, factors from theory": eds.quantify_cliff_lorimer(counts, covariance, lines, theory, None, None),
    "Cliff–Lorimer, factors from a standard": eds.quantify_cliff_lorimer(counts, covariance, lines, k, None, None),
    "zeta, factors from the same standard": eds.quantify_zeta(counts, covariance, lines, zeta, eds.Uncertain(value=dose, relative_sigma=0.02), view),
}
for name, result in results.items():
    print(f"{name:42s} O {100 * result.atomic[0, 0, 0]:5.1f} at% at 20 nm, {100 * result.atomic[0, -1, 0]:5.1f} at% at 400 nm")
deep = results["zeta, factors from the same standard"]
print(f"thickness from zeta: {np.abs(deep.total_kg_m2[0] / density * 1e9 / thickness_nm - 1).max():.1%} off at most; stated "
      f"{100 * float((deep.total_sigma / deep.total_kg_m2)[0].mean()):.1f} %")

# %%
# How wrong may the inputs be?
# ----------------------------
# Noiseless counts of a thickness are quantified with a wrong dose or angle; the line marks a shift of 1 at%.
mass = weights / weights.sum() * density * 1e-9
factors = eds.theory(lines, 200e3, detectors, tables)
other = eds.line_set(["O-Ka", "Zn-Ka"], xray_tables("chantler"))


def shift(nm: float, dose: float = 1.0, angle: float = 22.0, efficiency: float = 1.0, used: eds.LineSet = lines) -> float:
    """O in at% less 50."""
    exact = nm * mass / factors.zeta * 1e9 / eds.correction((lines.mac_m2_kg @ (nm * mass)) * view.paths[0])
    wrong = eds.given_factors(used, {"O-Ka": factors.zeta[0] * efficiency, "Zn-Ka": factors.zeta[1]})
    seen = eds.quantify_zeta(exact, exact, used, wrong, eds.Uncertain(value=1e9 * dose), eds.view_of((EdsDetector(elevation_deg=angle),)))
    return float(100 * seen.atomic[0] - 50)


nm_axis = np.linspace(20, 500, 25)
doses, angles = np.linspace(-0.2, 0.2, 21), np.linspace(-6, 6, 21)
by_dose = np.array([[shift(nm, dose=1 + d) for nm in nm_axis] for d in doses])
by_angle = np.array([[shift(nm, angle=22 + a) for nm in nm_axis] for a in angles])
lone = {"table of Chantler": [shift(nm, used=other) for nm in nm_axis], "O efficiency + 2 %": [shift(nm, efficiency=1.02) for nm in nm_axis]}

figure, axes = plt.subplots(2, 2, figsize=(10.5, 8), layout="constrained")
for (name, result), colour in zip(results.items(), ("#666666", "#e69f00", "#0072b2"), strict=True):
    at, sigma = 100 * result.atomic[0, :, 0], 100 * np.sqrt(result.atomic_counts[0, :, 0, 0])
    whole = 100 * result.atomic_sigma[0, :, 0]
    axes[0, 0].fill_between(thickness_nm, at - whole, at + whole, color=colour, alpha=0.15, lw=0)
    axes[0, 0].errorbar(thickness_nm, at, sigma, color=colour, fmt="o", ms=3, lw=1, label=name)
axes[0, 0].axhline(50, color="black", lw=0.8, ls=":")
axes[0, 0].set(xlabel="thickness (nm)", ylabel="O (at%)", ylim=(15, 66), title="three methods (bars: counts, bands: all)")
axes[0, 0].legend(fontsize=8, loc="lower left")
for name, values in lone.items():
    axes[0, 1].plot(nm_axis, values, label=name)
axes[0, 1].axhspan(-1, 1, color="#009e73", alpha=0.15, label="within 1 at%")
axes[0, 1].set(xlabel="thickness (nm)", ylabel="shift of O (at%)", title="zeta: another table, another efficiency")
axes[0, 1].legend(fontsize=8)
below = ((axes[1, 0], by_dose, 100 * doses, "error of the dose (%)"), (axes[1, 1], by_angle, angles, "error of the take-off angle (deg)"))
for place, values, errors, name in below:
    image = place.pcolormesh(nm_axis, errors, values, cmap="RdBu_r", vmin=-5, vmax=5, shading="gouraud")
    lines_drawn = place.contour(nm_axis, errors, np.abs(values), levels=[1.0], colors="black")
    place.clabel(lines_drawn, fmt={1.0: "1 at%"})
    place.set(xlabel="thickness (nm)", ylabel=name, title="zeta: shift of O (at%)")
    figure.colorbar(image, ax=place)
figure.savefig(Path("zno_wedge.png"), dpi=110)
plt.show()
