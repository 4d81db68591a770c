"""The energy axis and the detector's resolution as the spectrum itself shows them."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from exitwave.core import record
from exitwave.data import EnergyAxis
from exitwave.spectra.eds.fit import SpectrumModel, fit_spectra


@record
class EnergyFit:
    """The axis and the resolution at Mn Ka that fit best, and the deviance per degree of freedom before and after."""

    energy: EnergyAxis
    resolution_eV: float
    before: float
    after: float


def calibrated(spectrum: np.ndarray, axis: EnergyAxis, resolution_eV: float, model: Callable[[EnergyAxis, float], SpectrumModel],
               most_eV: float = 60.0) -> EnergyFit:
    """Offset, scale and resolution that maximise the likelihood of a spectrum (channels,), starting from those given.

    `model` makes a model for an axis and a resolution. No energy in the fitted range moves by more than `most_eV`, and the resolution stays between
    50 and 400 eV.
    """
    far = axis.energies_eV[-1]

    def made(x: np.ndarray) -> tuple[EnergyAxis, float]:
        low, high = most_eV * np.tanh(x[:2] / 10)
        scale = axis.scale_eV + (high - low) / max(axis.size - 1, 1)
        moved = EnergyAxis(size=axis.size, scale_eV=float(scale), offset_eV=axis.offset_eV + float(low))
        return moved, float(np.clip(resolution_eV + 5 * x[2], 50, 400))

    def cost(x: np.ndarray) -> float:
        return float(fit_spectra(spectrum, model(*made(x))).deviance)

    start = np.zeros(3)
    before = cost(start)
    simplex = np.vstack([start, *(np.eye(3) * np.array([1.0, 2.0 * far / 1e4, 1.5]))])
    found = minimize(cost, start, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 0.02, "fatol": 1e-5, "maxfev": 160})
    energy, resolution = made(found.x)
    return EnergyFit(energy=energy, resolution_eV=resolution, before=before, after=float(found.fun))
