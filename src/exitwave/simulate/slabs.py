"""Waves through a structure, one slice at a time: no stack of the whole specimen is ever held."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, record
from exitwave.core.errors import suggest
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.matter import Structure, load, projected_potential, prototype, slice_index, taken, tile
from exitwave.matter.prototypes import BUILDERS
from exitwave.matter.structure import fast_length
from exitwave.optics import fresnel
from exitwave.simulate.periods import alike, one_cell, repeats
from exitwave.wave import multislice
from exitwave.wave.through import onwards

POTENTIAL_BAND = 0.9  # of the field's Nyquist frequency, as `projected_potential` has it


def placed(specimen: str, field_A: tuple[float, float], thickness_A: float | None = None, seed: int = DEFAULT_SEED) -> Structure:
    """A built-in specimen, or the structure in a file, repeated to at least `field_A` (y, x) and `thickness_A`.

    Raises:
        InputError: a name that is neither; what `load` and `prototype` refuse.
    """
    if Path(specimen).suffix or os.sep in specimen:
        loaded = load(specimen)
        x, y, z = loaded.cell_A
        depth = ceil((thickness_A or z) / z - 1e-9)
        return tile(loaded, (max(1, ceil(field_A[1] / x - 1e-9)), max(1, ceil(field_A[0] / y - 1e-9)), max(1, depth)))
    if specimen not in BUILDERS:
        raise InputError(f"unknown specimen {specimen!r}", remedy=f"{suggest(specimen, BUILDERS)} (a structure file is named with its extension)")
    return prototype(specimen, field_A, thickness_A=thickness_A, seed=seed)


@record
class Layers:
    """The slices of a structure, made when they are asked for: what repeats is made once, on the grid of one cell where cells repeat.

    `cells` (y, x) of `unit` fill the field `grid`; slice z holds the same atoms as slice `first[z]`, the first of its kind.
    """

    grid: Grid
    unit: Grid
    cells: tuple[int, int]
    atoms: Structure
    index: Int[Tensor, " n"]
    first: tuple[int, ...]
    beam: Beam
    dz_A: Float[Tensor, " z"]
    band_limit: float
    table: str
    dtype: torch.dtype

    @property
    def distinct(self) -> tuple[int, ...]:
        """The slices that are the first of their kind."""
        return tuple(sorted(set(self.first)))


def layers(structure: Structure, grid: Grid, beam: Beam, dz_A: Float[Tensor, " z"], *, band_limit: float = 2 / 3, table: str = "lobato",
           dtype: torch.dtype = torch.complex64) -> Layers:
    """What has to be made of a structure for waves on `grid`: nothing is made yet.

    Where the box fills the grid and holds a smaller cell several times, every spectrum is zero between the cell's frequencies. Waves that repeat
    alike need the cell alone, on the smallest grid that keeps aliases of a product outside the band.
    """
    fills = all(abs(side - extent) < 1e-9 * extent for side, extent in zip(structure.cell_A[1::-1], grid.extent_A, strict=True))
    nx, ny = repeats(structure) if fills else (1, 1)
    atoms = one_cell(structure, (nx, ny))
    edge = band_limit * grid.nyquist_invA
    sides = [
        n if count == 1 else fast_length(3 * int(edge * length / count * (1 + 1e-9)) + 1)
        for n, count, length in zip(grid.shape, (ny, nx), grid.extent_A, strict=True)
    ]
    unit = Grid(shape=(sides[0], sides[1]), pitch_A=(grid.extent_A[0] / ny / sides[0], grid.extent_A[1] / nx / sides[1]))
    index = slice_index(atoms, dz_A)
    return Layers(grid=grid, unit=grid if (nx, ny) == (1, 1) else unit, cells=(ny, nx), atoms=atoms, index=index,
                  first=alike(atoms, index, len(dz_A)), beam=beam, dz_A=dz_A, band_limit=band_limit, table=table, dtype=dtype)


def layer(of: Layers, z: int) -> Complex[Tensor, "y x"]:
    """exp(i sigma V) of slice z on the unit grid, alias-free: taken on a grid twice as fine as the field's and cut at the band limit."""
    real = torch.float64 if of.dtype == torch.complex128 else torch.float32
    whole = torch.tensor([of.atoms.cell_A[2]], dtype=torch.float64)
    fine_sides = [2 * n if count == 1 else fast_length(2 * n / count) for n, count in zip(of.grid.shape, of.cells, strict=True)]
    fine = Grid(shape=(fine_sides[0], fine_sides[1]),
                pitch_A=(of.unit.extent_A[0] / fine_sides[0], of.unit.extent_A[1] / fine_sides[1]))
    reach = POTENTIAL_BAND * of.grid.nyquist_invA / fine.nyquist_invA
    volts = projected_potential(taken(of.atoms, of.index == z), fine, whole, table=of.table, dtype=real, band_limit=reach)[0]
    phase = volts.mul_(of.beam.sigma_rad_per_VA)
    rows, columns = (int(of.band_limit * of.grid.nyquist_invA / dk * (1 + 1e-9)) for dk in of.unit.dk_invA)
    lines = _ends(torch.fft.fft(torch.polar(torch.ones((), dtype=real).expand_as(phase), phase), dim=-1), columns, -1)
    spectrum = _ends(torch.fft.fft(lines, dim=-2), rows, -2)
    ky, kx = (torch.cat([torch.arange(n + 1), torch.arange(-n, 0)]) * dk for n, dk in zip((rows, columns), of.unit.dk_invA, strict=True))
    inside = ky[:, None] ** 2 + kx[None] ** 2 <= (of.band_limit * of.grid.nyquist_invA) ** 2
    scale = of.unit.shape[0] * of.unit.shape[1] / (fine.shape[0] * fine.shape[1])
    return torch.fft.ifft2(spread_out(spectrum * (inside * scale), of.unit.shape, (1, 1)))


