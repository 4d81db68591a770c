"""Factors between counts and mass: zeta, Cliff-Lorimer's k, cross sections; from theory or from standards, with their uncertainty."""

from collections.abc import Mapping, Sequence

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.matter.xrays import EdsDetector, XrayTables, efficiency, emission_A2
from exitwave.spectra.eds.lines import LineSet

AVOGADRO = 6.02214076e23
THEORY_K, THEORY_LM = 0.10, 0.20  # relative: yields and cross sections of K, of L and M lines


@record
class Factors:
    """zeta (n,) in kg electron / (m^2 photon) and their relative covariance (n, n); `absolute` is False where only ratios are known (k factors)."""

    lines: tuple[str, ...]
    zeta: np.ndarray
    covariance: np.ndarray
    absolute: bool
    source: str

    @property
    def sigma(self) -> np.ndarray:
        """Relative standard uncertainties (n,)."""
        return np.sqrt(np.diagonal(self.covariance))

    def k(self, reference: str) -> np.ndarray:
        """Cliff-Lorimer factors (n,) against a line of this set: k_AB = zeta_A / zeta_B."""
        return self.zeta / self.zeta[_place(self.lines, reference)]

    def k_sigma(self, reference: str) -> np.ndarray:
        """Relative uncertainty (n,) of `k`; what both lines share cancels."""
        r, c = _place(self.lines, reference), self.covariance
        return np.sqrt(np.maximum(np.diagonal(c) + c[r, r] - 2 * c[:, r], 0))


def given_factors(lines: LineSet, values: Mapping[str, float], *, relative_sigma: float = 0.0, absolute: bool = True,
                  source: str = "given") -> Factors:
    """Factors by line name; each has the same relative uncertainty, independent of the others. With `absolute` False they are k factors.

    Raises:
        InputError: a line without a factor, or a factor that is not positive.
    """
    lacking = [name for name in lines.names if name not in values]
    if lacking:
        raise InputError(f"no factor for {lacking[0]}", expected=f"one for each of {', '.join(lines.names)}", got=", ".join(values) or "none")
    zeta = np.array([float(values[name]) for name in lines.names])
    if not np.all(np.isfinite(zeta) & (zeta > 0)):
        raise InputError("a factor is a positive number", got=", ".join(f"{name}={values[name]:g}" for name in lines.names))
    return Factors(lines=lines.names, zeta=zeta, covariance=np.eye(len(zeta)) * relative_sigma**2, absolute=absolute, source=source)


def theory(lines: LineSet, energy_eV: float, detectors: Sequence[EdsDetector], tables: XrayTables) -> Factors:
    """Standardless zeta_i = M_i / (N_A sigma_i sum_q Omega_q/4pi eps_q), sigma_i the emission cross section of `exitwave.matter.xrays.emission_A2`.

    The uncertainty is that of theory alone: 10 % for K lines, 20 % for L and M lines, independent; solid angle and the detector's own layers come
    on top. Against a good standard it is the last resort.
    """
    energies = np.array([line.energy_eV for line in lines.lines])
    seen = sum((d.solid_angle_sr / (4 * np.pi) * efficiency(d, energies, tables) for d in detectors), np.zeros(len(energies)))
    sigma_m2 = 1e-20 * np.array([emission_A2(line, energy_eV, tables) for line in lines.lines])
    dark = [line.name for line, made in zip(lines.lines, sigma_m2 * seen, strict=True) if not made > 0]
    if dark:
        raise InputError(f"theory has no X-rays of {dark[0]} at {energy_eV / 1e3:g} kV", remedy="take another line, or give its factor")
    zeta = 1e-3 * lines.weights_g_mol / (AVOGADRO * sigma_m2 * seen)
    relative = np.array([THEORY_K if line.family.startswith("K") else THEORY_LM for line in lines.lines])
    return Factors(lines=lines.names, zeta=zeta, covariance=np.diag(relative**2), absolute=True, source=f"theory, {tables.name}")


def from_cross_sections(lines: LineSet, barn: Mapping[str, float], relative_sigma: float = 0.0) -> Factors:
    """zeta = M / (N_A sigma) from effective cross sections (solid angle and efficiency inside), in barn, by line name."""
    made = given_factors(lines, barn, relative_sigma=relative_sigma)
    return Factors(lines=made.lines, zeta=1e-3 * lines.weights_g_mol / (AVOGADRO * made.zeta * 1e-28), covariance=made.covariance, absolute=True,
                   source="cross sections")


def cross_sections_barn(factors: Factors, lines: LineSet) -> np.ndarray:
    """Effective cross sections (n,) in barn that the zeta factors stand for."""
    return 1e-3 * lines.weights_g_mol / (AVOGADRO * factors.zeta) * 1e28


def joined(parts: Sequence[Factors], lines: LineSet) -> Factors:
    """Factors of several standards as one set, in the order of `lines`; parts are independent of each other.

    Raises:
        InputError: a line that no part, or more than one part, has; parts that are not absolute.
    """
    where = {name: [(p, part.lines.index(name)) for p, part in enumerate(parts) if name in part.lines] for name in lines.names}
    bad = next((name for name, found in where.items() if len(found) != 1), None)
    if bad is not None:
        raise InputError(f"{bad} needs one standard", got=len(where[bad]))
    if not all(part.absolute for part in parts):
        raise InputError("k factors of different standards do not join", remedy="give all of them against one line")
    places = [where[name][0] for name in lines.names]
    covariance = np.array([[parts[p].covariance[i, j] if p == q else 0.0 for q, j in places] for p, i in places])
    return Factors(lines=lines.names, zeta=np.array([parts[p].zeta[i] for p, i in places]), covariance=covariance, absolute=True,
                   source=", ".join(part.source for part in parts))


def _place(lines: tuple[str, ...], name: str) -> int:
    if name not in lines:
        raise InputError(f"no factor for {name}", expected=", ".join(lines))
    return lines.index(name)
