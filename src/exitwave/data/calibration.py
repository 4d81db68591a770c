"""What is known about a scan, each fact with its uncertainty and where it came from."""

from collections.abc import Mapping
from dataclasses import field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from exitwave.core.errors import CalibrationError
from exitwave.core.records import record

Source = Literal["measured", "given", "file", "assumed", "missing"]


@record
class Quantity:
    """A value, its standard uncertainty (None: not known) and its source.

    `value` is a number, a bool, or None where it is missing. "given" was typed by a person, "file" was read from metadata, "measured" was
    fitted to the data, "assumed" is a default that the data did not contradict.
    """

    value: float | bool | str | None = None
    sigma: float | None = None
    source: Source = "missing"

    @property
    def known(self) -> bool:
        """Whether there is a value at all."""
        return self.value is not None

    def as_json(self) -> dict[str, Any]:
        """{"value", "sigma", "source"}: the promise made to scripts."""
        return {"value": self.value, "sigma": self.sigma, "source": self.source}


MISSING = Quantity()

# The command-line flag that supplies a field; error messages quote it. Other fields are typed into a recipe.
FLAGS: Mapping[str, str] = MappingProxyType({
    "energy_eV": "--energy-eV", "semiangle_mrad": "--semiangle-mrad", "scan_step_y_A": "--scan-step-A", "scan_step_x_A": "--scan-step-A",
    "detector_mrad": "--detector-mrad", "rotation_deg": "--rotation-deg", "transpose": "--transpose", "source_A": "--source-A",
    "focal_spread_A": "--focal-spread-A",
})


@record
class Calibration:
    """The calibration of a 4D scan. Every field is a Quantity; see docs/conventions.md for frames and signs.

    `detector_mrad` is the angle of one detector pixel; `centre_*_px` the undiffracted beam in frame pixels (index, so 31.5 lies between two
    pixels); `semiangle_px` the bright-field radius; `ellipticity` the axis ratio minus one, `ellipticity_deg` the long axis from +x toward +y
    in the frame; `rotation_deg` and `transpose` take detector to scan; `aberrations` maps C10_A, C12_A, phi12_deg ... to Quantities.
    `source_A` is the rms size of the source's image along each axis, `focal_spread_A` the rms spread of C10, both zero where missing.
    `counts_per_electron` divides counts into electrons; `fano` is variance over mean of one pixel, `neighbour_correlation` of touching pixels.
    `twin` says what settled the 180-degree twin: a prior's name, or "undetermined".
    """

    energy_eV: Quantity = MISSING
    semiangle_mrad: Quantity = MISSING
    scan_step_y_A: Quantity = MISSING
    scan_step_x_A: Quantity = MISSING
    detector_mrad: Quantity = MISSING
    centre_y_px: Quantity = MISSING
    centre_x_px: Quantity = MISSING
    semiangle_px: Quantity = MISSING
    ellipticity: Quantity = MISSING
    ellipticity_deg: Quantity = MISSING
    rotation_deg: Quantity = MISSING
    transpose: Quantity = MISSING
    twin: Quantity = MISSING
    source_A: Quantity = MISSING
    focal_spread_A: Quantity = MISSING
    counts_per_electron: Quantity = MISSING
    fano: Quantity = MISSING
    neighbour_correlation: Quantity = MISSING
    aberrations: Mapping[str, Quantity] = field(default_factory=dict)

    def need(self, name: str) -> float:
        """The value of a field.

        Raises:
            CalibrationError: it is missing; the message names the flag or the recipe key that supplies it.
        """
        aberration = name.startswith(("C", "phi"))
        quantity = self.aberrations.get(name, MISSING) if aberration else getattr(self, name)
        if quantity.value is None:
            flag = f"--aberration {name}=..." if aberration else FLAGS.get(name, f"--set calibration.{name}=...")
            raise CalibrationError(f"{name} is not known", remedy=f"pass {flag} or run `exitwave calibrate`")
        return float(quantity.value)

    def updated(self, **known: Quantity | Mapping[str, Quantity]) -> "Calibration":
        """A copy with some fields replaced; `aberrations` is merged, not replaced."""
        if isinstance(added := known.get("aberrations"), Mapping):
            known["aberrations"] = MappingProxyType({**self.aberrations, **added})
        return replace(self, **known)  # type: ignore[arg-type, type-var]

    def as_json(self) -> dict[str, Any]:
        """Field name -> {"value", "sigma", "source"}; `aberrations` nested the same way."""
        out: dict[str, Any] = {f.name: getattr(self, f.name).as_json() for f in fields(self) if f.name != "aberrations"}  # type: ignore[arg-type]
        out["aberrations"] = {name: quantity.as_json() for name, quantity in self.aberrations.items()}
        return out


def calibration_from_json(tree: Mapping[str, Any]) -> Calibration:
    """The inverse of `Calibration.as_json`.

    Raises:
        CalibrationError: a field this version does not know.
    """
    names = {f.name for f in fields(Calibration)}  # type: ignore[arg-type]
    unknown = set(tree) - names
    if unknown:
        raise CalibrationError(f"unknown calibration field {sorted(unknown)[0]!r}", expected=", ".join(sorted(names)))
    flat = {name: Quantity(**value) for name, value in tree.items() if name != "aberrations"}
    nested = {name: Quantity(**value) for name, value in tree.get("aberrations", {}).items()}
    return Calibration(**flat, aberrations=nested)
