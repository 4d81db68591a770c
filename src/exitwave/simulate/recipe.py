"""The recipe of a simulated 4D-STEM scan."""

import json
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from types import MappingProxyType

from exitwave.core import InputError, record
from exitwave.core.seeds import DEFAULT_SEED


@record
class FourDRecipe:
    """Everything a simulated 4D-STEM scan depends on.

    `specimen` is a built-in prototype or a structure file. `aberrations` are Krivanek names (C10_A, C12_A, phi12_deg ...), referred to the plane
    where the projected potential has its centre of mass, so that they are what a direct method measures. `field_A` (y, x) is the specimen's
    extent, by default the scan's or the illumination window's, whichever is larger. `centre_offset_px` (y, x) moves the undiffracted beam off the
    middle of the frame.
    `configurations` > 0 averages that many frozen phonon configurations; 0 smears each atom by its thermal motion.
    """

    specimen: str = "Au-nanoparticle"
    energy_eV: float = 200e3
    semiangle_mrad: float = 20.0
    aberrations: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({"C10_A": -300.0}))
    scan_shape: tuple[int, int] = (96, 96)
    scan_step_A: float = 0.5
    field_A: tuple[float, float] | None = None
    detector_px: tuple[int, int] = (64, 64)
    detector_mrad: float = 1.25
    centre_offset_px: tuple[float, float] = (0.0, 0.0)
    rotation_deg: float = 0.0
    transpose: bool = False
    dose_e_per_A2: float = 1e4
    counts_per_electron: float = 1.0
    slice_A: float = 8.0
    thickness_A: float | None = None
    configurations: int = 0
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        positive = {
            "energy_eV": self.energy_eV,
            "semiangle_mrad": self.semiangle_mrad,
            "scan_step_A": self.scan_step_A,
            "detector_mrad": self.detector_mrad,
            "dose_e_per_A2": self.dose_e_per_A2,
            "slice_A": self.slice_A,
        }
        for name, value in positive.items():
            if not 0 < value < float("inf"):
                raise InputError(f"{name} must be positive", got=value)
        if self.configurations < 0:
            raise InputError("configurations must not be negative", expected="0, which smears atoms, or how many are averaged",
                             got=self.configurations)
        if min(*self.scan_shape, *self.detector_px) < 1:
            raise InputError("a scan and a detector have at least one pixel", got=f"scan {self.scan_shape}, detector {self.detector_px}")
        if self.semiangle_mrad > self.detector_mrad * min(self.detector_px) / 2:
            raise InputError(
                "the aperture does not fit on the detector",
                expected=f"at most {self.detector_mrad * min(self.detector_px) / 2:.4g} mrad",
                got=f"{self.semiangle_mrad:.4g} mrad",
                remedy="take more or larger detector pixels",
            )


def recipe_json(recipe: FourDRecipe) -> str:
    """The recipe as JSON text: as a YAML document it is a recipe of kind simulate again."""
    plain = asdict(replace(recipe, aberrations=dict(recipe.aberrations)))  # type: ignore[call-overload, type-var]
    return json.dumps({"schema": 1, "kind": "simulate", **plain})


# What each field is, with its unit: the comments of templates.
MEANING: Mapping[str, str] = MappingProxyType(
    {
        "specimen": "a built-in specimen (graphene, MoS2, Si, SrTiO3, Au-nanoparticle) or a structure file",
        "energy_eV": "beam energy, eV",
        "semiangle_mrad": "convergence semi-angle, mrad",
        "aberrations": "Krivanek names, A and degrees, e.g. C10_A, C12_A, phi12_deg; C10 < 0 is underfocus; angles in the scan's frame",
        "scan_shape": "scan positions [y, x]",
        "scan_step_A": "scan step, A",
        "field_A": "extent of the specimen [y, x], A; null: what scan and probe need",
        "detector_px": "detector pixels [y, x]",
        "detector_mrad": "angle of one detector pixel, mrad",
        "centre_offset_px": "undiffracted beam off the middle of the frame [y, x], pixels",
        "rotation_deg": "detector to scan, degrees from +x toward +y",
        "transpose": "whether detector axes are exchanged before that rotation",
        "dose_e_per_A2": "electrons per square Angstrom",
        "counts_per_electron": "counts that one electron makes, at least 1",
        "slice_A": "thickness of a slice, A",
        "thickness_A": "thickness of a crystal or film, A; null: the specimen's own",
        "configurations": "frozen phonon configurations; 0 smears atoms by their thermal motion",
        "seed": "seed of everything random",
    }
)
