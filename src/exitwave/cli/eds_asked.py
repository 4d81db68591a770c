"""What was typed after `exitwave eds`, checked, and what the file itself says about beam and detectors."""

import re
from collections.abc import Mapping
from math import degrees
from typing import Any

from exitwave.core import InputError, record
from exitwave.core.errors import CalibrationError
from exitwave.data import Signal
from exitwave.matter.xrays import EdsDetector
from exitwave.spectra.eds import LineOptions

ELEMENTARY_C = 1.602176634e-19
HYPERSPY = "Acquisition_instrument.TEM."
SILICON_um = 450.0  # of a drift detector; matters above 12 keV


@record
class EdsAsked:
    """The flags of `exitwave eds` by name."""

    flags: Mapping[str, Any]
    lines: tuple[str, ...]
    options: LineOptions
    detectors: tuple[EdsDetector, ...]
    slope: tuple[float, float]

    def get(self, name: str) -> Any:
        """A flag's value."""
        return self.flags[name]


def asked_of(flags: Mapping[str, Any]) -> EdsAsked:
    """The flags, checked as far as that needs no file.

    Raises:
        InputError: lines, detectors or a slope that mean nothing, negative deviations.
    """
    lines = tuple(part.strip() for part in str(flags["lines"]).split(",") if part.strip())
    for name in ("dose_sigma", "factor_sigma", "thickness_sigma", "mac_sigma", "angle_sigma_deg"):
        if not flags[name] >= 0:
            raise InputError(f"--{name.replace('_', '-')} is not negative", got=flags[name])
    for name in ("dose_e", "current_nA", "live_s", "thickness_A", "density", "resolution_eV", "energy_scale"):
        if flags[name] is not None and not flags[name] > 0:
            raise InputError(f"--{name.replace('_', '-')} is positive", got=flags[name])
    if flags["lines_by"] == "windows" and (flags["pile_up"] or flags["also"].strip()):
        raise InputError(f"windows know nothing of {'--pile-up' if flags['pile_up'] else '--also'}", remedy="take --lines-by fit")
    if flags["method"] != "cliff-lorimer" and not flags["standard"] and flags["thickness_A"] is not None:
        raise InputError(f"{flags['method']} finds the thickness itself", got=f"--thickness-A {flags['thickness_A']:g}",
                         remedy="leave it out, or take --method cliff-lorimer")
    if flags["lines_by"] == "tophat" and flags["pile_up"]:
        raise InputError("a top-hat knows nothing of --pile-up", remedy="take --lines-by fit")
    options = LineOptions(by=flags["lines_by"], also=tuple(p.strip() for p in flags["also"].split(",") if p.strip()), from_eV=flags["from_eV"],
                          to_eV=flags["to_eV"], pile_up=flags["pile_up"], calibrate=flags["calibrate"], bin=tuple(flags["bins"]))
    slope = _numbers(flags["slope"], "--slope", (2,)) if flags["slope"] else (0.0, 0.0)
    detectors = tuple(_detector(text) for text in flags["detectors"])
    return EdsAsked(flags=dict(flags), lines=lines, options=options, detectors=detectors, slope=(slope[0], slope[1]))


def beam_of(asked: EdsAsked, signal: Signal) -> float:
    """Beam energy in eV.

    Raises:
        CalibrationError: nobody knows it.
    """
    return float(asked.get("energy_eV") or signal.calibration.need("energy_eV"))


def detectors_of(asked: EdsAsked, signal: Signal) -> tuple[EdsDetector, ...]:
    """The detectors that were typed, or those that the file describes; resolution as typed, as the file says, or 130 eV.

    HyperSpy's metadata hold one detector in degrees, Velox' one entry for each in radians. The stage's tilt is not applied: which way it leans the
    specimen toward a detector differs from one microscope to the next (--slope says it).
    """
    about = dict(signal.origin.get("attributes", {}))
    told = asked.detectors or _hyperspy(about) or _velox(about)
    stated = asked.get("resolution_eV") or _number(about.get(f"{HYPERSPY}Detector.EDS.energy_resolution_MnKa")) or 130.0
    return tuple(EdsDetector(elevation_deg=d.elevation_deg, azimuth_deg=d.azimuth_deg, solid_angle_sr=d.solid_angle_sr, silicon_um=SILICON_um,
                             resolution_eV=float(stated)) for d in told)


