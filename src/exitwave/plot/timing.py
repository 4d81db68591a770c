"""The picture of a scan's timing: how late each line ran against its neighbours."""

import numpy as np
from matplotlib.figure import Figure

from exitwave.plot import figures

MICRO = 1e6


def timing_figure(shift_s: np.ndarray, error_s: np.ndarray, dwell_s: float | None, title: str) -> Figure:
    """What is left from line to line, (lines,) in seconds with its standard error, and one dwell time where it is known."""
    made = figures.figure(9.0, 4.2)
    axes = made.subplots()
    line = np.arange(len(shift_s))
    late, error = shift_s * MICRO, error_s * MICRO
    axes.fill_between(line, late - error, late + error, color=figures.BLUE, alpha=0.25, lw=0, label="one standard error")
    axes.plot(line, late, color=figures.BLUE, lw=1.0, marker=".", ms=4, label="line against its neighbours")
    axes.axhline(0.0, color=figures.GREY, lw=0.8)
    if dwell_s is not None:
        for sign in (-1, 1):
            axes.axhline(sign * dwell_s * MICRO, color=figures.ORANGE, lw=1.0, ls="--", label="one scan position" if sign > 0 else None)
    axes.set_xlabel("scan line")
    axes.set_ylabel("later by / µs")
    axes.set_xlim(0, max(1, len(shift_s) - 1))
    made.legend(loc="outside lower center", ncols=3, frameon=False)
    made.suptitle(title, fontsize=11)
    return made
