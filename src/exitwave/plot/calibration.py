"""The picture of a calibration: does the ellipse lie on the disk, do the shifts lie on the fit, what came out and how sure is it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from exitwave.core.aberrations import focus_in_words
from exitwave.data import Calibration, Quantity
from exitwave.plot import figures

ROWS = (
    ("semi-angle", "semiangle_mrad", "mrad"),
    ("detector pixel", "detector_mrad", "mrad"),
    ("centre y", "centre_y_px", "px"),
    ("centre x", "centre_x_px", "px"),
    ("disk radius", "semiangle_px", "px"),
    ("ellipticity", "ellipticity", ""),
    ("rotation", "rotation_deg", "deg"),
    ("transpose", "transpose", ""),
    ("counts/electron", "counts_per_electron", ""),
    ("Fano factor", "fano", ""),
    ("neighbour corr.", "neighbour_correlation", ""),
    ("twin settled by", "twin", ""),
)


def calibration_figure(
    calibration: Calibration,
    *,
    mean: np.ndarray,
    alive: np.ndarray,
    shifts: tuple[np.ndarray, np.ndarray, np.ndarray],
    title: str,
    notes: Sequence[str] = (),
) -> Figure:
    """Mean pattern (ky, kx) with the fitted ellipse, centre and dead pixels; shifts (k_det (m, 2) 1/A, measured and fitted (m, 2) A, all (y, x))
    as arrows; a table of values, uncertainties and sources."""
    made = figures.figure(15.0, 5.4)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.0, 1.0, 1.3))
    _pattern(made, left, calibration, mean, alive)
    _shifts(middle, *shifts)
    _table(right, calibration, notes)
    made.suptitle(title, fontsize=12)
    return made


def _pattern(made: Figure, axes: Axes, c: Calibration, mean: np.ndarray, alive: np.ndarray) -> None:
    level = mean[alive] if alive.any() else mean
    shown = axes.imshow(mean, cmap=figures.PATTERN_MAP, vmin=0, vmax=float(np.percentile(level, 99.8)))
    bar = made.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("mean counts per frame")
    if c.semiangle_px.known and c.centre_y_px.known:
        radius, stretch = float(c.semiangle_px.value or 0.0), (1 + float(c.ellipticity.value or 0.0)) ** 0.5
        centre = float(c.centre_x_px.value or 0.0), float(c.centre_y_px.value or 0.0)
        axes.add_patch(
            Ellipse(
                centre,
                2 * radius * stretch,
                2 * radius / stretch,
                angle=float(c.ellipticity_deg.value or 0.0),
                fill=False,
                color="white",
                lw=1.6,
                label="fitted edge",
            )
        )
        axes.plot(*centre, "+", color="white", ms=10, mew=1.6, label="centre")
    dead = np.argwhere(~alive)
    if len(dead):
        label = "1 pixel left out" if len(dead) == 1 else f"{len(dead)} pixels left out"
        axes.scatter(dead[:, 1], dead[:, 0], s=14, marker="x", color=figures.RED, lw=1.0, label=label)
    axes.set(title="mean pattern", xlabel="detector x (pixel)", ylabel="detector y (pixel)")
    axes.legend(loc="lower right", framealpha=0.6, facecolor="black", labelcolor="white", borderpad=0.3)


def _shifts(axes: Axes, k_det: np.ndarray, measured_A: np.ndarray, fitted_A: np.ndarray) -> None:
    longest = max(float(np.hypot(*fitted_A.T).max(initial=0.0)), float(np.hypot(*measured_A.T).max(initial=0.0)), 1e-9)
    reach = float(np.abs(k_det).max(initial=1e-9))
    scale = longest / (0.28 * reach)  # A per 1/A of arrow
    for vectors, colour, width, name in ((fitted_A, figures.ORANGE, 0.012, "fitted"), (measured_A, figures.BLUE, 0.0055, "measured")):
        axes.quiver(
            k_det[:, 1], k_det[:, 0], vectors[:, 1], vectors[:, 0], angles="xy", scale_units="xy", scale=scale, color=colour, width=width, label=name
        )
    away = np.hypot(*(measured_A - fitted_A).T)
    bar = figures.nice(longest)
    edge = 1.32 * reach
    axes.plot([-0.95 * edge, -0.95 * edge + bar / scale], [1.13 * edge] * 2, color="black", lw=2.5, solid_capstyle="butt")
    axes.text(-0.95 * edge + bar / scale + 0.05 * edge, 1.13 * edge, f"{figures.length_text(bar)}", va="center", fontsize=9)
    axes.set(
        xlim=(-edge, edge),
        ylim=(1.28 * edge, -edge),
        aspect="equal",
        xlabel="detector $k_x$ (1/Å)",
        ylabel="detector $k_y$ (1/Å)",
        title=f"shifts of virtual images (rms misfit {np.sqrt((away**2).mean()) if len(away) else 0:.2g} Å)",
    )
    axes.legend(loc="lower right", ncols=2, framealpha=0.85, borderpad=0.3, columnspacing=1.0)


def _table(axes: Axes, c: Calibration, notes: Sequence[str]) -> None:
    axes.axis("off")
    rows = [(name, *_texts(getattr(c, field), unit)) for name, field, unit in ROWS if getattr(c, field).known]
    for name, quantity in c.aberrations.items():
        stem, _, unit = name.partition("_")
        value, sigma, source = _texts(quantity, "Å" if unit == "A" else unit)
        if name == "C10_A" and isinstance(quantity.value, (int, float)):
            stem, value = "defocus (C10)", focus_in_words(quantity.value)
            sigma = f"{sigma} Å" if sigma else ""
        rows.append((stem, value, sigma, source))
    table = axes.table(
        cellText=rows,
        colLabels=("quantity", "value", "± 1 σ", "source"),
        colWidths=(0.23, 0.43, 0.17, 0.17),
        loc="upper center",
        cellLoc="left",
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.18)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#cccccc")
        if row == 0:
            cell.set_text_props(weight="bold")
    if notes:
        import textwrap

        text = "\n".join(line for note in notes[:3] for line in textwrap.wrap("• " + note, 86, subsequent_indent="  ")[:3])
        axes.text(0.0, 0.0, text, fontsize=8, va="bottom", transform=axes.transAxes)


def _texts(quantity: Quantity, unit: str) -> tuple[str, str, str]:
    value = quantity.value
    if isinstance(value, (bool, str)) or value is None:
        return str(value).lower() if isinstance(value, bool) else str(value), "", quantity.source
    return f"{value:.4g} {unit}".strip(), "" if quantity.sigma is None else f"{quantity.sigma:.2g}", quantity.source
