"""Waves through a structure, one slice at a time: no stack of the whole specimen is ever held."""

import os
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from exitwave.core import Beam, Grid, InputError
from exitwave.core.errors import suggest
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.matter import Structure, load, projected_potential, prototype, slice_index, taken, tile
from exitwave.matter.prototypes import BUILDERS
from exitwave.optics import fresnel
from exitwave.wave import Specimen, multislice, transmission


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


def transmissions(structure: Structure, grid: Grid, beam: Beam, dz_A: Float[Tensor, " z"], *, band_limit: float = 2 / 3, table: str = "lobato",
                  dtype: torch.dtype = torch.complex64) -> Iterator[Complex[Tensor, "y x"]]:
    """exp(i sigma V) of each slice, alias-free (taken on a twice finer grid and cut at `band_limit` of Nyquist), made when it is asked for."""
    index = slice_index(structure, dz_A)
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    whole = torch.tensor([structure.cell_A[2]], dtype=torch.float64)
    for s in range(len(dz_A)):
        volts = projected_potential(taken(structure, index == s), grid, whole, table=table, dtype=real)
        slab = Specimen(grid=grid, dz_A=dz_A[s : s + 1], phase_rad=volts * beam.sigma_rad_per_VA, at_beam=beam, oversample=2)
        yield transmission(slab, beam, dtype, band_limit=band_limit)[0]


def exit_waves(structure: Structure, grid: Grid, beam: Beam, dz_A: Float[Tensor, " z"], after: Sequence[int], *,
               tilt_mrad: tuple[float, float] = (0.0, 0.0), band_limit: float = 2 / 3, table: str = "lobato",
               dtype: torch.dtype = torch.complex64) -> Complex[Tensor, "n y x"]:
    """A plane wave of unit intensity behind the slices `after` (ascending): a thickness series from one propagation.

    Wave n stands at the face of slice `after[n]` from which it leaves, so that each equals the exit wave of a specimen that ends there. The
    waves are cut at `band_limit` of Nyquist.

    Raises:
        InputError: slices that do not ascend or do not exist.
    """
    if not after or list(after) != sorted(set(after)) or after[0] < 0 or after[-1] >= len(dz_A):
        raise InputError("waves are kept behind slices that exist, in ascending order", expected=f"0 to {len(dz_A) - 1}", got=list(after))
    tilt = torch.tensor(tilt_mrad, dtype=torch.float64)
    same = {float(d): fresnel(grid, beam, float(d), tilt, band_limit=band_limit, dtype=dtype) for d in dz_A.unique()}
    kernels = [same[float(d)] for d in dz_A]
    through = transmissions(structure, grid, beam, dz_A, band_limit=band_limit, table=table, dtype=dtype)
    chosen = (t for t, _ in zip(through, range(after[-1] + 1), strict=False))
    _, kept = multislice(torch.ones(grid.shape, dtype=dtype), chosen, kernels, keep=set(after))
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