def solid_angles_told(asked: EdsAsked, signal: Signal) -> bool:
    """Whether every detector's solid angle was typed, or stands in the file; the 0.1 sr that takes its place serves ratios only."""
    if asked.detectors:
        return all(text.count(",") == 2 for text in asked.get("detectors"))
    about = dict(signal.origin.get("attributes", {}))
    ends = [name.removesuffix(".ElevationAngle") for name in about if name.startswith("Detectors.") and name.endswith(".ElevationAngle")]
    return not _hyperspy(about) and bool(ends) and all((_number_in(str(about.get(f"{name}.CollectionAngle", ""))) or 0) > 0 for name in ends)


def dose_of(asked: EdsAsked, signal: Signal, pixels: int) -> float | None:
    """Electrons per pixel (of `pixels` that share the live time), or None."""
    if asked.get("dose_e") is not None:
        return float(asked.get("dose_e"))
    about = dict(signal.origin.get("attributes", {}))
    current = asked.get("current_nA") or _number(about.get(f"{HYPERSPY}beam_current"))
    live = asked.get("live_s") or (_number(about.get(f"{HYPERSPY}Detector.EDS.live_time")) if pixels == 1 else None)
    return None if current is None or live is None else 1e-9 * current * live / ELEMENTARY_C / pixels


def mass_thickness_of(asked: EdsAsked, why: str) -> float | None:
    """Thickness times density in kg/m^2, None where neither is given.

    Raises:
        CalibrationError: one without the other.
    """
    thickness, density = asked.get("thickness_A"), asked.get("density")
    if thickness is not None and density is None:
        raise CalibrationError(f"{why} needs the density of the compound", remedy="pass --density-g-cm3; a mean of the elements' densities is no "
                               "substitute: for SiO2, Al2O3 and MgO it is wrong by factors of 2.4 to 3.4")
    return None if thickness is None else 1e-7 * float(thickness) * float(density)


def formula_of(text: str) -> dict[str, float]:
    """{"Zn": 1, "O": 1} of "ZnO"; "SrTiO3", "Fe0.5Pt0.5".

    Raises:
        InputError: no formula.
    """
    parts = re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", text)
    if not parts or "".join(a + b for a, b in parts) != text:
        raise InputError(f"{text!r} is no formula", expected="e.g. ZnO, SrTiO3, Fe0.5Pt0.5")
    atoms: dict[str, float] = {}
    for element, count in parts:
        atoms[element] = atoms.get(element, 0.0) + (float(count) if count else 1.0)
    return atoms


def pairs_of(text: str, flag: str) -> dict[str, float]:
    """NAME=VALUE,... as numbers by name, lines in the house's spelling.

    Raises:
        InputError: something else.
    """
    from exitwave.matter.xrays import parse_line

    found = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        number = _number_in(value)
        if not equals or number is None:
            raise InputError(f"{flag} is NAME=VALUE,...", expected="e.g. O-Ka=760,Zn-Ka=1560", got=part)
        found["-".join(parse_line(name))] = number
    return found


def _detector(text: str) -> EdsDetector:
    values = _numbers(text, "--detector", (1, 2, 3))
    elevation, azimuth, solid = (*values, *(0.0, 0.0, 0.1)[len(values) :])
    found = EdsDetector(elevation_deg=elevation, azimuth_deg=azimuth, solid_angle_sr=solid)
    if not 0 < found.elevation_deg <= 90 or not found.solid_angle_sr > 0:
        raise InputError("--detector is an elevation of 0 to 90 degrees, an azimuth and a positive solid angle", got=text)
    return found


def _hyperspy(about: Mapping[str, Any]) -> tuple[EdsDetector, ...]:
    elevation, azimuth = (_number(about.get(f"{HYPERSPY}Detector.EDS.{name}_angle")) for name in ("elevation", "azimuth"))
    return () if not elevation else (EdsDetector(elevation_deg=elevation, azimuth_deg=azimuth or 0.0),)


def _velox(about: Mapping[str, Any]) -> tuple[EdsDetector, ...]:
    ends = [name.removesuffix(".ElevationAngle") for name in about if name.startswith("Detectors.") and name.endswith(".ElevationAngle")]
    found = []
    for name in ends:
        elevation, azimuth, solid = (_number_in(str(about.get(f"{name}.{key}", ""))) for key in ("ElevationAngle", "AzimuthAngle", "CollectionAngle"))
        if elevation:
            found.append(EdsDetector(elevation_deg=degrees(elevation), azimuth_deg=degrees(azimuth or 0.0),
                                     solid_angle_sr=(solid or 0.4) / len(ends)))
    return tuple(found)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number_in(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _numbers(text: str, flag: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    values = [_number_in(part) for part in text.split(",")]
    if len(values) not in counts or any(v is None or abs(v) == float("inf") or v != v for v in values):
        raise InputError(f"{flag} is {' or '.join(map(str, counts))} numbers with commas between", got=text)
    return tuple(float(v) for v in values if v is not None)
