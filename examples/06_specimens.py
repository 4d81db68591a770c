"""
Specimens made to order
=======================

A crystal along a high zone axis in a box that repeats, a twisted bilayer, amorphous carbon with its pair distances, and a scene: a gold particle a
small gap before a carbon film with a hole. Each is built from a few words, says what had to be strained, and goes to a file that carries its recipe.
Needs no data and takes about twenty seconds on one core. Run: ``python examples/06_specimens.py``.
"""

# sphinx_gallery_thumbnail_path = 'gallery/specimens.png'

# %%
# Four specimens
# --------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from exitwave.matter import Structure, grid_for, projected_potential
from exitwave.matter.build import Part, SpecimenRecipe, account, pair_distribution, specimen_of
from exitwave.matter.save import save_xyz

box = (60.0, 60.0, 60.0)
parts = {
    "film": Part(of="amorphous carbon", size_A=(60.0, 60.0, 16.0), centre_A=(30.0, 30.0, 48.0)),
    "hole": Part(of="vacuum", shape="cylinder", diameter_A=24.0, size_A=(1.0, 1.0, 18.0), centre_A=(46.0, 14.0, 48.0), priority=1),
    "particle": Part(of="Au", shape="wulff", diameter_A=32.0, centre_A=(28.0, 32.0, 21.0), zone=(1, 1, 0), angle_deg=20.0, priority=2, gap_A=2.0),
}
recipes = {
    "SrTiO$_3$ along [1 2 3]": SpecimenRecipe(of="SrTiO3", zone=(1, 2, 3), size_A=(40.0, 40.0, 40.0)),
    "graphene on graphene, 9.43°": SpecimenRecipe(kind_of="bilayer", of="graphene", twist_deg=9.43, size_A=(40.0, 40.0, 1.0), vacuum_A=5.0),
    "amorphous carbon, 2.0 g/cm³": SpecimenRecipe(kind_of="carbon", size_A=(40.0, 40.0, 30.0)),
    "gold before a film with a hole": SpecimenRecipe(kind_of="scene", box_A=box, parts=parts),
}
made = {name: specimen_of(recipe) for name, recipe in recipes.items()}
for name, one in made.items():
    told = account(one.structure)
    density = "" if told.density_g_cm3 is None else f", {told.density_g_cm3:.2f} g/cm³"
    print(f"{name}: {told.atoms} atoms, {told.thickness_A:.1f} Å thick{density}, strain {100 * one.strain:.2g} %", *one.notes)
save_xyz(made["gold before a film with a hole"].structure, Path("scene.xyz"))

# %%
# What a beam would see, and how far apart carbon atoms are
# ---------------------------------------------------------


def projected(one: Structure) -> tuple[np.ndarray, list[float]]:
    """The projected potential in kV A, and its extent in nm."""
    grid = grid_for(one, 0.15)
    volts = projected_potential(one, grid, torch.tensor([one.cell_A[2]], dtype=torch.float64))[0].numpy()
    return volts / 1e3, [0, one.cell_A[0] / 10, one.cell_A[1] / 10, 0]


figure, axes = plt.subplots(2, 3, figsize=(13, 8.4), layout="constrained")
for place, (name, one) in zip(axes.flat[:4], made.items(), strict=True):
    volts, extent = projected(one.structure)
    shown = place.imshow(volts, cmap="magma", extent=extent, vmin=0, vmax=np.percentile(volts, 99.8))
    place.set(title=name, xlabel="x (nm)", ylabel="y (nm)")
    figure.colorbar(shown, ax=place, label="projected potential (kV Å)", fraction=0.046)

film = made["amorphous carbon, 2.0 g/cm³"].structure
edges = np.arange(0, 7.01, 0.05)
g, middle = pair_distribution(film, edges, part=(2.0, 32.0)), (edges[1:] + edges[:-1]) / 2
place = axes.flat[4]
place.plot(middle, g, color="#0072b2")
place.axhline(1, color="grey", lw=0.8, ls=":")
place.axvspan(1.42, 1.54, color="#e69f00", alpha=0.35, lw=0, label="graphite to diamond")
place.axvspan(2.46, 2.52, color="#e69f00", alpha=0.35, lw=0)
place.set(title="pairs in the carbon film", xlabel="distance (Å)", ylabel="g(r)")
place.legend()

scene = made["gold before a film with a hole"].structure
place = axes.flat[5]
for z, colour, name in ((6, "#e69f00", "C"), (79, "#0072b2", "Au")):
    atoms = scene.positions_A[scene.numbers == z]
    place.scatter(atoms[:, 0] / 10, atoms[:, 2] / 10, s=3, color=colour, lw=0, label=name)
place.set(title="the scene from the side", xlabel="x (nm)", ylabel="z, the beam's way (nm)", aspect="equal", xlim=(0, 6), ylim=(6, 0))
place.legend(loc="upper right", markerscale=3)
figure.savefig(Path("specimens.png"), dpi=110)
plt.show()
