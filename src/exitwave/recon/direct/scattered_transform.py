"""Sums of exponentials over scattered positions (type-1 NUFFT), and the area that each position stands for."""

from collections.abc import Callable, Iterator
from math import ceil, pi
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from exitwave.core import Grid
from exitwave.core.errors import InputError
from exitwave.recon.direct.scattered_field import Field, spacing_A

BATCH_BYTES = 4 * 2**20  # the fine grids of one batch stay in cache


def planner() -> Callable[..., Any]:
    """finufft's plans.

    Raises:
        InputError: it is not installed.
    """
    try:
        from finufft import Plan
    except ImportError as error:
        raise InputError("scattered positions need finufft, which is not installed", remedy="pip install 'exitwave[nufft]'") from error
    return Plan  # type: ignore[no-any-return]


class Scattered:
    """sum_j c_j exp(-2 pi i q.R_j) for real c at fixed positions, on the half plane of the field's frequencies that rfft2 keeps.

    finufft: Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 41 (2019) C479, doi 10.1137/18M120885X. Two real vectors share one complex
    transform. `eps` is the relative error.

    Raises:
        InputError: finufft is not installed.
    """

    def __init__(self, positions_A: Float[Tensor, "n 2"], field: Field, eps: float = 1e-7) -> None:
        self.shape = field.grid.shape
        self.modes = tuple(2 * (n // 2) + 1 for n in self.shape)  # odd, so that every frequency has its mirror
        self.batch = max(1, BATCH_BYTES // (64 * self.modes[0] * self.modes[1]))
        origin = torch.tensor(field.origin_A, dtype=torch.float64)
        extent = torch.tensor(field.grid.extent_A, dtype=torch.float64)
        angle = torch.remainder((positions_A.to(torch.float64) - origin) / extent, 1.0) * (2 * pi)  # (n, 2)
        self.plan = planner()(1, self.modes, self.batch, eps, -1, "complex128", modeord=1, nthreads=torch.get_num_threads(), showwarn=0)
        self.angle = [np.ascontiguousarray(column) for column in angle.numpy().T]
        self.plan.setpts(*self.angle)

    def __call__(self, vectors: np.ndarray) -> Complex[Tensor, "m y h"]:
        """Half planes of real vectors (m, n)."""
        return torch.cat(list(self._batches(vectors)))

    def _batches(self, vectors: np.ndarray) -> Iterator[Tensor]:
        for at in range(0, len(vectors), 2 * self.batch):
            part = vectors[at : at + 2 * self.batch]
            packed = np.zeros((self.batch, part.shape[1]), np.complex128)
            packed.real[: (len(part) + 1) // 2] = part[::2]
            packed.imag[: len(part) // 2] = part[1::2]
            made = torch.from_numpy(self.plan.execute(packed).reshape(self.batch, *self.modes))
            yield self._unpacked(made)[: len(part)]

    def _unpacked(self, made: Tensor) -> Tensor:
        """(2 b, y, h) from b transforms of pairs."""
        (ny, nx), (my, mx) = self.shape, self.modes
        rows = torch.cat([torch.arange((ny + 1) // 2), torch.arange(my - ny // 2, my)])
        columns = torch.arange(nx // 2 + 1)
        direct = made[:, rows][:, :, columns]
        mirror = made[:, (-rows) % my][:, :, (-columns) % mx].conj()
        return torch.stack([(direct + mirror) / 2, (direct - mirror) / 2j], 1).reshape(-1, ny, len(columns))


def density(positions_A: Float[Tensor, "n 2"], extent_A: tuple[float, float], rounds: int = 16) -> Float[Tensor, "n"]:
    """The area in A^2 that each position stands for, so that sum_j v_j f(R_j) is the integral of f over the scanned region.

    v <- v / (C v) with a positive kernel C, the squared transform of a disk that just tells positions at their mean distance apart: Pipe & Menon,
    Magn. Reson. Med. 41 (1999) 179, doi 10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V. A raster gets equal areas exactly.
    """
    plan_of = planner()
    cut = 0.5 / spacing_A(positions_A)  # finer gaps hold more modes than positions could even out
    shape = tuple(2 * ceil(side * cut) + 1 for side in extent_A)
    grid = Grid(shape=(shape[0], shape[1]), pitch_A=(extent_A[0] / shape[0], extent_A[1] / shape[1]))
    qy, qx = grid.k_invA()
    share = torch.clamp(torch.sqrt(qy**2 + qx**2) / cut, max=1.0)
    kernel = ((2 / pi) * (torch.acos(share) - share * torch.sqrt(1 - share**2))).numpy()  # two disks of diameter `cut`, their distance over `cut`
    low = positions_A.amin(0)
    angle = ((positions_A - low) / torch.tensor(extent_A, dtype=torch.float64) * (2 * pi)).numpy()
    threads = torch.get_num_threads()
    there = plan_of(1, grid.shape, 1, 1e-9, -1, "complex128", modeord=1, nthreads=threads, showwarn=0)
    back = plan_of(2, grid.shape, 1, 1e-9, 1, "complex128", modeord=1, nthreads=threads, showwarn=0)
    for plan in (there, back):
        plan.setpts(*(np.ascontiguousarray(column) for column in angle.T))
    v = np.full(len(positions_A), 0.25 / cut**2)
    for _ in range(rounds):
        seen = back.execute(kernel * there.execute(v.astype(np.complex128))).real / (extent_A[0] * extent_A[1])
        v = v / np.maximum(seen, 1e-6)
    return torch.from_numpy(v)


def local_area(positions_A: Float[Tensor, "n 2"], extent_A: tuple[float, float]) -> float:
    """The area in A^2 that a position typically stands for: the median, so that edges, which reach outward, do not count."""
    return float(density(positions_A, extent_A).median())
