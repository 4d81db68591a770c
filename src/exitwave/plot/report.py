"""A fit as one HTML file that needs nothing else."""

import base64
import html
import io
import os
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from exitwave.io import writing
from exitwave.plot import figures
from exitwave.plot.iterative import FitView, losses_figure, phase_panel, positions_figure, probes_figure, residuals_figure, slices_figure

CSS = """body{font:15px/1.5 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222}h1{font-size:1.5em}h2{font-size:1.15em;
margin:1.6em 0 .4em}img{max-width:100%;height:auto}table{border-collapse:collapse;font-size:.92em}td{padding:.15em 1em .15em 0;vertical-align:top}
td:first-child{color:#555;white-space:nowrap}.status{padding:.1em .6em;border-radius:.3em;background:#e6f2ec}.bad{background:#fbe3d6}
code{font-size:.9em;word-break:break-all}.two{display:flex;flex-wrap:wrap;gap:2em;align-items:flex-start}"""
GOOD = ("converged", "iterations done", "stopped early")
SHOWN = {
    "iterations": "iterations", "loss": "loss of a pattern", "held_out": "loss of a pattern held out", "deviance_per_pixel": "deviance per pixel",
    "electrons_per_position": "electrons per position", "dose_e_per_A2": "dose, e/Å²", "rms_phase_rad": "phase rms, rad",
    "frc_resolution_A": "half sets correlate over 1/7 to, Å", "position_rms_A": "positions moved, Å rms", "pitch_A": "pixel, Å", "seconds": "seconds",
}
CHOSEN = ("slices", "thickness_A", "modes", "probe_shapes", "iterations", "coarse", "batch", "loss", "probe", "fit", "start", "held_share",
          "patience", "solver", "prior_rad", "z_sigma_A", "z_change_rad_per_A2", "kz_filter", "tv_per_rad_A", "positivity", "seed")


def fit_report(view: FitView, metrics: Mapping[str, Any], recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """The text of the report: numbers, then every picture as a PNG inside the page."""
    status = str(metrics["status"])
    numbers = {label: metrics[name] for name, label in SHOWN.items() if metrics.get(name) is not None}
    numbers |= {"peak memory, MB": round(metrics["peak_bytes"] / 1e6)} if metrics.get("peak_bytes") else {}
    numbers |= {f"fitted {name}": value for name, value in metrics.get("fitted", {}).items()}
    numbers |= {f"standard error of {name}": value for name, value in metrics.get("fitted_sigma", {}).items()}
    parts = [
        f"<h1>{html.escape(view.title)}</h1>",
        f'<p><span class="status{"" if status in GOOD else " bad"}">{html.escape(status)}</span> '
        f"<code>{html.escape(str(provenance.get('command', '')))}</code></p>",
        f'<div class="two"><div>{picture_html(phase_panel(view), "phase")}</div></div>',
        f'<div class="two">{table_html("Result", numbers)}{table_html("Asked for", {name: recipe[name] for name in CHOSEN if name in recipe})}</div>',
        *([f"<h2>Slices</h2>{picture_html(slices_figure(view), 'slices')}"] if len(view.slices) > 1 else []),
        f"<h2>Probe</h2>{picture_html(probes_figure(view), 'probe modes')}",
        *([f"<h2>Losses</h2>{picture_html(losses_figure(view), 'losses')}"] if view.history else []),
        f"<h2>Positions</h2>{picture_html(positions_figure(view), 'positions')}",
        f"<h2>What the model leaves</h2>{picture_html(residuals_figure(view), 'residuals')}",
        f"<p>exitwave {html.escape(str(provenance.get('version', '')))}, {html.escape(str(provenance.get('ended', '')))}</p>",
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(view.title)}</title><style>{CSS}</style>'
    return f'<!doctype html><html lang="en">{head}{"".join(parts)}</html>\n'


def save_html(text: str, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write a page; it appears whole or not at all.

    Raises:
        InputError: an output as `exitwave.io.check_output` refuses it.
    """
    with writing(path, force) as partial:
        partial.write_text(text, encoding="utf-8")


def picture_html(made: Figure, name: str) -> str:
    """A figure as an image inside the page."""
    data = io.BytesIO()
    with mpl.rc_context(figures.STYLE):
        made.savefig(data, dpi=110, format="png")
    width = int(made.get_figwidth() * 96)
    return f'<img alt="{name}" width="{width}" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'


def table_html(title: str, rows: Mapping[str, Any]) -> str:
    """Names and values under a heading."""
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(_text(value))}</td></tr>" for name, value in rows.items())
    return f"<div><h2>{title}</h2><table>{cells}</table></div>"


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value) or "nothing else"
    return str(value)
