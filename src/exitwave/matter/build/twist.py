"""Two sheets, one turned on the other, in a rectangular box in which both nearly repeat."""

from math import cos, degrees, radians, sin

import numpy as np
import torch
from jaxtyping import Float, Int

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.build.crystal import Crystal, primitive
from exitwave.matter.build.orient import Rectangle, rectangular
from exitwave.matter.structure import Structure

MOST_CANDIDATES = 4000
NEAR_STRAIN, NEAR_DEG, BETTER_AREA = 1e-4, 0.02, 8.0  # a box this true is taken although it is up to this much larger


@record
class Coincidence:
    """Where two sheets repeat together. `lower` and `upper` are the two vectors in the basis of each sheet (rows), `sides_A` the box, `strains` the
    largest stretch of the lower and of the upper sheet, `twist_deg` the turn of the upper against the lower sheet after that.
    """

    lower: Int[np.ndarray, "2 2"]
    upper: Int[np.ndarray, "2 2"]
    sides_A: tuple[float, float]
    strains: tuple[float, float]
    twist_deg: float


def coincidence(lower: Crystal, upper: Crystal, twist_deg: float, *, most_strain: float = 0.005, most_off_deg: float = 0.05,
                most_side_A: float = 250.0) -> Coincidence:
    """The smallest rectangular box in which `lower` and `upper`, turned by about `twist_deg` (from +x toward +y), both repeat.

    A vector of the lower sheet and its nearest of the upper make a pair where they differ by no more than the strain and the turn allow; the box is
    made of two pairs whose means are perpendicular. Each sheet takes half of the mismatch, at most `most_strain`. A box up to eight times larger wins
    where it strains by less than 1e-4 and turns by less than 0.02 degrees.

    Raises:
        InputError: no box up to `most_side_A`; a sheet whose cell does not lie across z.
    """
    below, above = (_plane(sheet) for sheet in (lower, upper))
    c, s = cos(radians(twist_deg)), sin(radians(twist_deg))
    turned = above @ np.array([[c, -s], [s, c]]).T
    off = radians(most_off_deg)
    for reach in [r for r in (25.0, 60.0, 120.0) if r < most_side_A] + [most_side_A]:
        found = _smallest(below, turned, reach, most_strain, off, twist_deg)
        if found is not None:
            further = min(most_side_A, BETTER_AREA**0.5 * max(found.sides_A))
            better = _smallest(below, turned, further, min(NEAR_STRAIN, most_strain), min(radians(NEAR_DEG), off), twist_deg)
            area = found.sides_A[0] * found.sides_A[1]
            return found if better is None or better.sides_A[0] * better.sides_A[1] > BETTER_AREA * area else better
    raise InputError("no rectangular box holds both sheets at this twist", expected=f"sides up to {most_side_A:g} A",
                     got=f"a twist of {twist_deg:g} +- {most_off_deg:g} degrees and a strain of at most {100 * most_strain:g} %",
                     remedy="allow more strain, a larger difference in twist or a longer side")


def bilayer(lower: Crystal, upper: Crystal, fit: Coincidence, *, spacing_A: float, vacuum_A: float = 10.0, shift_A: tuple[float, float] = (0.0, 0.0),
            ) -> Structure:
    """Two sheets in the box of `fit`: the lower one first in the beam, middle planes `spacing_A` apart, `vacuum_A` before and behind the nuclei.

    Turned about a lattice point of both; `shift_A` then moves the upper sheet along (x, y).
    """
    sheets = [_sheet(which, rows, fit.sides_A) for which, rows in ((lower, fit.lower), (upper, fit.upper))]
    depths = [_about_middle(sheet) for sheet in sheets]
    first = vacuum_A - float(depths[0].min())
    z = [depths[0] + first, depths[1] + first + spacing_A]
    height = float(max(part.max() for part in z)) + vacuum_A
    if float(z[1].min() - z[0].max()) < 0.5:
        raise InputError("the sheets lie in each other", got=f"spacing {spacing_A:g} A", remedy="take a larger spacing")
    moves = (torch.zeros(2, dtype=torch.float64), torch.tensor(shift_A, dtype=torch.float64))
    places = [torch.cat([sheet.positions_A[:, :2] + move, part[:, None]], 1) for sheet, move, part in zip(sheets, moves, z, strict=True)]
    cell = (*fit.sides_A, height)
    return joined([Structure(numbers=s.numbers, positions_A=p, cell_A=cell, occupancy=s.occupancy, u_iso_A2=s.u_iso_A2, u_tensor_A2=s.u_tensor_A2)
                   for s, p in zip(sheets, places, strict=True)])


def joined(parts: list[Structure]) -> Structure:
    """All atoms of several structures that have one box; tensors where any part has them."""
    tensors = None
    if any(p.u_tensor_A2 is not None for p in parts):
        eye = torch.eye(3, dtype=torch.float64)
        tensors = torch.cat([p.u_iso_A2[:, None, None] * eye if p.u_tensor_A2 is None else p.u_tensor_A2 for p in parts])
    return Structure(numbers=torch.cat([p.numbers for p in parts]), positions_A=torch.cat([p.positions_A for p in parts]), cell_A=parts[0].cell_A,
                     occupancy=torch.cat([p.occupancy for p in parts]), u_iso_A2=torch.cat([p.u_iso_A2 for p in parts]), u_tensor_A2=tensors)


