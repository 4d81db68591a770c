"""What the specimen is made of: atoms in an orthogonal box."""

from dataclasses import replace
from math import prod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.core.grid import Grid
from exitwave.core.records import record

FAST_FACTORS = (2, 3, 5)


@record
class Structure:
    """Atoms in an orthogonal box that repeats along x, y and z. The beam travels along +z, z = 0 is the entrance face.

    `positions_A` has the columns x, y, z (as in ASE; images are (y, x)); `cell_A` the side lengths along x, y, z; `occupancy` the fraction of
    the site that is filled; `u_iso_A2` the mean-square displacement along one axis, <u^2> = B / (8 pi^2).
    """

    numbers: Int[Tensor, " n"]
    positions_A: Float[Tensor, "n 3"]
    cell_A: tuple[float, float, float]
    occupancy: Float[Tensor, " n"]
    u_iso_A2: Float[Tensor, " n"]
    u_tensor_A2: Float[Tensor, "n 3 3"] | None = None

    def __post_init__(self) -> None:
        _check_lengths(self.numbers, self.positions_A, self.occupancy, self.u_iso_A2, *(() if self.u_tensor_A2 is None else (self.u_tensor_A2,)))
        if not all(0 < side < float("inf") for side in self.cell_A):
            raise InputError("the box of a structure needs positive, finite sides", got=self.cell_A,
                             remedy="give a molecule a box, e.g. atoms.center(vacuum=10) in ASE")


def structure(numbers: list[int] | Tensor, positions_A: list[list[float]] | Tensor, cell_A: tuple[float, float, float], *,
              u_iso_A2: float | list[float] | Tensor = 0.0, occupancy: float | list[float] | Tensor = 1.0) -> Structure:
    """A Structure in float64 from plain lists or tensors; `u_iso_A2` and `occupancy` may be one number for all atoms. Gradients pass through.

    Raises:
        InputError: numbers that are not finite, a negative `u_iso_A2`, an occupancy outside 0..1, columns of different length.
    """
    z = torch.as_tensor(numbers, dtype=torch.int64).reshape(-1)
    columns = {"positions_A": torch.as_tensor(positions_A, dtype=torch.float64).reshape(-1, 3)}
    for name, value in (("u_iso_A2", u_iso_A2), ("occupancy", occupancy)):
        column = torch.as_tensor(value, dtype=torch.float64)
        columns[name] = column.expand(z.shape[0]) if column.ndim == 0 else column
    for name, column in columns.items():
        if not bool(torch.isfinite(column).all()):
            raise InputError(f"{name} holds values that are not finite numbers", got=f"{int((~torch.isfinite(column)).sum())} of {column.numel()}")
    if bool((columns["u_iso_A2"] < 0).any()):
        raise InputError("a mean-square displacement is negative", got=float(columns["u_iso_A2"].min()))
    if bool((columns["occupancy"] < 0).any()) or bool((columns["occupancy"] > 1).any()):
        raise InputError("an occupancy lies outside 0..1", got=columns["occupancy"].tolist()[:8])
    _check_lengths(z, *columns.values())
    return Structure(numbers=z, cell_A=cell_A, **columns)


def tile(given: Structure, repeats: tuple[int, int, int]) -> Structure:
    """The box repeated (x, y, z) times along its axes.

    Raises:
        InputError: a repeat below one.
    """
    if min(repeats) < 1:
        raise InputError("a structure is repeated at least once along each axis", got=repeats)
    steps = torch.cartesian_prod(*(torch.arange(r, dtype=torch.float64, device=given.positions_A.device) for r in repeats)).reshape(-1, 3)
    shift = steps * torch.tensor(given.cell_A, dtype=torch.float64, device=steps.device)  # (cells, 3)
    positions = (given.positions_A[None] + shift[:, None].to(given.positions_A.dtype)).reshape(-1, 3)
    count = prod(repeats)
    x, y, z = (side * r for side, r in zip(given.cell_A, repeats, strict=True))
    tensor = None if given.u_tensor_A2 is None else given.u_tensor_A2.repeat(count, 1, 1)
    return Structure(numbers=given.numbers.repeat(count), positions_A=positions, cell_A=(x, y, z), occupancy=given.occupancy.repeat(count),
                     u_iso_A2=given.u_iso_A2.repeat(count), u_tensor_A2=tensor)


def taken(given: Structure, rows: Bool[Tensor, " n"] | Int[Tensor, " m"]) -> Structure:
    """Some of the atoms in the same box: a mask over all of them, or their numbers in the order wanted."""
    numbers, positions, occupancy, u2 = (c[rows.to(c.device)] for c in (given.numbers, given.positions_A, given.occupancy, given.u_iso_A2))
    tensor = None if given.u_tensor_A2 is None else given.u_tensor_A2[rows.to(given.u_tensor_A2.device)]
    return Structure(numbers=numbers, positions_A=positions, cell_A=given.cell_A, occupancy=occupancy, u_iso_A2=u2, u_tensor_A2=tensor)


def shifted(given: Structure, by_A: Float[Tensor, " 3"] | tuple[float, float, float]) -> Structure:
    """The atoms moved by (x, y, z) Angstrom, the box unchanged; nothing is wrapped."""
    return replace(given, positions_A=given.positions_A + torch.as_tensor(by_A, dtype=given.positions_A.dtype, device=given.positions_A.device))


def grid_for(given: Structure, pitch_A: float) -> Grid:
    """A periodic grid that spans the box exactly, with a pitch of at most `pitch_A` and sides whose factors are 2, 3 and 5 (fast transforms).

    Raises:
        InputError: a pitch that is not positive.
    """
    if not 0 < pitch_A < float("inf"):
        raise InputError("the pitch of a grid must be positive", got=pitch_A)
    x, y = given.cell_A[:2]
    ny, nx = fast_length(y / pitch_A), fast_length(x / pitch_A)
    return Grid(shape=(ny, nx), pitch_A=(y / ny, x / nx))


def even_slices(given: Structure, thickness_A: float) -> Float[Tensor, " z"]:
    """Equal slice thicknesses (z,) in Angstrom, float64, that fill the box along z, each at most `thickness_A`.

    Raises:
        InputError: a thickness that is not positive.
    """
    if not 0 < thickness_A < float("inf"):
        raise InputError("the thickness of a slice must be positive", got=thickness_A)
    depth = given.cell_A[2]
    count = max(1, -int(-(depth / thickness_A - 1e-9) // 1))
    return torch.full((count,), depth / count, dtype=torch.float64)


def _check_lengths(*columns: Tensor) -> None:
    lengths = [column.shape[0] for column in columns]
    if len(set(lengths)) > 1:
        raise InputError("the columns of a structure differ in length", expected=f"{lengths[0]} atoms everywhere", got=lengths)


def fast_length(at_least: float) -> int:
    """The smallest whole number from `at_least` on whose factors are 2, 3 and 5."""
    n = max(1, -int(-(at_least - 1e-9) // 1))
    while True:
        rest = n
        for factor in FAST_FACTORS:
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1