def in_field(of: Layers, wave: Complex[Tensor, "*b y x"]) -> Complex[Tensor, "*b Y X"]:
    """A wave or transmission of the unit cell, inside the band, on the grid of the field."""
    if of.cells == (1, 1):
        return wave
    rows, columns = (int(of.band_limit * of.grid.nyquist_invA / dk * (1 + 1e-9)) for dk in of.unit.dk_invA)
    spectrum = _ends(_ends(torch.fft.fft2(wave, norm="forward"), columns, -1), rows, -2)
    return torch.fft.ifft2(spread_out(spectrum, of.grid.shape, of.cells), norm="forward")


def spread_out(spectrum: Complex[Tensor, "*b ky kx"], shape: tuple[int, int], every: tuple[int, int]) -> Complex[Tensor, "*b y x"]:
    """Frequencies -n..n (corner origin, 2 n + 1) of a cell on the grid of a field that holds `every` of them (y, x), zeros between."""
    made = spectrum.new_zeros(*spectrum.shape[:-2], *shape)
    ky, kx = (
        torch.cat([torch.arange(n // 2 + 1), torch.arange(-(n // 2), 0)]) * step % size
        for n, step, size in zip(spectrum.shape[-2:], every, shape, strict=True)
    )
    made[..., ky[:, None], kx[None]] = spectrum
    return made


def transmissions(structure: Structure, grid: Grid, beam: Beam, dz_A: Float[Tensor, " z"], *, band_limit: float = 2 / 3, table: str = "lobato",
                  dtype: torch.dtype = torch.complex64) -> Iterator[Complex[Tensor, "y x"]]:
    """exp(i sigma V) of each slice on `grid`, alias-free, made when it is asked for; slices that come again are kept meanwhile."""
    of = layers(structure, grid, beam, dz_A, band_limit=band_limit, table=table, dtype=dtype)
    yield from _in_turn(of, len(dz_A), lambda z: in_field(of, layer(of, z)))


def _in_turn(of: Layers, count: int, make: Callable[[int], Tensor]) -> Iterator[Tensor]:
    """The first `count` slices; each is forgotten when it is not needed again."""
    last = {kind: z for z, kind in enumerate(of.first[:count])}
    kept: dict[int, Tensor] = {}
    for z, kind in enumerate(of.first[:count]):
        made = kept[kind] if kind in kept else make(kind)
        if last[kind] > z:
            kept[kind] = made
        else:
            kept.pop(kind, None)
        yield made


def exit_waves(structure: Structure, grid: Grid, beam: Beam, dz_A: Float[Tensor, " z"], after: Sequence[int], *,
               tilt_mrad: tuple[float, float] = (0.0, 0.0), band_limit: float = 2 / 3, table: str = "lobato",
               dtype: torch.dtype = torch.complex64) -> Complex[Tensor, "n y x"]:
    """A plane wave of unit intensity behind the slices `after` (ascending): a thickness series from one propagation.

    Wave n stands at the face of slice `after[n]` from which it leaves, so that each equals the exit wave of a specimen that ends there. The
    waves are cut at `band_limit` of Nyquist. No gradients pass.

    Raises:
        InputError: slices that do not ascend or do not exist.
    """
    if not after or list(after) != sorted(set(after)) or after[0] < 0 or after[-1] >= len(dz_A):
        raise InputError("waves are kept behind slices that exist, in ascending order", expected=f"0 to {len(dz_A) - 1}", got=list(after))
    with torch.no_grad():
        of = layers(structure, grid, beam, dz_A, band_limit=band_limit, table=table, dtype=dtype)
        through = _in_turn(of, after[-1] + 1, lambda z: layer(of, z))
        return in_field(of, propagated(of, through, after, tilt_mrad))


def propagated(of: Layers, through: Iterable[Complex[Tensor, "y x"]], after: Sequence[int], tilt_mrad: tuple[float, float] = (0.0, 0.0)
               ) -> Complex[Tensor, "n y x"]:
    """A plane wave of unit intensity behind the slices `after`, on the unit grid; `through` are its transmissions, from the entrance on."""
    tilt, thicknesses = torch.tensor(tilt_mrad, dtype=torch.float64), of.dz_A.unique()
    # the band is the field's, whatever the grid of the cell
    fraction = of.band_limit * of.grid.nyquist_invA / of.unit.nyquist_invA
    kernels = fresnel(of.unit, of.beam, thicknesses, tilt, band_limit=fraction, dtype=of.dtype)
    follows = torch.searchsorted(thicknesses, of.dz_A).tolist()
    start = torch.ones(of.unit.shape, dtype=of.dtype)
    if of.dtype == torch.complex64:
        return torch.stack(onwards(start, through, kernels, follows, keep=set(after)))
    _, kept = multislice(start, through, [kernels[i] for i in follows], keep=set(after))
    return torch.stack(kept)


def slices_at(dz_A: Float[Tensor, " z"], thicknesses_A: Sequence[float]) -> Int[Tensor, " n"]:
    """The slices whose exit faces are nearest to these thicknesses, each once, ascending; the last slice where none is asked.

    Raises:
        InputError: a thickness that is not positive or lies beyond the specimen.
    """
    faces = torch.cumsum(dz_A.to(torch.float64), 0)
    asked = torch.tensor(list(thicknesses_A) or [float(faces[-1])], dtype=torch.float64)
    if bool((asked <= 0).any()) or bool((asked > faces[-1] + dz_A[-1] / 2).any()):
        raise InputError("a thickness lies outside the specimen", expected=f"above 0, at most {float(faces[-1]):.6g} A", got=asked.tolist(),
                         remedy="make the specimen thicker")
    return torch.unique((faces[None] - asked[:, None]).abs().argmin(1))


def _ends(spectrum: Tensor, reach: int, axis: int) -> Tensor:
    """The frequencies -reach..reach of a corner-origin spectrum along an axis."""
    return torch.cat([spectrum.narrow(axis, 0, reach + 1), spectrum.narrow(axis, spectrum.shape[axis] - reach, reach)], axis)
