"""What all figures share: one style, scale bars, files that appear whole."""

import os
from collections.abc import Callable
from math import floor, log10
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from exitwave.io import writing

DPI = 150
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.interpolation": "nearest",
}
PHASE_MAP, PATTERN_MAP, SPECTRUM_MAP = "magma", "viridis", "gray"
BLUE, ORANGE, GREEN, GREY, RED = "#0072b2", "#e69f00", "#009e73", "#666666", "#d55e00"  # Okabe & Ito: told apart by colour-blind readers


def figure(width_in: float, height_in: float) -> Figure:
    """A figure without a window system, in the house style."""
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(width_in, height_in), layout="constrained", dpi=DPI)
        FigureCanvasAgg(made)
    return made


def save(made: Figure, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write a figure as PNG; it appears whole or not at all.

    Raises:
        InputError: an output as `exitwave.io.check_output` refuses it.
    """
    with writing(path, force) as partial, mpl.rc_context(STYLE):
        made.savefig(partial, dpi=DPI, format="png")


def nice(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `length`."""
    power = 10.0 ** floor(log10(length))
    return power * max(step for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))


def length_text(length_A: float) -> str:
    """ "2 nm", "5 Å", "1 µm": the unit a microscopist would choose."""
    if length_A >= 1e4:
        return f"{length_A / 1e4:g} µm"
    return f"{length_A / 10:g} nm" if length_A >= 10 else f"{length_A:g} Å"


def scale_bar(axes: Axes, shape: tuple[int, int], pitch: tuple[float, float], text: Callable[[float], str] = length_text) -> None:
    """A bar about a quarter of the image wide, with its length, on a dark plate so that it reads on any image. `text` says a length in the pitch's
    unit (default: Angstrom).
    """
    ny, nx = shape
    length = nice(0.28 * nx * pitch[1])
    width, high = length / pitch[1], 0.018 * ny
    left, low = 0.05 * nx, 0.945 * ny
    axes.add_patch(
        Rectangle((left - 0.02 * nx, low - 0.085 * ny), width + 0.04 * nx, 0.085 * ny + high + 0.018 * ny, color="black", alpha=0.55, lw=0)
    )
    axes.add_patch(Rectangle((left, low), width, high, color="white", lw=0))
    axes.text(left + width / 2, low - 0.012 * ny, text(length), color="white", ha="center", va="bottom", fontsize=9)


def bare(axes: Axes) -> None:
    """An image without ticks: the scale bar says what they would."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
