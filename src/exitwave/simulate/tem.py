"""A TEM session that has not been: a recipe in, images of a focal and thickness series out."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, field, replace
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError, aberrations, record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.flow.accumulate import ignore
from exitwave.matter import Structure, displaced, even_slices, grid_for
from exitwave.simulate.camera import Camera, counted, on_camera
from exitwave.simulate.hrtem import Coherence, coherence_nodes, lens_image, refocused
from exitwave.simulate.slabs import exit_waves, placed, slices_at
from exitwave.wave import Lens

COUNT_STREAM = 3  # keeps these draws apart from other uses of the same seed
BAND = 2 / 3
COPIES = 14  # complex waves of the field's size held at once: a slice on its twice finer grid, wave, transform, sum


@record
class TemRecipe:
    """Everything a simulated series of TEM images depends on.

    `specimen` is a built-in specimen or a structure file. `aberrations` are Krivanek names, referred to the exit surface; `foci_A` are added to
    C10, one image each. `thicknesses_A` are the depths at which the exit wave is kept, all from one propagation; empty: the whole specimen.
    Spreads are standard deviations. `dose_e_per_A2` null: images without noise, in units of the incident intensity. `pitch_A` is that of the
    wave; its 2/3 Nyquist has to hold what camera and aperture see.
    """

    specimen: str = "SrTiO3"
    energy_eV: float = 300e3
    aberrations: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({"C10_A": -400.0, "C30_A": 6e6}))
    foci_A: tuple[float, ...] = (0.0,)
    thicknesses_A: tuple[float, ...] = ()
    aperture_mrad: float | None = 20.0
    focal_spread_A: float = 30.0
    divergence_mrad: float = 0.1
    coherence: Literal["full", "quasi"] = "full"
    tilt_mrad: tuple[float, float] = (0.0, 0.0)
    field_A: tuple[float, float] = (30.0, 30.0)
    thickness_A: float | None = None
    pixel_A: float = 0.2
    mtf: tuple[tuple[float, float], ...] = ()
    ntf: tuple[tuple[float, float], ...] = ()
    dqe0: float = 1.0
    counts_per_electron: float = 1.0
    dose_e_per_A2: float | None = 1e4
    pitch_A: float = 0.1
    slice_A: float = 2.0
    configurations: int = 0
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        positive = {"energy_eV": self.energy_eV, "pitch_A": self.pitch_A, "slice_A": self.slice_A, "field_A": min(self.field_A),
                    "dose_e_per_A2": 1.0 if self.dose_e_per_A2 is None else self.dose_e_per_A2,
                    "aperture_mrad": 1.0 if self.aperture_mrad is None else self.aperture_mrad}
        for name, value in positive.items():
            if not 0 < value < float("inf"):
                raise InputError(f"{name} must be positive", got=value)
        spreads = {"focal_spread_A": self.focal_spread_A, "divergence_mrad": self.divergence_mrad, "configurations": float(self.configurations)}
        for name, value in spreads.items():
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} must not be negative", got=value)
        if not self.foci_A or len(set(self.foci_A)) < len(self.foci_A):
            raise InputError("a focal series needs foci, each once", got=self.foci_A)
        camera_of(self)
        if self.pixel_A < 1.5 * self.pitch_A * (1 - 1e-9):
            raise InputError("the wave is sampled too coarsely for this camera", expected=f"pitch_A of at most {self.pixel_A / 1.5:.4g}",
                             got=self.pitch_A, remedy=f"pass --pitch-A {self.pixel_A / 1.5:.4g}")
        edge = BAND * 0.5 / self.pitch_A * Beam.electron(self.energy_eV).wavelength_A * 1e3
        if self.aperture_mrad is not None and self.aperture_mrad > edge:
            raise InputError("the objective aperture lies outside the band of the simulated wave", expected=f"at most {edge:.4g} mrad",
                             got=f"{self.aperture_mrad:.4g} mrad", remedy=f"pass --pitch-A {self.pitch_A * edge / self.aperture_mrad:.3g} or less")


@record
class TemImage:
    """One image (y, x) of the series, and the wave's share of incident electrons that reached it."""

    thickness_A: float
    focus_A: float
    image: Float[Tensor, "y x"]
    transmitted: float


@record
class Tem:
    """A recipe with its atoms and sampling, ready to run."""

    recipe: TemRecipe
    beam: Beam
    structure: Structure
    grid: Grid
    dz_A: Float[Tensor, " z"]
    after: tuple[int, ...]


def camera_of(recipe: TemRecipe) -> Camera:
    """The camera that a recipe describes."""
    return Camera(pixel_A=recipe.pixel_A, mtf=recipe.mtf, ntf=recipe.ntf, dqe0=recipe.dqe0, counts_per_electron=recipe.counts_per_electron)


def lens_of(recipe: TemRecipe) -> Lens:
    """The objective lens that a recipe describes, at focus 0 of the series."""
    return Lens(aberrations=aberrations(recipe.aberrations), aperture_mrad=recipe.aperture_mrad, focal_spread_A=recipe.focal_spread_A,
                divergence_mrad=recipe.divergence_mrad)


