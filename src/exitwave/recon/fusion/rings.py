"""Rings of scan frequencies, and the one signal-to-noise ratio that every channel is judged by."""

import torch
from torch import Tensor

from exitwave.core import record

LEAST_SAMPLES = 64


@record
class Rings:
    """Rings of at least 64 frequencies of the full plane. `index` (y, h) is the ring of each frequency of the half plane, -1 outside all;
    `samples` (y, h) how often it counts in the full plane (1 or 2); `q_invA` and `edges_invA` (n,), (n + 1,) centres and edges."""

    index: Tensor
    samples: Tensor
    q_invA: Tensor
    edges_invA: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """(n,) sums over the full plane of real values (y, h)."""
        inside = self.index >= 0
        total = torch.zeros(len(self.q_invA), dtype=torch.float64)
        return total.index_add_(0, self.index[inside], (values * self.samples)[inside].to(torch.float64))

    def mean(self, values: Tensor) -> Tensor:
        """(n,) means over the full plane."""
        return self.sum(values) / self.sum(torch.ones_like(values))

    def spread(self, values: Tensor) -> Tensor:
        """(y, h): the value of each frequency's ring; the innermost below all rings, the outermost beyond."""
        q_index = torch.where(self.index < 0, torch.full_like(self.index, len(values) - 1), self.index)
        return values[q_index]


def rings_of(qy: Tensor, qx: Tensor, columns: int, limit_invA: float, least: int = LEAST_SAMPLES, start_invA: float = 0.0) -> Rings:
    """Rings from just above `start_invA` (zero frequency itself left out) to `limit_invA`, one frequency step wide or as wide as `least` samples
    ask. `columns` is the width of the full plane."""
    q = torch.sqrt(qy**2 + qx**2)
    step = float(q[q > 0].min())
    samples = torch.full(q.shape, 2.0, dtype=torch.float64)
    samples[:, 0] = 1.0
    if columns % 2 == 0:
        samples[:, -1] = 1.0
    edges = [max(start_invA, 0.5 * step)]
    while edges[-1] + step <= limit_invA + 1e-12:
        upper = edges[-1] + step
        while upper < limit_invA and float(samples[(q >= edges[-1]) & (q < upper)].sum()) < least:
            upper += 0.25 * step
        edges.append(min(upper, limit_invA))
    bounds = torch.tensor(edges, dtype=torch.float64)
    index = torch.bucketize(q, bounds, right=True) - 1
    index = torch.where((index < 0) | (q >= bounds[-1]), torch.full_like(index, -1), index)
    return Rings(index=index, samples=samples, q_invA=0.5 * (bounds[1:] + bounds[:-1]), edges_invA=bounds)


def ssnr(rings: Rings, halves: Tensor, variance: Tensor) -> Tensor:
    """(n,) signal power over noise power: the ring's mean of Re(A B*) / variance for two independent halves (2, y, h), each on the whole's scale.

    `variance` (y, h) is that of the whole. Unbiased, so it may be negative; unchanged by any known transfer that both are divided by.
    """
    power = (halves[0] * halves[1].conj()).real
    return rings.mean(torch.where(variance > 0, power / torch.where(variance > 0, variance, torch.ones_like(variance)), torch.zeros_like(power)))
