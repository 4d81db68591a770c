"""A calibration in words. Imports no torch: `exitwave info` has to be quick."""

from exitwave.core.aberrations import focus_in_words
from exitwave.data import Calibration
from exitwave.io.recipes.calibration import MEANING


def table_of(calibration: Calibration) -> str:
    """The calibration as lines of text: name, value, one standard error, source. The direction of a disk that is round is left out."""
    rows = []
    quantities = {name: getattr(calibration, name) for name in MEANING} | dict(calibration.aberrations)
    if calibration.ellipticity.value == 0:
        quantities.pop("ellipticity_deg", None)
    for name, quantity in quantities.items():
        if not quantity.known:
            continue
        value = quantity.value
        text = str(value).lower() if isinstance(value, bool) else f"{value:.6g}" if isinstance(value, (int, float)) else str(value)
        sigma = f"+- {quantity.sigma:.2g}" if quantity.sigma is not None else ""
        words = f"  ({focus_in_words(float(value))})" if name == "C10_A" and isinstance(value, (int, float)) else ""
        rows.append(f"  {name:<22}{text:>16}  {sigma:<12}{quantity.source}{words}")
    return "\n".join(rows)
