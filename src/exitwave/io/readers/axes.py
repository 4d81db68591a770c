"""What the readers share about axes: units of the field to those of the conventions, coordinates to scale and offset, steps to calibration."""

import re
from collections.abc import Mapping, Sequence
from math import isclose, isfinite
from types import MappingProxyType

import numpy as np

from exitwave.core.beam import Beam
from exitwave.data.signal import ENERGY, Axis

LENGTHS = {"fm": 1e-5, "pm": 1e-2, "A": 1.0, "nm": 10.0, "um": 1e4, "mm": 1e7, "cm": 1e8, "m": 1e10}
# spelling without blanks -> (unit of the conventions, factor)
HOUSE: Mapping[str, tuple[str, float]] = MappingProxyType(
    {name: ("A", factor) for name, factor in LENGTHS.items()}
    | {f"1/{name}": ("1/A", 1 / factor) for name, factor in LENGTHS.items()}
    | {"rad": ("mrad", 1e3), "mrad": ("mrad", 1.0), "urad": ("mrad", 1e-3)}
    | {"meV": ("eV", 1e-3), "eV": ("eV", 1.0), "keV": ("eV", 1e3), "MeV": ("eV", 1e6)}
    | {"min": ("s", 60.0), "s": ("s", 1.0), "ms": ("s", 1e-3), "us": ("s", 1e-6), "ns": ("s", 1e-9), "ps": ("s", 1e-12), "fs": ("s", 1e-15)}
)
SPELLINGS = {"angstrom": "A", "angstroms": "A", "ang": "A", "micron": "um", "microns": "um", "micrometer": "um", "nanometer": "nm", "meter": "m",
             "electronvolt": "eV", "ev": "eV", "kev": "keV", "sec": "s", "second": "s", "seconds": "s", "msec": "ms", "millisecond": "ms",
             "radian": "rad", "radians": "rad", "degree": "deg", "degrees": "deg", "milliradian": "mrad", "minutes": "min"}
COUNTED = {"", "pixel", "pixels", "px", "channel", "channels", "none", "<undefined>", "undefined", "n/a", "index", "1"}
UNIFORM = 1e-3  # coordinates count as equally spaced where none is further than this part of a step from the straight line


def house_unit(unit: str) -> tuple[str, float]:
    """The unit of the conventions (A, 1/A, mrad, eV, s) and the factor to it; "" where indices are counted, other units as they are.

    Understands "nm^-1", "1 / nm", "nm-1", "$nm^{-1}$", the underscores and brackets of Berkeley EMD ("[n_m]") and names spelt out.
    """
    bare = re.sub(r"[\s$\[\]{}_\\]|mathrm", "", unit.translate({0xB5: "u", 0x3BC: "u", 0xC5: "A", 0x212B: "A"}))
    if bare.lower() in COUNTED:
        return "", 1.0
    inverse = re.fullmatch(r"(?:1?/)(.+)|(.+?)\^?-1", bare)
    stem = (inverse[1] or inverse[2]) if inverse else bare
    stem = SPELLINGS.get(stem.lower(), stem)
    name = f"1/{stem}" if inverse else stem
    return HOUSE.get(name, (unit.strip(), 1.0))


def make_axis(name: str, size: int, scale: float | None, offset: float, unit: str) -> Axis:
    """An axis in the units of the conventions. Its scale is None where the file tells none: nothing, zero, or bare pixels counted from zero."""
    house, factor = house_unit(unit)
    if scale is None or not isfinite(scale) or scale == 0 or not isfinite(offset) or (not house and scale == 1 and offset == 0):
        return Axis(name=name, size=size, unit=house)
    return Axis(name=name, size=size, scale=float(scale) * factor, offset=float(offset) * factor, unit=house)


def axis_along(name: str, size: int, values: np.ndarray, unit: str) -> Axis:
    """An axis from its coordinates: all of them, or the first two. Unequal steps, text and other sizes have no scale."""
    if values.ndim != 1 or values.dtype.kind not in "uif" or values.size not in (2, size) or values.size < 2 or not np.isfinite(values).all():
        offset = float(values[0]) if values.ndim == 1 and values.size == 1 == size and values.dtype.kind in "uif" and np.isfinite(values[0]) else 0.0
        house, factor = house_unit(unit)
        return Axis(name=name, size=size, offset=offset * factor, unit=house)
    exact = values.astype(float)
    step = (exact[-1] - exact[0]) / (values.size - 1)
    straight = exact[0] + step * np.arange(values.size)
    even = step != 0 and bool(np.all(np.abs(exact - straight) <= UNIFORM * abs(step)))
    return make_axis(name, size, float(step) if even else None, float(exact[0]), unit)


def item_axes_of(axes: Sequence[Axis]) -> int:
    """1 where the last axis is an energy or there is no other, else 2."""
    return 1 if len(axes) == 1 or (axes and axes[-1].unit in ENERGY) else 2


def told_by_axes(axes: Sequence[Axis], item_axes: int, energy_eV: float | None) -> dict[str, float | bool]:
    """Calibration fields that follow from axes.

    The scan step of two navigation axes (or of the images of an energy stack) in A; the pixel of a diffraction pattern in mrad or, where the energy
    is known, in 1/A. Detector pixels that are not square tell nothing.
    """
    told: dict[str, float | bool] = {} if energy_eV is None or not energy_eV > 0 else {"energy_eV": float(energy_eV)}
    spectral = item_axes == 2 and len(axes) == 3 and axes[0].unit in ENERGY
    if len(axes) != item_axes + 2 and not spectral:
        return told
    for field, axis in zip(("scan_step_y_A", "scan_step_x_A"), axes[1:] if spectral else axes[:2], strict=True):
        if axis.unit == "A" and axis.scale is not None:
            told[field] = abs(axis.scale)
    if item_axes != 2 or spectral or axes[2].scale is None or axes[3].scale is None or axes[2].unit != axes[3].unit:
        return told
    pixel = abs(axes[3].scale)
    if not isclose(abs(axes[2].scale), pixel, rel_tol=UNIFORM):
        return told
    if axes[3].unit == "mrad":
        told["detector_mrad"] = pixel
    elif axes[3].unit == "1/A" and "energy_eV" in told:
        told["detector_mrad"] = 1e3 * Beam.electron(float(told["energy_eV"])).wavelength_A * pixel
    return told
