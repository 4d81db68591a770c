"""From mean electrons to what a detector writes."""

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError


@record
class Noise:
    """A counting detector: Poisson electrons, each of which makes 1 + Poisson(counts_per_electron - 1) counts in its pixel.

    `counts_per_electron` = 1 is an ideal counter. With N electrons of mean m and g counts each the counts have
    mean g m and variance E[(g - 1) N] + var(g N) = (g - 1 + g^2) m, so variance over mean is g + 1 - 1/g.
    """

    counts_per_electron: float = 1.0

    def __post_init__(self) -> None:
        if self.counts_per_electron < 1:
            raise InputError("a counted electron makes at least one count", expected="counts_per_electron >= 1", got=self.counts_per_electron)


POISSON = Noise()


def counts(mean: Tensor, generator: np.random.Generator, noise: Noise = POISSON) -> Tensor:
    """Draw counts (int64, CPU) whose mean is `mean` electrons times `noise.counts_per_electron`.

    The draw is made on the CPU by `generator`, so it does not depend on the device; give each scan position its own
    (`exitwave.core.seeds.generator_at`) and it depends on no chunk either.

    Raises:
        InputError: a mean that is negative or not finite.
    """
    values = mean.detach().to("cpu", torch.float64).numpy()
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError("mean counts must be finite and not negative", got=f"{values.min():.3g} to {values.max():.3g}")
    electrons = generator.poisson(values)
    if noise.counts_per_electron > 1:
        electrons = electrons + generator.poisson(electrons * (noise.counts_per_electron - 1))
    return torch.from_numpy(np.asarray(electrons, dtype=np.int64))
