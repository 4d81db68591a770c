"""How far counts lie from their expectation: half deviances, so that each is a negative log-likelihood up to a constant."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from exitwave.core import InputError, record
from exitwave.recon.iterative import _kernels

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
    losses = np.empty(len(mean))
    if loss.kind == "poisson":
        floor = mean.numpy().dtype.type(loss.floor)
        _kernels.ratios(mean.numpy(), counts, floor, weights.numpy())
        logs = torch.log(weights.clamp(min=LEAST))
        _kernels.poisson(mean.numpy(), counts, mask.to(mean.dtype).numpy(), floor, logs.numpy(), weights.numpy(), losses)
    else:
        _kernels.amplitude(mean.numpy(), counts, mask.numpy(), 0.375 if loss.kind == "anscombe" else 0.0, weights.numpy(), losses)
    if loss.dispersion != 1.0:
        weights /= loss.dispersion
        losses /= loss.dispersion
    return torch.from_numpy(losses)


def of_mean(loss: Loss, mean: Tensor, counts: Tensor, mask: Tensor) -> Tensor:
    """The same, summed over everything, as an expression that torch differentiates: for expectations that the adjoint does not cover."""
    n = counts.to(mean.dtype)
    if loss.kind == "poisson":
        a = mean + loss.floor
        each = a - n + torch.where(n > 0, n * torch.log(torch.clamp(n, min=1e-30) / a), torch.zeros_like(n))
    else:
        shift = 0.375 if loss.kind == "anscombe" else 0.0
        each = 2 * (torch.sqrt(mean + shift) - torch.sqrt(n + shift)) ** 2
    return (each * mask).sum() / loss.dispersion