def tem_of(recipe: TemRecipe, memory_bytes: int = 2**30) -> Tem:
    """Atoms, grid and slices of a recipe.

    Raises:
        InputError: an unknown specimen or aberration, a thickness that the specimen does not have.
        MemoryBudgetError: a field whose waves do not fit, spreads that need too many images; the sentence says what it takes.
    """
    lens = lens_of(recipe)
    deepest = max(recipe.thicknesses_A, default=None)
    structure = placed(recipe.specimen, recipe.field_A, recipe.thickness_A or deepest, recipe.seed)
    grid, dz = grid_for(structure, recipe.pitch_A), even_slices(structure, recipe.slice_A)
    after = slices_at(dz, recipe.thicknesses_A).tolist()
    needed = 8 * grid.shape[0] * grid.shape[1] * (COPIES + 2 * len(after))
    if needed > memory_bytes:
        raise MemoryBudgetError("the waves of this field do not fit the memory", expected=f"at least {needed} bytes", got=memory_bytes,
                                remedy="pass a larger --memory, or a smaller field, or a larger pitch")
    beam = Beam.electron(recipe.energy_eV)
    if recipe.coherence == "full":
        for focus in recipe.foci_A:
            coherence_nodes(grid, beam, refocused(lens, focus), BAND)
    return Tem(recipe=recipe, beam=beam, structure=structure, grid=grid, dz_A=dz, after=tuple(after))


def images_of(x: Tem, progress: Callable[[int, int], None] = ignore) -> Iterator[TemImage]:
    """The images, thickness by thickness, focus by focus: means on the camera, or counts where the recipe has a dose.

    Image i of the series draws from its own generator. Configurations of frozen phonons are averaged before the dose is counted.
    """
    recipe, camera = x.recipe, camera_of(x.recipe)
    means = _mean_images(x, progress)
    faces = torch.cumsum(x.dz_A, 0)
    area = recipe.pixel_A**2
    for i, slice_number in enumerate(x.after):
        for j, focus in enumerate(recipe.foci_A):
            seen = on_camera(means[i, j], x.grid, camera)
            if recipe.dose_e_per_A2 is not None:
                drawn = generator_at(recipe.seed, i * len(recipe.foci_A) + j, COUNT_STREAM)
                seen = counted(torch.clamp(seen, min=0) * recipe.dose_e_per_A2 * area, camera, drawn)
            yield TemImage(thickness_A=float(faces[slice_number]), focus_A=focus, image=seen, transmitted=float(means[i, j].mean()))


def recipe_json(recipe: TemRecipe) -> str:
    """The recipe as JSON text, of kind tem."""
    plain = asdict(replace(recipe, aberrations=dict(recipe.aberrations)))  # type: ignore[call-overload, type-var]
    return json.dumps({"schema": 1, "kind": "tem", **plain})


def _mean_images(x: Tem, progress: Callable[[int, int], None]) -> Float[Tensor, "t f y x"]:
    """The incoherent mean over configurations, on the wave's grid."""
    recipe = x.recipe
    lenses = [refocused(lens_of(recipe), focus) for focus in recipe.foci_A]
    frozen = range(max(1, recipe.configurations))
    total = torch.zeros(len(x.after), len(lenses), *x.grid.shape)
    for c in frozen:
        atoms = displaced(x.structure, recipe.seed, c) if recipe.configurations else x.structure
        with torch.no_grad():
            waves = exit_waves(atoms, x.grid, x.beam, x.dz_A, x.after, tilt_mrad=recipe.tilt_mrad, band_limit=BAND)  # (t, y, x)
            for i, wave in enumerate(waves):
                for j, here in enumerate(lenses):
                    total[i, j] += _seen(wave, x, here, recipe.coherence) / len(frozen)
        progress(c + 1, len(frozen))
    return total


def _seen(wave: Complex[Tensor, "y x"], x: Tem, lens: Lens, coherence: Coherence) -> Float[Tensor, "y x"]:
    return lens_image(wave, x.grid, x.beam, lens, coherence=coherence, band_limit=BAND)


# What each field is, with its unit: the comments of templates.
MEANING: Mapping[str, str] = MappingProxyType({
    "specimen": "a built-in specimen (graphene, MoS2, Si, SrTiO3, Au-nanoparticle) or a structure file",
    "energy_eV": "beam energy, eV",
    "aberrations": "Krivanek names, A and degrees, at the exit surface; C10 < 0 is underfocus",
    "foci_A": "added to C10, one image each, A",
    "thicknesses_A": "depths at which images are made, from one propagation, A; empty: the whole specimen",
    "aperture_mrad": "objective aperture, semi-angle in mrad; null: none",
    "focal_spread_A": "rms spread of the focus, A",
    "divergence_mrad": "rms half-angle of the illumination along each axis, mrad",
    "coherence": "full: transmission cross coefficient by quadrature over focus and source; quasi: envelopes, right for weak objects",
    "tilt_mrad": "the beam's direction [y, x], mrad",
    "field_A": "extent of the specimen [y, x], A; crystals are repeated to at least this",
    "thickness_A": "thickness of a crystal or film, A; null: the specimen's own",
    "pixel_A": "camera pixel at the specimen, A",
    "mtf": "modulation transfer as [cycles a pixel, value] pairs; empty: an ideal pixel",
    "ntf": "noise transfer as [cycles a pixel, value] pairs; empty: white",
    "dqe0": "detective quantum efficiency at frequency 0",
    "counts_per_electron": "gain of the camera",
    "dose_e_per_A2": "electrons per square Angstrom; null: no noise, in units of the incident intensity",
    "pitch_A": "sampling of the wave, A; at most pixel_A / 1.5",
    "slice_A": "thickness of a slice, A",
    "configurations": "frozen phonon configurations; 0 smears atoms by their thermal motion",
    "seed": "seed of everything random",
})
