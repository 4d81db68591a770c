"""Fourier rings: correlation of two images, and the resolution that follows."""

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Grid, record
from exitwave.core.errors import InputError


@record
class RingCorrelation:
    """Fourier ring correlation `value` (n,) at ring centres `q_invA` (n,), with the count of independent Fourier pairs in each ring."""

    q_invA: Tensor
    value: Tensor
    pairs: Tensor

    def resolution_A(self, threshold: float = 1 / 7) -> float | None:
        """1 / q where the correlation first stays under `threshold` for two rings, linearly interpolated; None if it never falls.

        Rosenthal & Henderson, J. Mol. Biol. 333 (2003) 721, doi 10.1016/j.jmb.2003.07.013 (1/7 for half sets).
        """
        low = self.value < threshold
        for i in range(1, len(low)):
            if bool(low[i]) and (i + 1 == len(low) or bool(low[i + 1])):
                above, below = float(self.value[i - 1]), float(self.value[i])
                share = (above - threshold) / (above - below) if above > below else 1.0
                return 1 / float(self.q_invA[i - 1] + max(0.0, min(1.0, share)) * (self.q_invA[i] - self.q_invA[i - 1]))
        return None

    def last_A(self, threshold: float = 1 / 7) -> float | None:
        """1 / q of the last ring that correlates over `threshold` and over three standard errors of nothing, 3 / sqrt(pairs); None: no ring does.

        Beyond `resolution_A` where rings in between hold no signal: those of a crystal between its reflections, or those a method transfers badly.
        """
        sure = (self.value > threshold) & (self.value > 3 / torch.sqrt(torch.clamp(self.pairs, min=1.0)))
        return 1 / float(self.q_invA[sure][-1]) if bool(sure.any()) else None

    def mean(self, to_invA: float) -> float:
        """Mean correlation over the rings below a frequency, each ring that holds anything counted once."""
        return float(self.value[(self.q_invA <= to_invA) & (self.pairs > 0)].mean())


def frc(
    a: Float[Tensor, "y x"], b: Float[Tensor, "_ _"], pitch_A: tuple[float, float], *, rings: int | None = None, window: bool = True
) -> RingCorrelation:
    """Re sum A B* / sqrt(sum |A|^2 sum |B|^2) in rings one frequency step wide, zero frequency left out.

    `window` tapers the edges of a field that is not periodic (Hann over the outer eighth). Saxton & Baumeister, J. Microsc. 127 (1982) 127,
    doi 10.1111/j.1365-2818.1982.tb00405.x.

    Raises:
        InputError: images of different shapes.
    """
    if a.shape != b.shape:
        raise InputError("images to correlate need the same shape", expected=tuple(a.shape), got=tuple(b.shape))
    grid = Grid(shape=(a.shape[0], a.shape[1]), pitch_A=pitch_A)
    taper = edge_taper(grid.shape) if window else torch.ones(grid.shape, dtype=torch.float64)
    fa, fb = (torch.fft.fft2((x.to(torch.float64) - x.to(torch.float64).mean()) * taper) for x in (a, b))
    numbers = ring_numbers(grid, rings)
    cross = numbers.summed((fa * fb.conj()).real)
    power = torch.sqrt(numbers.summed(fa.abs() ** 2) * numbers.summed(fb.abs() ** 2))
    value = torch.where(power > 0, cross / torch.clamp(power, min=1e-300), torch.zeros_like(cross))
    return RingCorrelation(q_invA=numbers.q_invA, value=value, pairs=numbers.summed(torch.ones(grid.shape, dtype=torch.float64)) / 2)


@record
class RingNumbers:
    """The ring of every coefficient of a full plane, flat; `count` where it lies in none (zero frequency, beyond Nyquist)."""

    ring: Tensor
    count: int
    width_invA: float

    @property
    def q_invA(self) -> Tensor:
        """Ring centres (count,)."""
        return (torch.arange(self.count, dtype=torch.float64) + 0.5) * self.width_invA

    def summed(self, values: Tensor) -> Tensor:
        """Sums (count,) of a full plane over each ring, float64."""
        return torch.zeros(self.count + 1, dtype=torch.float64).index_add_(0, self.ring, values.reshape(-1))[: self.count]


def ring_numbers(grid: Grid, rings: int | None = None) -> RingNumbers:
    """Rings one frequency step wide (or `rings` of them) up to the smaller Nyquist frequency."""
    q = torch.sqrt(grid.k2_invA2())
    count = rings or max(1, int(grid.nyquist_invA / max(grid.dk_invA)))  # an image of one row has one
    width = grid.nyquist_invA / count
    ring = torch.where(q < grid.nyquist_invA, (q / width).to(torch.int64), torch.full_like(q, count, dtype=torch.int64)).reshape(-1)
    ring[0] = count
    return RingNumbers(ring=ring, count=count, width_invA=width)


def edge_taper(shape: tuple[int, int], share: float = 0.125) -> Float[Tensor, "y x"]:
    """1 inside, a Hann slope to 0 over `share` of each side, float64."""
    sides = []
    for n in shape:
        x = torch.arange(n, dtype=torch.float64) + 0.5
        rise = torch.clamp(torch.minimum(x, n - x) / max(1.0, share * n), max=1.0)
        sides.append(torch.sin(0.5 * torch.pi * rise) ** 2)
    return sides[0][:, None] * sides[1][None, :]
