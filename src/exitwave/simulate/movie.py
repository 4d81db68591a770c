"""Movies with known truth: a particle on its support in a high-resolution TEM, drifting, turning, changing, or hit by an event of one frame."""

import json
from dataclasses import asdict
from math import cos, pi, sin
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, aberrations, record
from exitwave.core.fft import cis
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.matter import Structure, even_slices, structure
from exitwave.matter.prototypes import amorphous
from exitwave.simulate.camera import Camera, on_camera
from exitwave.simulate.hrtem import lens_image
from exitwave.simulate.slabs import exit_waves
from exitwave.wave import Lens

Specimen = Literal["Pt-CeO2", "Au-carbon"]
Motion = Literal["drift", "random-walk", "rotating", "transforming", "event"]
A_PT, A_CEO2, A_AU = 3.9242, 5.411, 4.0782
U_A2 = {78: 0.005, 79: 0.008, 58: 0.005, 8: 0.008, 6: 0.01}
FCC = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5))  # of the cell a / sqrt 2, a, a / sqrt 2 along [1-10], [001], [110]
OXYGEN = ((0.5, 0.25, 0.0), (0.5, 0.75, 0.0), (0.0, 0.25, 0.5), (0.0, 0.75, 0.5))
BAND = 2 / 3
MOST_E = 1e8  # counts fit 32 bits
WALK_STREAM, FILM_STREAM, COUNT_STREAM = 21, 22, 23


@record
class MovieRecipe:
    """Everything a simulated movie depends on.

    "Pt-CeO2": a platinum particle on a ceria slab, both seen along [110]. "Au-carbon": a gold particle on amorphous carbon. `motion`: "drift" of
    `drift_px` (y, x) a frame; "random-walk" with that rms step along each axis; "rotating" by `turn_deg` a frame about the beam; "transforming":
    the particle's lattice shears by up to `shear` from the first frame to the last; "event": drift, and in the middle frame alone an atom column
    more on the particle. Rotating, transforming and event movies drift too. `dose_e` is electrons a pixel and frame; `defocus_A` > 0 is underfocus.
    """

    specimen: Specimen = "Pt-CeO2"
    motion: Motion = "drift"
    frames: int = 12
    shape: tuple[int, int] = (256, 256)
    pixel_A: float = 0.15
    radius_A: float = 11.0
    thickness_A: float = 22.0
    energy_eV: float = 300e3
    defocus_A: float = 60.0
    focal_spread_A: float = 10.0
    dose_e: float = 0.43
    drift_px: tuple[float, float] = (1.0, 0.6)
    turn_deg: float = 1.0
    shear: float = 0.1
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.frames < 2 or min(self.shape) < 16:
            raise InputError("a movie has at least two frames of 16 x 16 pixels", got=f"{self.frames} of {self.shape}")
        if not 0 < self.dose_e <= MOST_E or not 0 < self.pixel_A < float("inf"):
            raise InputError("dose and pixel are positive", expected=f"at most {MOST_E:g} electrons", got=f"{self.dose_e} e, {self.pixel_A} A")
        if not all(abs(step) <= min(self.shape) for step in self.drift_px):
            raise InputError("drift is at most a frame's width in a frame", got=self.drift_px)
        if 2.4 * self.radius_A > self.pixel_A * min(self.shape):
            raise InputError("the particle does not fit the frame", expected=f"a radius of at most {self.pixel_A * min(self.shape) / 2.4:.3g} A",
                             got=self.radius_A)


@record
class Movie:
    """Mean counts (n, y, x) and counts drawn from them; `place_px` (n, 2) where each frame lies (y, x); `event_px`: (frame, y, x) of the event."""

    mean: np.ndarray
    counts: np.ndarray
    place_px: np.ndarray
    event_px: tuple[int, int, int] | None
    recipe: MovieRecipe


