"""Detectors of X-rays: where they look from, what they see of a photon energy, how sharply."""

from functools import lru_cache
from math import cos, radians, sin

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.xrays.tables import XrayTables

PER_PAIR_eV = 3.64  # energy of an electron-hole pair in silicon
MN_KA_eV = 5898.8
TO_FWHM = 2.3548200450309493
SILICON_KG_M3 = 2329.0


@record
class Layer:
    """A layer that photons cross: mass thickness in kg/m^2 and mass fractions by element; `open_share` of the area lets everything through."""

    fractions: tuple[tuple[str, float], ...]
    kg_m2: float
    open_share: float = 0.0


@record
class EdsDetector:
    """One energy-dispersive detector.

    `elevation_deg` above the plane normal to the beam; `azimuth_deg` from +x toward +y; `solid_angle_sr`; `layers` in front of a silicon crystal
    of `silicon_um` (0: every photon that arrives is counted); `resolution_eV` is the full width at half maximum at Mn Ka.
    """

    elevation_deg: float
    azimuth_deg: float = 0.0
    solid_angle_sr: float = 0.1
    layers: tuple[Layer, ...] = ()
    silicon_um: float = 0.0
    resolution_eV: float = 130.0


def path_factor(detector: EdsDetector, slope: tuple[float, float] | np.ndarray = (0.0, 0.0)) -> np.ndarray:
    """Way out through the specimen over the depth at which a photon was born (csc of the take-off angle for a flat, level specimen).

    `slope` (..., 2) is how steeply the surface toward the detectors rises along (y, x), dimensionless: 1 / (sin a - cos a (slope . d)) with d the
    detector's direction in the plane. A tilted slab and a wedge differ only in where the slope comes from.

    Raises:
        InputError: an elevation outside 0 to 90 degrees, or a surface that shadows the detector.
    """
    if not 0 < detector.elevation_deg <= 90:
        raise InputError("a detector's elevation lies above the specimen plane", expected="0 to 90 degrees", got=detector.elevation_deg)
    a, phi = radians(detector.elevation_deg), radians(detector.azimuth_deg)
    rise = np.asarray(slope, float) @ np.array([sin(phi), cos(phi)])
    sine = sin(a) - cos(a) * rise
    if np.any(sine <= 0):
        raise InputError("the specimen's own surface hides it from a detector", got=f"elevation {detector.elevation_deg:g} deg, "
                         f"azimuth {detector.azimuth_deg:g} deg", remedy="tilt toward the detector, or leave this one out")
    return np.asarray(1 / sine)


def efficiency(detector: EdsDetector, energies_eV: np.ndarray, tables: XrayTables) -> np.ndarray:
    """Share (n,) of the arriving photons of each energy that is counted: through the layers, stopped by the crystal."""
    energies = np.asarray(energies_eV, float)
    seen = np.ones_like(energies)
    for layer in detector.layers:
        mac = sum(share * tables.mac_m2_kg(element, energies) for element, share in layer.fractions)
        seen = seen * (layer.open_share + (1 - layer.open_share) * np.exp(-mac * layer.kg_m2))
    if detector.silicon_um > 0:
        seen = seen * -np.expm1(-tables.mac_m2_kg("Si", energies) * SILICON_KG_M3 * detector.silicon_um * 1e-6)
    return seen


def fwhm_eV(energies_eV: np.ndarray, resolution_eV: float, fano: float = 0.12) -> np.ndarray:
    """Full width at half maximum of a line: electronic noise and the statistics of pairs, F 3.64 eV E, set so that Mn Ka has `resolution_eV`."""
    pairs = TO_FWHM**2 * fano * PER_PAIR_eV
    noise = max(resolution_eV**2 - pairs * MN_KA_eV, 1.0)
    return np.asarray(np.sqrt(noise + pairs * np.asarray(energies_eV, float)))


def super_x(solid_angle_sr: float = 0.7, elevation_deg: float = 18.0) -> tuple[EdsDetector, ...]:
    """Four windowless detectors at 45, 135, 225 and 315 degrees that share a solid angle."""
    return tuple(EdsDetector(elevation_deg=elevation_deg, azimuth_deg=a, solid_angle_sr=solid_angle_sr / 4, silicon_um=450.0)
                 for a in (45.0, 135.0, 225.0, 315.0))


@lru_cache(maxsize=1024)
def escape_share(energy_eV: float, tables: XrayTables) -> float:
    """Share of a line's counts that appears lower by the energy of Si Ka, which left the crystal.

    Reed & Ware, J. Phys. E 5 (1972) 582, for photons that arrive head-on: (w/2) (1 - 1/r) (1 - (m_Si/m) ln(1 + m/m_Si)), w the K yield and r the
    K jump of silicon, m and m_Si its attenuation of the line and of Si Ka. Zero below the K edge of silicon.
    """
    edge = 1839.0
    if energy_eV <= edge:
        return 0.0
    below, above, own, line = tables.mac_m2_kg("Si", np.array([edge - 5, edge + 5, 1739.7, energy_eV]))
    ratio = own / line
    return float(0.5 * tables.fluorescence("Si", "K") * (1 - below / above) * (1 - ratio * np.log1p(1 / ratio)))
