"""The transfer that a planned session would have."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from exitwave.plot import figures


def plan_figure(
    q_invA: np.ndarray, transfer: Mapping[str, np.ndarray], ssnr: Mapping[str, np.ndarray], *, aperture_invA: float, nyquist_invA: float, title: str
) -> Figure:
    """Left: |CTF| of each method over frequency; right: the expected signal over noise of one scan. The scan's own Nyquist is drawn."""
    made = figures.figure(11.0, 4.4)
    left, right = made.subplots(1, 2)
    colours, styles = (figures.BLUE, figures.RED, figures.GREEN, figures.ORANGE), ("-", "--", "-.", ":")
    for (name, value), colour, style in zip(transfer.items(), colours, styles, strict=False):
        left.plot(q_invA, np.abs(value), color=colour, ls=style, lw=1.7, label=name)
        right.semilogy(q_invA, np.maximum(ssnr[name], 1e-4), color=colour, ls=style, lw=1.7, label=name)
    top = max(float(value.max()) for value in ssnr.values())
    right.set_ylim(1e-4 * top, 3 * top)
    right.axhline(1, color=figures.GREY, lw=0.8, ls=":")
    for axes in (left, right):
        axes.axvline(nyquist_invA, color=figures.GREY, lw=1.0, ls=":", label="scan Nyquist")
        axes.axvline(aperture_invA, color=figures.ORANGE, lw=0.9, ls="--", label="α")
        axes.set(xlim=(0, float(q_invA[-1])), xlabel="q (1/Å)")
        axes.legend(loc="upper right", framealpha=0.85, borderpad=0.3)
    left.set(ylabel="|CTF|", title="transfer of a weak phase")
    left.set_ylim(bottom=0)
    right.set(ylabel="signal over noise (power)", title="expected signal over noise")
    made.suptitle(title, fontsize=12)
    return made