def _upright(sheet: Crystal) -> Crystal:
    """The sheet in its smallest cell, whose last vector is the one along z."""
    small = primitive(sheet)
    lean = np.abs(small.vectors_A[:, 2]) / np.linalg.norm(small.vectors_A, axis=1)
    order = np.argsort(lean, kind="stable")
    flat = small.vectors_A[order]
    if np.abs(flat[:2, 2]).max() > 1e-4 or np.abs(flat[2, :2]).max() > 1e-4:
        raise InputError("a sheet has two lattice vectors across z and one along it", got=flat.round(3).tolist())
    sign = np.array([1.0, 1.0, 1.0 if flat[2, 2] > 0 else -1.0])  # up: the box's z is the sheet's
    if np.linalg.det(flat * sign[:, None]) < 0:
        order = order[[1, 0, 2]]
    return Crystal(numbers=small.numbers, fractional=small.fractional[:, order] * sign, vectors_A=small.vectors_A[order] * sign[:, None],
                   occupancy=small.occupancy, u_A2=small.u_A2)


def _plane(sheet: Crystal) -> Float[np.ndarray, "2 2"]:
    return _upright(sheet).vectors_A[:2, :2]


def _sheet(sheet: Crystal, rows: np.ndarray, sides_A: tuple[float, float]) -> Structure:
    small = _upright(sheet)
    whole = np.eye(3, dtype=np.int64)
    whole[:2, :2] = rows
    height = float(np.linalg.norm(small.vectors_A[2]))
    return rectangular(small, Rectangle(rows=whole, lattice_A=small.vectors_A, sides_A=(*sides_A, height), strain=0.0, off_deg=0.0))


def _about_middle(sheet: Structure) -> torch.Tensor:
    """z of the atoms about the middle of the sheet, whose atoms may lie on both sides of the cell's face."""
    z, height = sheet.positions_A[:, 2], sheet.cell_A[2]
    angle = 2 * torch.pi * z / height
    middle = torch.atan2(torch.sin(angle).mean(), torch.cos(angle).mean()) * height / (2 * torch.pi)
    away = torch.remainder(z - middle + height / 2, height) - height / 2
    return away - (away.max() + away.min()) / 2


def _smallest(below: np.ndarray, above: np.ndarray, reach: float, strain: float, off: float, twist_deg: float) -> Coincidence | None:
    bound = np.ceil(reach * np.linalg.norm(np.linalg.inv(below), axis=0)).astype(int)
    every = np.stack(np.meshgrid(*[np.arange(-b, b + 1) for b in bound], indexing="ij"), -1).reshape(-1, 2)
    v = every @ below
    size = np.linalg.norm(v, axis=1)
    nearest = np.round(v @ np.linalg.inv(above)).astype(np.int64)
    gap = np.linalg.norm(nearest @ above - v, axis=1)
    keep = (size > 1e-6) & (size <= reach) & (gap <= (2 * strain + off) * size + 1e-9)
    order = np.argsort(np.round(size[keep], 5), kind="stable")[:MOST_CANDIDATES]
    low, up, mean = every[keep][order], nearest[keep][order], ((v + nearest @ above) / 2)[keep][order]
    length = np.linalg.norm(mean, axis=1)
    unit = mean / length[:, None]
    first = np.flatnonzero((unit[:, 1] > -1e-9) & (unit[:, 0] > 1e-9))
    lean = np.abs(unit[first] @ unit.T)
    right = unit[first, 0][:, None] * unit[None, :, 1] - unit[first, 1][:, None] * unit[None, :, 0]
    i, j = np.nonzero((lean <= 2 * strain + 1e-9) & (right > 0.5))
    area = length[first[i]] * length[j]
    for p in np.argsort(np.round(area, 4), kind="stable"):
        a, b = first[i[p]], j[p]
        found = _fit(low[[a, b]], up[[a, b]], below, above, twist_deg)
        if max(found.strains) <= max(strain, 1e-9) and abs(found.twist_deg - twist_deg) <= degrees(off) + 1e-9:
            return found
    return None


def _fit(low: np.ndarray, up: np.ndarray, below: np.ndarray, above: np.ndarray, twist_deg: float) -> Coincidence:
    cells = [low @ below, up @ above]
    sides = np.linalg.norm((cells[0] + cells[1]) / 2, axis=1)
    parts = [np.linalg.svd(np.linalg.inv(cell) @ np.diag(sides)) for cell in cells]
    turns = [u @ v for u, _, v in parts]  # row vectors: r_box = r_sheet @ turn
    left = turns[0] @ turns[1].T  # what the strained sheets are turned against each other beyond twist_deg
    more = degrees(np.arctan2(left[1, 0] - left[0, 1], left[0, 0] + left[1, 1]))
    strains = tuple(float(np.abs(size - 1).max()) for _, size, _ in parts)
    return Coincidence(lower=low, upper=up, sides_A=(float(sides[0]), float(sides[1])), strains=(strains[0], strains[1]), twist_deg=twist_deg + more)
