"""A calibration, and how far an image reaches, in words."""

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


def reach_in_words(first_A: float | None, last_A: float | None) -> str:
    """Where half sets stop correlating (None: nowhere), and the last ring that correlates again where that lies a fifth beyond."""
    if first_A is None:
        return "at every frequency"
    return f"to {first_A:.4g} A" + (f", and again in rings up to {last_A:.4g} A" if last_A is not None and last_A < 0.8 * first_A else "")
