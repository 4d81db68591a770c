"""The heart: a wave through slices."""

from collections.abc import Collection, Iterable, Sequence

from jaxtyping import Complex
from torch import Tensor

from exitwave.core.fft import fft2, ifft2


def multislice(
    psi: Complex[Tensor, "*b y x"],
    slices: Iterable[Complex[Tensor, "*#b y x"]],
    kernels: Sequence[Complex[Tensor, "y x"]],
    *,
    keep: Collection[int] = (),
) -> tuple[Complex[Tensor, "*b y x"], list[Tensor]]:
    """psi <- F^-1[K_i F(psi T_i)] for each slice; slices beyond the last kernel only multiply.

    Returns the exit wave and the waves after the slices in `keep` (a thickness series from one run). `slices` may be a generator, so that
    patches of a large field are cut one slice at a time. Cowley & Moodie, Acta Cryst. 10 (1957) 609, doi 10.1107/S0365110X57002194.
    """
    kept = []
    for i, t in enumerate(slices):
        psi = psi * t  # (*b, y, x)
        if i < len(kernels):
            psi = ifft2(kernels[i] * fft2(psi))  # (*b, y, x)
        if i in keep:
            kept.append(psi)
    return psi, kept
