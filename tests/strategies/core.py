"""Strategies for the vocabulary: beams, grids, aberrations and complex waves on them."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, aberrations
from exitwave.core.aberrations import TERMS


def electron_beams() -> st.SearchStrategy[Beam]:
    """Electrons from 20 to 1000 keV."""
    return st.floats(20e3, 1e6).map(Beam.electron)


def photon_beams() -> st.SearchStrategy[Beam]:
    """Photons from the water window to hard X-rays."""
    return st.floats(280.0, 30e3).map(Beam.photon)


def beams() -> st.SearchStrategy[Beam]:
    """Electrons or photons."""
    return electron_beams() | photon_beams()


@st.composite
def grids(draw: st.DrawFn, min_side: int = 5, max_side: int = 23) -> Grid:
    """Grids whose sides and pitches differ; odd and even sides mixed."""
    y = draw(st.integers(min_side, max_side))
    x = draw(st.integers(min_side, max_side).filter(lambda n: n != y))
    pitch = st.floats(0.05, 2.0)
    return Grid(shape=(y, x), pitch_A=(draw(pitch), draw(pitch)))


@st.composite
def aberration_names(draw: st.DrawFn, min_terms: int = 1) -> dict[str, float]:
    """Coefficients by Krivanek name; amplitudes of terms with an angle are positive and the angle is within its half period."""
    named: dict[str, float] = {}
    for n, m in draw(st.lists(st.sampled_from(TERMS), unique=True, min_size=min_terms, max_size=len(TERMS))):
        scale = 10.0 ** (2 + n)
        if m == 0:
            named[f"C{n}{m}_A"] = draw(st.floats(-scale, scale))
        else:
            named[f"C{n}{m}_A"] = draw(st.floats(1e-3 * scale, scale))
            named[f"phi{n}{m}_deg"] = draw(st.floats(-179.0 / m, 179.0 / m))
    return named


def aberration_sets(min_terms: int = 1) -> st.SearchStrategy[Aberrations]:
    """Aberrations of any subset of the known terms, float64."""
    return aberration_names(min_terms=min_terms).map(aberrations)


@st.composite
def waves(draw: st.DrawFn, grid: Grid | None = None, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.complex128) -> Tensor:
    """Complex waves (*batch, y, x) with no symmetry at all: Gaussian real and imaginary parts of random scale and offset."""
    shape = (*batch, *(grid or draw(grids())).shape)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    wave = torch.complex(
        torch.randn(shape, generator=generator, dtype=torch.float64) + draw(st.floats(-2, 2)),
        torch.randn(shape, generator=generator, dtype=torch.float64) * draw(st.floats(0.1, 3)),
    )
    return wave.to(dtype)
