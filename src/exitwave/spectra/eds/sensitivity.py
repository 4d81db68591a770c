"""How composition answers to each of its inputs, by the implicit function theorem."""

import numpy as np

from exitwave.core import record
from exitwave.spectra.eds.factors import Factors
from exitwave.spectra.eds.lines import LineSet
from exitwave.spectra.eds.quantify import Uncertain, View, quantify_zeta


@record
class Sensitivity:
    """Derivatives of the atomic fractions (n,) by the logarithm of: each line's counts and factor (n, n), the dose (n,), each absorption
    coefficient (n, lines, absorbers), the take-off angle (n,) per radian."""

    counts: np.ndarray
    factors: np.ndarray
    dose: np.ndarray
    absorption: np.ndarray
    angle_per_rad: np.ndarray


def sensitivity(counts: np.ndarray, lines: LineSet, factors: Factors, dose_e: float, view: View) -> Sensitivity:
    """Derivatives at one pixel's counts (n,): J dm = db - dG, with G_i = m_i T_i(m) - b_i and b_i = zeta_i I_i / dose.

    Raises:
        InputError: as `exitwave.spectra.eds.quantify_zeta`.
    """
    found = quantify_zeta(counts, counts, lines, factors, Uncertain(value=dose_e), view)
    mass, mac = found.mass_kg_m2, lines.mac_m2_kg
    chi = (mac @ mass)[:, None] * view.paths  # (n, q)
    shares, slopes = escape_and_slope(chi)
    slope = (view.weights * view.paths * slopes).sum(-1)
    jacobian = np.diag((view.weights * shares).sum(-1)) + (mass * slope)[:, None] * mac
    source = factors.zeta * counts / dose_e
    inverse = np.linalg.inv(jacobian)
    held = (mass / lines.weights_g_mol).sum()
    turn = (np.eye(len(mass)) - found.atomic[:, None]) / (lines.weights_g_mol * held)
    by_source = turn @ inverse * source
    moved = mass * (view.weights * slopes * chi * view.change_per_rad).sum(-1)
    absorbed = -(turn @ inverse)[:, :, None] * (mass * slope)[:, None] * mac * mass
    return Sensitivity(counts=by_source, factors=by_source, dose=-by_source.sum(-1), absorption=absorbed, angle_per_rad=-(turn @ inverse) @ moved)


def escape_and_slope(chi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1 - e^-chi) / chi and its derivative."""
    small = np.abs(chi) < 1e-3
    x = np.where(small, 1.0, chi)
    share = np.where(small, 1 - chi / 2 + chi**2 / 6, -np.expm1(-x) / x)
    return share, np.where(small, -0.5 + chi / 3, (np.exp(-x) - share) / x)
