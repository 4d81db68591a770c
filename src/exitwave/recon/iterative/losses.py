"""How far counts lie from their expectation: half deviances, so that each is a negative log-likelihood up to a constant."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from exitwave.core import InputError, record

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
    n, keep = torch.from_numpy(plain(counts)).to(mean.device, mean.dtype), mask.to(mean.device, mean.dtype)
    if loss.kind == "poisson":
        a = mean + loss.floor
        ratio = n / a
        each = a - n + n * torch.log(ratio.clamp(min=LEAST))
        torch.mul(keep, 1 - ratio, out=weights)
    else:
        root, seen = torch.sqrt(mean + shift_of(loss)), torch.sqrt(n + shift_of(loss))
        each = 2 * (root - seen) ** 2
        torch.mul(keep, 2 * (root - seen) / root.clamp(min=1e-12), out=weights)
    weights /= loss.dispersion
    return (each * keep).sum((1, 2), dtype=torch.float64) / loss.dispersion


def plain(counts: np.ndarray) -> np.ndarray:
    """Counts, contiguous, of a type that torch and compiled loops know: at most double precision, bytes in the machine's order."""
    if counts.dtype.kind == "f" and counts.dtype.itemsize > 8:
        return counts.astype(np.float64)
    return np.ascontiguousarray(counts, counts.dtype.newbyteorder("="))


def shift_of(loss: Loss) -> float:
    """What is added to counts before their square root is taken."""
    return 0.375 if loss.kind == "anscombe" else 0.0


def of_mean(loss: Loss, mean: Tensor, counts: Tensor, mask: Tensor) -> Tensor:
    """The same, summed over everything, as an expression that torch differentiates: for expectations that the adjoint does not cover."""
    n = counts.to(mean.dtype)
    if loss.kind == "poisson":
        a = mean + loss.floor
        each = a - n + torch.where(n > 0, n * torch.log(torch.clamp(n, min=1e-30) / a), torch.zeros_like(n))
    else:
        shift = shift_of(loss)
        each = 2 * (torch.sqrt(mean + shift) - torch.sqrt(n + shift)) ** 2
    return (each * mask).sum() / loss.dispersion
