"""A periodic raster of the plane and its reciprocal."""

from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.core.records import record


@record
class Grid:
    """A periodic (y, x) raster with its origin at index [0, 0] in both spaces. `pitch_A` is (y, x) in Angstrom."""

    shape: tuple[int, int]
    pitch_A: tuple[float, float]

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not all(0 < pitch < inf for pitch in self.pitch_A):
            raise InputError("a grid needs a positive shape and pitch", got=f"shape {self.shape}, pitch {self.pitch_A} A")

    @property
    def extent_A(self) -> tuple[float, float]:
        """Side lengths (y, x) in Angstrom."""
        return self.shape[0] * self.pitch_A[0], self.shape[1] * self.pitch_A[1]

    @property
    def dk_invA(self) -> tuple[float, float]:
        """Reciprocal pitch (y, x) in 1/Angstrom."""
        return 1 / self.extent_A[0], 1 / self.extent_A[1]

    @property
    def nyquist_invA(self) -> float:
        """The smaller of the two Nyquist frequencies, 1/Angstrom."""
        return 0.5 / max(self.pitch_A)

    def k_invA(self, device: torch.device | str | None = None) -> tuple[Float[Tensor, "y 1"], Float[Tensor, "1 x"]]:
        """Frequencies ky (y, 1) and kx (1, x) in 1/Angstrom, float64, zero at index 0, numpy order."""
        ky = torch.fft.fftfreq(self.shape[0], self.pitch_A[0], dtype=torch.float64, device=device)
        kx = torch.fft.fftfreq(self.shape[1], self.pitch_A[1], dtype=torch.float64, device=device)
        return ky[:, None], kx[None, :]

    def k2_invA2(self, device: torch.device | str | None = None) -> Float[Tensor, "y x"]:
        """Squared frequency |k|^2 (y, x) in 1/Angstrom^2, float64."""
        ky, kx = self.k_invA(device)
        return ky**2 + kx**2

    def r_A(self, device: torch.device | str | None = None) -> tuple[Float[Tensor, "y 1"], Float[Tensor, "1 x"]]:
        """Positions y (y, 1) and x (1, x) in Angstrom, float64, zero at index 0."""
        y = torch.arange(self.shape[0], dtype=torch.float64, device=device) * self.pitch_A[0]
        x = torch.arange(self.shape[1], dtype=torch.float64, device=device) * self.pitch_A[1]
        return y[:, None], x[None, :]