def simulate_movie(recipe: MovieRecipe) -> Movie:
    """The movie of a recipe: multislice of the particle as it is in each frame, a lens with finite coherence, a counting camera.

    The field is periodic and moved by Fourier's shift theorem, so drift is exact to rounding; frames are cut from it. Counts of frame i come from its
    own generator.

    Raises:
        InputError: as the recipe.
    """
    place = _places(recipe)
    side = tuple(n + 2 * int(np.ceil(np.abs(place).max())) + 8 for n in recipe.shape)
    pixel, even = recipe.pixel_A, [n + n % 2 for n in side]
    finer = 1 if pixel <= 0.2 else 2
    grid = Grid(shape=(finer * even[0], finer * even[1]), pitch_A=(pixel / finer, pixel / finer))
    events = [recipe.motion == "event" and i == recipe.frames // 2 for i in range(recipe.frames)]
    state = [(_turn(recipe, i), _shear(recipe, i), events[i]) for i in range(recipe.frames)]
    images: dict[tuple[float, float, bool], Tensor] = {}
    for one in dict.fromkeys(state):
        images[one] = on_camera(_image(recipe, grid, *one), grid, Camera(pixel_A=pixel), (even[0], even[1]))
    ky, kx = torch.fft.fftfreq(even[0], dtype=torch.float64)[:, None], torch.fft.fftfreq(even[1], dtype=torch.float64)[None]
    edge = [(n - m) // 2 for n, m in zip(even, recipe.shape, strict=True)]
    mean = np.empty((recipe.frames, *recipe.shape))
    for i, one in enumerate(state):
        ramp = cis(-2 * pi * (ky * float(place[i, 0]) + kx * float(place[i, 1])), torch.complex128)
        moved = torch.fft.ifft2(torch.fft.fft2(images[one].to(torch.float64)) * ramp).real
        cut = moved[edge[0] : edge[0] + recipe.shape[0], edge[1] : edge[1] + recipe.shape[1]]
        mean[i] = np.clip(cut.numpy(), 0, None) * recipe.dose_e
    counts = np.stack([generator_at(recipe.seed, i, COUNT_STREAM).poisson(frame) for i, frame in enumerate(mean)])
    counts = counts.astype(np.uint16 if counts.max() <= 0xFFFF else np.uint32)
    return Movie(mean=mean, counts=counts, place_px=place, event_px=_event(recipe, grid, place, edge), recipe=recipe)


def movie_json(recipe: MovieRecipe) -> str:
    """The recipe as JSON text."""
    return json.dumps({"schema": 1, "kind": "movie", **asdict(recipe)})  # type: ignore[call-overload]


def _places(recipe: MovieRecipe) -> Float[np.ndarray, "n 2"]:
    steps = np.tile(np.array(recipe.drift_px), (recipe.frames - 1, 1))
    if recipe.motion == "random-walk":
        steps = steps * generator_at(recipe.seed, 0, WALK_STREAM).standard_normal(steps.shape)
    place = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    return np.asarray(place - (place.min(0) + place.max(0)) / 2)


def _turn(recipe: MovieRecipe, frame: int) -> float:
    return recipe.turn_deg * frame if recipe.motion == "rotating" else 0.0


def _shear(recipe: MovieRecipe, frame: int) -> float:
    return recipe.shear * frame / (recipe.frames - 1) if recipe.motion == "transforming" else 0.0


def _image(recipe: MovieRecipe, grid: Grid, turn_deg: float, shear: float, event: bool) -> Float[Tensor, "y x"]:
    beam = Beam.electron(recipe.energy_eV)
    atoms = atoms_of(recipe, grid, turn_deg, shear, event)
    dz = even_slices(atoms, 2.5)
    with torch.no_grad():
        wave = exit_waves(atoms, grid, beam, dz, (len(dz) - 1,), band_limit=BAND)[0]
        lens = Lens(aberrations=aberrations({"C10_A": -recipe.defocus_A}), aperture_mrad=None, focal_spread_A=recipe.focal_spread_A)
        return lens_image(wave, grid, beam, lens, coherence="quasi")


def atoms_of(recipe: MovieRecipe, grid: Grid, turn_deg: float = 0.0, shear: float = 0.0, event: bool = False) -> Structure:
    """Particle and support (x, y, z) in the field of `grid`, the beam along +z."""
    height, width = grid.extent_A
    kind, a = (78, A_PT) if recipe.specimen == "Pt-CeO2" else (79, A_AU)
    particle, surface = _particle(recipe, a, event), 0.0
    angle = pi * turn_deg / 180
    x, y = particle[:, 0] + shear * particle[:, 1], particle[:, 1]
    turned = np.stack([cos(angle) * x - sin(angle) * y, sin(angle) * x + cos(angle) * y, particle[:, 2]], 1)
    if recipe.specimen == "Pt-CeO2":
        surface = height * 0.66
        numbers, support = _ceria(width, height, surface, recipe.thickness_A)
        centre = np.array([width / 2, surface - 0.75 * recipe.radius_A, recipe.thickness_A / 2])
        turned = turned[turned[:, 1] + centre[1] < surface - 1.2]
        depth = recipe.thickness_A
    else:
        film = amorphous((width, height, 20.0), generator_at(recipe.seed, 0, FILM_STREAM))
        depth = 2 * recipe.radius_A + 24.0
        numbers, support = [6] * len(film), film + np.array([0, 0, 2 * recipe.radius_A + 2.0])
        centre = np.array([width / 2, height / 2, recipe.radius_A + 1.0])
    whole = np.concatenate([turned + centre, support]) % np.array([width, height, 1e9])
    whole[:, 2] = np.clip(whole[:, 2], 0.0, depth)
    z = [kind] * len(turned) + numbers
    return structure(z, whole.tolist(), (width, height, depth + 1.0), u_iso_A2=[U_A2[n] for n in z])


def _particle(recipe: MovieRecipe, a: float, event: bool) -> np.ndarray:
    """Atoms (n, 3) of a sphere of fcc along [110] about the origin; with the event one column more outside of it, at the top."""
    cell = np.array([a / 2**0.5, a, a / 2**0.5])
    n = np.arange(-int(recipe.radius_A / cell.min()) - 2, int(recipe.radius_A / cell.min()) + 3)
    cells = np.stack(np.meshgrid(n, n, n, indexing="ij"), -1).reshape(-1, 1, 3)
    sites = ((cells + np.array(FCC)) * cell).reshape(-1, 3)
    inside = (sites**2).sum(1) < recipe.radius_A**2
    if not event:
        return np.asarray(sites[inside])
    column = np.abs(sites[:, :2] - _event_column(recipe, cell)).max(1) < 0.1
    return np.asarray(sites[inside | (column & (np.abs(sites[:, 2]) < recipe.radius_A / 2))])


def _event_column(recipe: MovieRecipe, cell: np.ndarray) -> np.ndarray:
    """The first column (x, y) above the particle on its axis."""
    return np.array([0.0, -cell[1] * (int(recipe.radius_A / cell[1]) + 1)])


def _event(recipe: MovieRecipe, grid: Grid, place: np.ndarray, edge: list[int]) -> tuple[int, int, int] | None:
    if recipe.motion != "event":
        return None
    a, frame = (A_PT if recipe.specimen == "Pt-CeO2" else A_AU), recipe.frames // 2
    height, width = grid.extent_A
    up = _event_column(recipe, np.array([a / 2**0.5, a, a / 2**0.5]))
    middle = height * 0.66 - 0.75 * recipe.radius_A if recipe.specimen == "Pt-CeO2" else height / 2
    y, x = (middle + up[1]) / recipe.pixel_A + place[frame, 0] - edge[0], (width / 2 + up[0]) / recipe.pixel_A + place[frame, 1] - edge[1]
    if not (0 <= y < recipe.shape[0] and 0 <= x < recipe.shape[1]):
        raise InputError("the event lies outside of the frame", expected="room above the particle", got=f"y {y:.0f}, x {x:.0f}",
                         remedy="take larger frames or a smaller particle")
    return frame, round(float(y)), round(float(x))


def _ceria(width: float, height: float, surface: float, thickness: float) -> tuple[list[int], np.ndarray]:
    """Numbers and sites (n, 3) of a slab from `surface` down to the field's edge, strained to the field's width."""
    across = max(1, round(width / (A_CEO2 / 2**0.5)))
    cell = np.array([width / across, A_CEO2, A_CEO2 / 2**0.5])
    counts = (across, int((height - surface) / cell[1]), max(1, int(thickness / cell[2])))
    cells = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), -1).reshape(-1, 1, 3)
    sites = ((cells + np.array(FCC + OXYGEN)) * cell + np.array([0.0, surface, 0.0])).reshape(-1, 3)
    return [58, 58, 8, 8, 8, 8] * len(cells), np.asarray(sites)
