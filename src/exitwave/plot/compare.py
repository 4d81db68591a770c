"""Truth beside results, on one scale."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from exitwave.core import record
from exitwave.plot import figures
from exitwave.plot.phase import show_phase
from exitwave.plot.spectra import Curve


@record
class Panel:
    """One image (y, x) in rad with its name, a line of numbers below it and, for a result, its correlation with the truth by ring."""

    name: str
    image: np.ndarray
    numbers: str = ""
    rings: Curve | None = None


def comparison_figure(panels: Sequence[Panel], *, pitch_A: tuple[float, float], title: str, limit_invA: float, shared: Sequence[str] = ()) -> Figure:
    """The panels side by side, band-limited alike by the caller; below, each result's ring correlation with the truth up to `limit_invA`.

    Panels named in `shared` take the first one's grey levels (each has its own mean taken off first); the others, whose scale differs by
    their transfer, take their own. Every panel has its colour bar in rad.
    """
    made = figures.figure(3.9 * len(panels), 7.6)
    upper, lower = made.subfigures(2, 1, height_ratios=(1.75, 1.0), squeeze=False)[:, 0]
    axes = upper.subplots(1, len(panels), squeeze=False)[0]
    reference = panels[0].image - np.median(panels[0].image)
    limits = tuple(float(v) for v in np.percentile(reference, (0.3, 99.7)))
    for at, panel in zip(axes, panels, strict=True):
        image = panel.image - np.median(panel.image)
        own = limits if panel.name in shared or panel is panels[0] else tuple(float(v) for v in np.percentile(image, (0.3, 99.7)))
        shown = show_phase(at, image, pitch_A, (own[0], own[1]))
        bar = made.colorbar(shown, ax=at, orientation="horizontal", fraction=0.05, pad=0.015, shrink=0.9)
        bar.set_label("phase (rad)")
        at.set_title(panel.name + (f"\n{panel.numbers}" if panel.numbers else ""))
    below = lower.subplots(1, 1)
    colours = (figures.BLUE, figures.ORANGE, figures.GREEN, figures.RED)
    styles = ("-", "--", "-.", ":")
    measured = [(panel.name, panel.rings) for panel in panels if panel.rings is not None]
    for (name, rings), colour, style in zip(measured, colours, styles, strict=False):
        below.plot(rings.q_invA, rings.value, color=colour, ls=style, lw=1.7, label=name)
    below.axhline(1 / 7, color=figures.GREY, lw=0.8, ls=":")
    below.axhline(0, color=figures.GREY, lw=0.6)
    below.set(
        xlim=(0, limit_invA),
        ylim=(-0.35, 1.32),
        xlabel="q (1/Å)",
        ylabel="correlation with the truth",
        title="Fourier ring correlation with the truth",
    )
    below.legend(loc="upper right", ncols=len(panels), framealpha=0.85)
    upper.suptitle(title + "\n", fontsize=12)
    return made
