"""What a specimen recipe says."""

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Literal

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.core.seeds import DEFAULT_SEED

Kind = Literal["crystal", "bilayer", "carbon", "particle", "scene"]
CARBON, VACUUM = "amorphous carbon", "vacuum"
FACETS = ((1.0, 1.0, 1.0, 1.0), (1.0, 0.0, 0.0, 1.15))


@record
class Part:
    """One body of a scene and what fills it. Lengths and places are x, y, z in Angstrom in the box of the scene."""

    of: str = CARBON
    shape: Literal["block", "ball", "cylinder", "wulff"] = "block"
    priority: int = 0
    gap_A: float = 0.0
    centre_A: tuple[float, float, float] | None = None
    size_A: tuple[float, float, float] | None = None
    diameter_A: float = 30.0
    facets: tuple[tuple[float, float, float, float], ...] = FACETS
    zone: tuple[int, int, int] = (0, 0, 1)
    along: tuple[int, int, int] | None = None
    angle_deg: float = 0.0
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    density_g_cm3: float = 2.0
    u_iso_A2: float | None = None

    def __post_init__(self) -> None:
        if self.gap_A < 0 or not self.diameter_A > 0:
            raise InputError("a part has a gap of 0 or more and a positive diameter", got=f"{self.gap_A}, {self.diameter_A} A")


def example_parts() -> Mapping[str, Part]:
    """A gold particle 2 A before a film of amorphous carbon."""
    return MappingProxyType({
        "film": Part(centre_A=(20.0, 20.0, 40.0), size_A=(40.0, 40.0, 12.0)),
        "particle": Part(of="Au", shape="wulff", priority=1, gap_A=2.0, centre_A=(20.0, 20.0, 19.0), diameter_A=24.0, zone=(1, 1, 0)),
    })


@record
class SpecimenRecipe:
    """Everything a built specimen depends on. `kind_of` says which of the fields below count; three lengths are x, y, z."""

    kind_of: Kind = "crystal"
    of: str = "SrTiO3"
    zone: tuple[int, int, int] = (0, 0, 1)
    along: tuple[int, int, int] | None = None
    angle_deg: float = 0.0
    size_A: tuple[float, float, float] = (30.0, 30.0, 50.0)
    vacuum_A: float = 0.0
    most_strain: float = 0.01
    most_off_deg: float = 0.5
    most_side_A: float = 80.0
    upper: str = "graphene"
    twist_deg: float = 21.787
    spacing_A: float = 3.35
    density_g_cm3: float = 2.0
    diameter_A: float = 30.0
    facets: tuple[tuple[float, float, float, float], ...] = FACETS
    box_A: tuple[float, float, float] = (40.0, 40.0, 50.0)
    parts: Mapping[str, Part] = field(default_factory=example_parts)
    closest_A: float = 1.5
    u_iso_A2: float | None = None
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        lengths = {"size_A": self.size_A, "box_A": self.box_A, "diameter_A": (self.diameter_A,), "most_side_A": (self.most_side_A,)}
        for name, sides in lengths.items():
            if not all(0 < side < 1e5 for side in sides):
                raise InputError(f"{name} must be positive", got=sides)
        if self.vacuum_A < 0 or self.closest_A < 0:
            raise InputError("vacuum_A and closest_A must not be negative", got=f"{self.vacuum_A}, {self.closest_A}")


PART_MEANING: Mapping[str, str] = MappingProxyType({
    "of": "what fills the body: a crystal (Au, Si, SrTiO3 ...), a structure file, \"amorphous carbon\" or \"vacuum\", which only empties",
    "shape": "block, ball, cylinder (along the beam) or wulff",
    "priority": "where bodies overlap the higher number stays; of equals the one named first",
    "gap_A": "free space that this part keeps around itself in parts that yield to it, A, from each face",
    "centre_A": "the body's centre, A; null: the middle of the box",
    "size_A": "sides of a block; a cylinder's length is the third; null: the whole box",
    "diameter_A": "diameter of a ball or cylinder, or of the ball that a wulff body has the volume of",
    "facets": "wulff: rows of h, k, l and the relative surface energy of the faces {hkl}",
    "zone": "crystal direction [u v w] along the beam",
    "along": "crystal direction near +x; null: the shortest vector across the beam",
    "angle_deg": "turn about the beam, from +x toward +y",
    "tilt_deg": "then turns about x and about y",
    "density_g_cm3": "density of amorphous carbon",
    "u_iso_A2": "mean-square displacement along one axis for all atoms of the part; "
                "null: the file's (still where it says nothing); of built-in ones near 300 K, where no value is known a round 0.006 A2",
})
MEANING: Mapping[str, str] = MappingProxyType({
    "kind_of": "crystal, bilayer, carbon (a film), particle (one on nothing) or scene (the parts below)",
    "of": "a crystal (Au, Si, SrTiO3, MgO, graphene, MoS2 ...) or a structure file",
    "zone": "crystal direction [u v w] along the beam",
    "along": "crystal direction near +x; null: any",
    "angle_deg": "turn of the crystal about the beam, from +x toward +y",
    "size_A": "at least this large [x, y, z]; a film or particle's box exactly",
    "vacuum_A": "empty space before and behind the atoms",
    "most_strain": "crystal, bilayer: how much a box may stretch a lattice to close, as a fraction",
    "most_off_deg": "crystal, bilayer: how far the angle may be from what was asked for",
    "most_side_A": "crystal, bilayer: the longest side of the smallest box",
    "upper": "bilayer: the second sheet; the first is `of`",
    "twist_deg": "bilayer: turn of the second sheet on the first",
    "spacing_A": "bilayer: distance of the middle planes",
    "density_g_cm3": "carbon: density",
    "diameter_A": "particle: diameter of the ball of its volume",
    "facets": "particle: rows of h, k, l and the relative surface energy of the faces {hkl}",
    "box_A": "scene: the box [x, y, z]",
    "parts": "scene: bodies by name",
    "closest_A": "scene: atoms of a part that yields are taken away this close to those of another",
    "u_iso_A2": "mean-square displacement along one axis for all atoms; "
                "null: the file's (still where it says nothing); of built-in ones near 300 K, where no value is known a round 0.006 A2",
    "seed": "seed of everything random",
})
