"""Figures of results: phase images with their transfer, the picture of a calibration, truth beside result. The only room that imports matplotlib."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from exitwave.plot.spectra import Curve, full_plane, radial

if TYPE_CHECKING:
    from exitwave.plot.calibration import calibration_figure
    from exitwave.plot.compare import Panel, comparison_figure
    from exitwave.plot.figures import save
    from exitwave.plot.iterative import FitView, fit_figure
    from exitwave.plot.phase import phase_figure
    from exitwave.plot.plan import plan_figure
    from exitwave.plot.preview import preview_figure
    from exitwave.plot.report import fit_report, save_html

_LATER = {
    "calibration_figure": "calibration",
    "Panel": "compare",
    "comparison_figure": "compare",
    "save": "figures",
    "FitView": "iterative",
    "fit_figure": "iterative",
    "fit_report": "report",
    "save_html": "report",
    "phase_figure": "phase",
    "plan_figure": "plan",
    "preview_figure": "preview",
}

__all__ = [
    "Curve",
    "FitView",
    "Panel",
    "calibration_figure",
    "comparison_figure",
    "fit_figure",
    "fit_report",
    "full_plane",
    "phase_figure",
    "plan_figure",
    "preview_figure",
    "radial",
    "save",
    "save_html",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"exitwave.plot.{_LATER[name]}"), name)
    raise AttributeError(f"module 'exitwave.plot' has no attribute {name!r}")
