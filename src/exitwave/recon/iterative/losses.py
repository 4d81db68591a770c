"""How far counts lie from their expectation: half deviances, so that each is a negative log-likelihood up to a constant."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from exitwave.core import InputError, record
from exitwave.recon.iterative import _kernels, passes

Kind = Literal["poisson", "anscombe", "amplitude"]
KINDS = ("poisson", "anscombe", "amplitude")
FLOOR = 1e-6
LEAST = 1e-30  # where no count was seen the logarithm is multiplied by zero


@record
class Loss:
    """What a pixel's counts n cost where `mean` counts are expected.

    poisson: mean - n + n log(n / mean), with `floor` counts added to the mean so that a wave that vanishes costs no infinity; the likelihood of
    counted electrons. anscombe: 2 (sqrt(mean + 3/8) - sqrt(n + 3/8))^2. amplitude: 2 (sqrt(mean) - sqrt(n))^2, which many programs use; it
    attenuates phases where pixels hold few counts (docs/physics/iterative.md has figures). `dispersion` is variance over mean of the counts (more
    than one where an electron makes several): it divides the loss, quasi-Poisson (Wedderburn, Biometrika 61 (1974) 439, doi 10.1093/biomet/61.3.439).

    Raises:
        InputError: an unknown kind, a dispersion or floor that is not positive.
    """

    kind: Kind = "poisson"
    dispersion: float = 1.0
    floor: float = FLOOR

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError("unknown loss", expected=", ".join(KINDS), got=self.kind)
        if not self.dispersion > 0 or not self.floor > 0:
            raise InputError("dispersion and floor are positive", got=f"{self.dispersion:g} and {self.floor:g}")


def weigh(loss: Loss, mean: Tensor, counts: np.ndarray, mask: Tensor, weights: Tensor) -> Tensor:
    """The loss of each pattern (b,) float64; `weights` (b, ky, kx) becomes its derivative with respect to `mean` (b, ky, kx)."""
    losses = (_fused if passes.fused(mean) else _any_device)(loss, mean, _plain(counts), mask, weights)
    if loss.dispersion != 1.0:
        weights /= loss.dispersion
        losses /= loss.dispersion
    return losses


def _plain(counts: np.ndarray) -> np.ndarray:
    """Counts of a type that compiled loops know: neither half nor more than double precision, bytes in the machine's order."""
    if counts.dtype.kind == "f" and counts.dtype.itemsize not in (4, 8):
        return counts.astype(np.float32 if counts.dtype.itemsize < 4 else np.float64)
    return counts if counts.dtype.isnative else counts.astype(counts.dtype.newbyteorder("="))


def _fused(loss: Loss, mean: Tensor, counts: np.ndarray, mask: Tensor, weights: Tensor) -> Tensor:
    losses = np.empty(len(mean))
    if loss.kind == "poisson":
        floor = mean.numpy().dtype.type(loss.floor)
        _kernels.ratios(mean.numpy(), counts, floor, weights.numpy())
        logs = torch.log(weights.clamp(min=LEAST))
        _kernels.poisson(mean.numpy(), counts, mask.to(mean.dtype).numpy(), floor, logs.numpy(), weights.numpy(), losses)
    else:
        _kernels.amplitude(mean.numpy(), counts, mask.numpy(), _shift(loss), weights.numpy(), losses)
    return torch.from_numpy(losses)


def _any_device(loss: Loss, mean: Tensor, counts: np.ndarray, mask: Tensor, weights: Tensor) -> Tensor:
    n, keep = torch.from_numpy(np.ascontiguousarray(counts)).to(mean.device, mean.dtype), mask.to(mean.device, mean.dtype)
    if loss.kind == "poisson":
        a = mean + loss.floor
        ratio = n / a
        each = a - n + n * torch.log(ratio.clamp(min=LEAST))
        torch.mul(keep, 1 - ratio, out=weights)
    else:
        root, seen = torch.sqrt(mean + _shift(loss)), torch.sqrt(n + _shift(loss))
        each = 2 * (root - seen) ** 2
        torch.mul(keep, 2 * (root - seen) / root.clamp(min=1e-12), out=weights)
    return (each * keep).sum((1, 2), dtype=torch.float64)


def _shift(loss: Loss) -> float:
    return 0.375 if loss.kind == "anscombe" else 0.0


def of_mean(loss: Loss, mean: Tensor, counts: Tensor, mask: Tensor) -> Tensor:
    """The same, summed over everything, as an expression that torch differentiates: for expectations that the adjoint does not cover."""
    n = counts.to(mean.dtype)
    if loss.kind == "poisson":
        a = mean + loss.floor
        each = a - n + torch.where(n > 0, n * torch.log(torch.clamp(n, min=1e-30) / a), torch.zeros_like(n))
    else:
        shift = _shift(loss)
        each = 2 * (torch.sqrt(mean + shift) - torch.sqrt(n + shift)) ** 2
    return (each * mask).sum() / loss.dispersion
