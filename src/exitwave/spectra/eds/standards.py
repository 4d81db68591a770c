"""Factors from a specimen of known composition: zeta where its mass thickness and the dose are known, k factors in any case."""

from collections.abc import Mapping

import numpy as np

from exitwave.core import InputError, record
from exitwave.spectra.eds.factors import Factors
from exitwave.spectra.eds.intensities import LineCounts
from exitwave.spectra.eds.lines import LineSet
from exitwave.spectra.eds.quantify import Shared, Uncertain, View


@record
class Standard:
    """Atoms of each element in a formula unit ({"Zn": 1, "O": 1}), mass thickness, electrons; both per pixel, or over the whole where counts are."""

    atoms: Mapping[str, float]
    mass_thickness_kg_m2: Uncertain
    dose_e: Uncertain | None = None


def from_standard(counts: LineCounts, lines: LineSet, standard: Standard, view: View | None, shared: Shared | None = None) -> Factors:
    """zeta_i = rho t C_i D T_i / I_i with the relative covariance of counts, thickness, dose, absorption and angle; T_i is what the specimen itself
    absorbs, known because its composition is. Without a dose the factors are ratios (`absolute` False).

    Raises:
        InputError: elements that the formula lacks, counts that are not positive, more than one pixel.
    """
    if counts.counts.shape != (len(lines.lines),):
        raise InputError("a standard is one spectrum", expected=(len(lines.lines),), got=counts.counts.shape, remedy="sum its pixels first")
    lacking = [element for element in lines.elements if not standard.atoms.get(element, 0) > 0]
    if lacking:
        raise InputError(f"the standard has no {lacking[0]}", expected=", ".join(lines.elements), got=_formula(standard.atoms))
    if np.any(counts.counts <= 0):
        raise InputError("a standard's lines have counts", got=dict(zip(lines.names, counts.counts.round(1).tolist(), strict=True)))
    unmeasured = [element for element in standard.atoms if element not in lines.elements]
    if unmeasured:
        raise InputError(f"the standard's {unmeasured[0]} has no line here", expected=", ".join(lines.elements),
                         remedy=f"add a line of {unmeasured[0]}: it absorbs too")
    total = float(standard.mass_thickness_kg_m2.value)
    atoms = np.array([standard.atoms[element] for element in lines.elements])
    share = atoms * lines.weights_g_mol / (atoms @ lines.weights_g_mol)
    transmitted, by_chi = _transmitted(share * total, lines, view)
    dose = 1.0 if standard.dose_e is None else float(standard.dose_e.value)
    covariance = counts.covariance / np.outer(counts.counts, counts.counts)
    covariance = covariance + _common(share * total, lines, by_chi, standard, view, shared or Shared())
    return Factors(lines=lines.names, zeta=share * total * dose * transmitted / counts.counts, covariance=covariance,
                   absolute=standard.dose_e is not None, source=f"standard {_formula(standard.atoms)}")


def _transmitted(mass: np.ndarray, lines: LineSet, view: View | None) -> tuple[np.ndarray, np.ndarray]:
    """T (n,) and d ln T / d ln chi by detector (n, q), weighed."""
    from exitwave.spectra.eds.sensitivity import escape_and_slope

    if view is None:
        return np.ones(len(mass)), np.zeros((len(mass), 1))
    chi = (lines.mac_m2_kg @ mass)[:, None] * view.paths
    share, slope = escape_and_slope(chi)
    whole = (view.weights * share).sum(-1)
    return whole, view.weights * slope * chi / whole[:, None]


def _common(mass: np.ndarray, lines: LineSet, by_chi: np.ndarray, standard: Standard, view: View | None, shared: Shared) -> np.ndarray:
    """Relative covariance (n, n) from thickness, dose, absorption coefficients and angle."""
    slope = by_chi.sum(-1)
    thick = (1 + slope) * standard.mass_thickness_kg_m2.relative_sigma
    dose = np.full(len(mass), 0.0 if standard.dose_e is None else standard.dose_e.relative_sigma)
    parts = [np.outer(thick, thick), np.outer(dose, dose)]
    if view is not None:
        turned = (by_chi * view.change_per_rad).sum(-1) * 1e-3 * shared.angle_mrad
        absorbed = lines.mac_m2_kg * mass
        spread = ((absorbed / absorbed.sum(-1, keepdims=True)) ** 2).sum(-1) * (slope * shared.mac_relative) ** 2
        parts += [np.outer(turned, turned), np.diag(spread)]
    return np.asarray(sum(parts))


def _formula(atoms: Mapping[str, float]) -> str:
    return "".join(f"{element}{'' if n == 1 else format(n, 'g')}" for element, n in atoms.items())
