"""A specimen from three sides."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from exitwave.plot import figures

COLOURS = (figures.ORANGE, figures.BLUE, figures.GREEN, figures.RED, "#cc79a7", "#56b4e9", "#f0e442", figures.GREY)
MOST_DRAWN = 40_000
ATOM_A = 0.9  # diameter of a disk


def specimen_figure(volts: np.ndarray, pitch_A: tuple[float, float], atoms: Mapping[str, np.ndarray], cell_A: tuple[float, float, float], title: str,
                    ) -> Figure:
    """The projected potential (y, x) in V A along the beam, and the atoms from the side: x and y to the right, the beam downward.

    `atoms` holds positions (n, 3) of x, y, z in Angstrom by element. Lengths of the three panels have one scale.
    """
    x, y, z = cell_A
    total = 2 * x + y
    width = 13.5
    scale = min((width - 2.2) / total, 7.0 / max(y, z))
    made = figures.figure(max(8.0, scale * total + 2.6), scale * max(y, z) + 1.5)
    panels = made.subplots(1, 3, width_ratios=(x * 1.12, x, y))
    _projection(made, panels[0], volts, pitch_A)
    for axes, across, side, name in ((panels[1], 0, x, "x"), (panels[2], 1, y, "y")):
        _side(axes, atoms, across, (side, z), name, max(0.7, ATOM_A * scale * 72) ** 2)
    legend = made.legend(*panels[1].get_legend_handles_labels(), loc="outside lower right", ncols=min(6, len(atoms)), frameon=False)
    for handle in legend.legend_handles:
        handle.set(sizes=[40.0])  # type: ignore[union-attr]
    made.suptitle(title, fontsize=11)
    return made


def _projection(made: Figure, axes: Axes, volts: np.ndarray, pitch_A: tuple[float, float]) -> None:
    high = float(np.percentile(volts, 99.9))
    shown = axes.imshow(volts, cmap=figures.PHASE_MAP, vmin=min(0.0, float(np.percentile(volts, 0.1))), vmax=max(high, 1e-9),
                        aspect=pitch_A[0] / pitch_A[1])
    figures.scale_bar(axes, (volts.shape[0], volts.shape[1]), pitch_A)
    figures.bare(axes)
    axes.set_title("along the beam")
    made.colorbar(shown, ax=axes, fraction=0.046, pad=0.02).set_label("projected potential (V Å)")


def _side(axes: Axes, atoms: Mapping[str, np.ndarray], across: int, sides: tuple[float, float], name: str, size: float) -> None:
    """Disks of one size, the nearer ones on top: with x to the right and z downward one looks along -y, with y to the right along +x."""
    step = max(1, -(-sum(len(p) for p in atoms.values()) // MOST_DRAWN))
    kept = [places[::step] for places in atoms.values()]
    places, kinds = np.concatenate(kept), np.repeat(np.arange(len(kept)), [len(p) for p in kept])
    order = np.argsort(places[:, 1] if across == 0 else -places[:, 0], kind="stable")
    colours = np.array([COLOURS[i % len(COLOURS)] for i in range(len(kept))])
    axes.scatter(places[order, across], places[order, 2], s=size, c=colours[kinds[order]], lw=0, alpha=0.7)
    for colour, symbol in zip(colours, atoms, strict=True):
        axes.scatter([], [], s=size, color=colour, lw=0, alpha=0.7, label=symbol)
    axes.set(xlim=(0, sides[0]), ylim=(sides[1], 0), aspect="equal", xlabel=f"{name} (Å)", ylabel="z, the beam's way (Å)",
             title=f"from the side, along {'y' if name == 'x' else 'x'}")
