"""Pictures of a composition: maps or a profile with error bars, the spectrum with its fit, and a report of one page."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from exitwave.core import record
from exitwave.plot import figures
from exitwave.plot.report import CSS, picture_html, table_html

COLOURS = (figures.BLUE, figures.ORANGE, figures.GREEN, figures.RED, figures.GREY)


@record
class EdsView:
    """What the pictures show: atomic fractions (y, x, n) with deviations, all (`sigma`) and those of counts alone, thickness (y, x) in g/m^2 where
    there is one, the summed spectrum."""

    title: str
    elements: tuple[str, ...]
    atomic: np.ndarray
    sigma: np.ndarray
    sigma_counts: np.ndarray
    thickness: np.ndarray | None
    thickness_sigma: np.ndarray | None
    pitch_A: tuple[float, float] | None
    energies_eV: np.ndarray
    spectrum: np.ndarray
    fitted: np.ndarray | None
    background: np.ndarray | None
    marks: tuple[tuple[str, float], ...]


def eds_figure(view: EdsView) -> Figure:
    """Maps (a profile where there is one row or column, bars for a single spectrum) above the spectrum."""
    rows, columns = view.atomic.shape[:2]
    panels = len(view.elements) + (view.thickness is not None)
    if min(rows, columns) > 1:
        tall = min(max(3.2 * rows / columns, 1.8), 4.5)
        made = figures.figure(max(3.4 * panels, 7.5), tall + 3.6)
        upper, lower = made.subfigures(2, 1, height_ratios=(tall, 3.2))
        _maps(view, upper)
    else:
        made = figures.figure(8.5, 7.0)
        upper, lower = made.subfigures(2, 1)
        if max(rows, columns) > 1:
            _profile(view, upper)
        else:
            _bars(view, upper.subplots(1, 1))
    _spectrum(view, lower.subplots(1, 1))
    upper.suptitle(view.title, fontsize=11)
    return made


def eds_report(view: EdsView, metrics: Mapping[str, Any], recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """The page: numbers with their errors, pictures, what was asked for."""
    said = {f"{element}, at%": f"{100 * told['atomic']['value']:.2f} ± {100 * told['atomic']['sigma']:.2f} (counts "
            f"{100 * told['atomic_sigma_counts']:.2f}, shared {100 * told['atomic_sigma_shared']:.2f}"
            + ("" if told["atomic_systematic_of_table"] is None else f"; other table {100 * told['atomic_systematic_of_table']:+.2f}") + ")"
            for element, told in metrics["elements"].items()}
    thick = metrics["mass_thickness_kg_m2"]
    said |= {"mass thickness, g/m²": f"{1e3 * thick['value']:.4g} ± {1e3 * thick['sigma']:.2g}"} if thick else {}
    nm = metrics["thickness_nm"]
    said |= {"thickness, nm": f"{nm['value']:.4g} ± {nm['sigma']:.2g}"} if nm else {}
    how = {"method": metrics["method"], "factors": metrics["factors"], "absorption table": metrics["table"] if metrics["absorption"] else "none",
           "beam, kV": metrics["energy_eV"] / 1e3, "electrons per pixel": metrics["dose_e"], "pixels": metrics["pixels"],
           **{f"pixels with {words}": count for words, count in metrics["not_quantified"].items() if count}}
    asked = {name.replace("_", " "): value for name, value in recipe.items() if name not in ("schema", "kind", "verb") and value not in ("", False)}
    parts = [f"<h1>{html.escape(view.title)}</h1>", f"<p><code>{html.escape(str(provenance.get('command', '')))}</code></p>",
             f'<div class="two">{table_html("Composition", said)}{table_html("How", how)}</div>',
             picture_html(eds_figure(view), "composition and spectrum"),
             table_html("Asked for", asked),
             "<p>Errors are one standard uncertainty. Those from counts fall when pixels are added; those from factors, dose, absorption and "
             "angle are shared by all pixels and do not.</p>",
             f"<p>exitwave {html.escape(str(provenance.get('version', '')))}, {html.escape(str(provenance.get('ended', '')))}</p>"]
    head = f'<meta charset="utf-8"><title>{html.escape(view.title)}</title><style>{CSS}</style>'
    return f'<!doctype html><html lang="en">{head}{"".join(parts)}</html>\n'


def _maps(view: EdsView, made: Any) -> None:
    thick = [] if view.thickness is None else [("mass thickness (g/m²)", view.thickness, "magma")]
    shown = [(f"{element} (at%)", 100 * view.atomic[..., i], "viridis") for i, element in enumerate(view.elements)] + thick
    for axes, (title, values, colours) in zip(made.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
        ratio = view.pitch_A[0] / view.pitch_A[1] if view.pitch_A else 1.0
        image = axes.imshow(values, cmap=colours, vmin=low, vmax=max(high, low + 1e-9), aspect=ratio)
        figures.bare(axes)
        axes.set_title(title)
        if view.pitch_A:
            figures.scale_bar(axes, values.shape, view.pitch_A)
        made.colorbar(image, ax=axes, orientation="horizontal", fraction=0.06, pad=0.03)


def _profile(view: EdsView, made: Any) -> None:
    along = 0 if view.atomic.shape[1] == 1 else 1
    pitch = view.pitch_A[along] / 10 if view.pitch_A else 1.0
    place = pitch * np.arange(view.atomic.shape[along])
    axes = made.subplots(1, 1 + (view.thickness is not None), squeeze=False)[0]
    look: dict[str, Any] = {"marker": "o", "ms": 3, "lw": 1, "elinewidth": 0.7, "capsize": 1.5}
    for i, element in enumerate(view.elements):
        colour = COLOURS[i % len(COLOURS)]
        at, all_of = 100 * view.atomic[..., i].ravel(), 100 * view.sigma[..., i].ravel()
        axes[0].fill_between(place, at - all_of, at + all_of, color=colour, alpha=0.15, lw=0)
        axes[0].errorbar(place, at, 100 * view.sigma_counts[..., i].ravel(), color=colour, label=element, **look)
    axes[0].set(ylabel="at%", title="bars: counts; band: with what all pixels share")
    axes[0].title.set_fontsize(9)
    axes[0].legend()
    if view.thickness is not None and view.thickness_sigma is not None:
        axes[1].errorbar(place, view.thickness.ravel(), view.thickness_sigma.ravel(), color="black", **look)
        axes[1].set(ylabel="mass thickness (g/m²)")
    for one in axes:
        one.set(xlabel="place (nm)" if view.pitch_A else "pixel")


def _bars(view: EdsView, axes: Axes) -> None:
    values, sigma = 100 * view.atomic.reshape(-1), 100 * view.sigma.reshape(-1)
    axes.bar(view.elements, values, yerr=sigma, color=[COLOURS[i % len(COLOURS)] for i in range(len(values))], capsize=5, width=0.5)
    axes.set(ylabel="at%", ylim=(0, float(np.nanmax(values + sigma)) * 1.2 if np.isfinite(values).any() else 1.0))
    for i, (value, error) in enumerate(zip(values, sigma, strict=True)):
        axes.annotate(f"{value:.1f} ± {error:.1f}", (i, value + error), xytext=(0, 4), textcoords="offset points", ha="center")


def _spectrum(view: EdsView, axes: Axes) -> None:
    energies = view.energies_eV / 1e3
    used = np.isfinite(view.fitted) if view.fitted is not None else energies > 0.1
    top = max(energies[used][-1], max(e for _, e in view.marks) / 1e3 * 1.1)
    axes.step(energies, np.maximum(view.spectrum, 0.5), where="mid", color="black", lw=0.7, label="counts")
    if view.fitted is not None:
        axes.plot(energies, view.fitted, color=figures.RED, lw=1, label="fit")
    if view.background is not None:
        axes.plot(energies, view.background, color=figures.BLUE, lw=1, label="background")
    inside = (energies > 0.15) & (energies < top)
    high = float(view.spectrum[inside].max()) if inside.any() else 1.0
    low = float(np.median(view.spectrum[inside])) / 20 if inside.any() else 0.7
    axes.set(yscale="log", xlim=(0, top), ylim=(max(0.7, low), 6 * high), xlabel="energy (keV)", ylabel="counts")
    for name, energy in view.marks:
        axes.axvline(energy / 1e3, color=figures.GREY, lw=0.6, ls=":")
        axes.annotate(name, (energy / 1e3, 2.2 * high), rotation=90, ha="right", va="center", fontsize=8, color=figures.GREY)
    axes.legend(loc="lower left", ncols=3, bbox_to_anchor=(0.0, 1.0), frameon=False)
