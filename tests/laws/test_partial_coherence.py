"""Source size and focal spread in the weak response, against sums over source points and foci."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.data import ArrayFrames
from exitwave.recon.direct import DirectImage
from exitwave.recon.direct.geometry import Geometry
from tests.weak import FIELD, LENS, ODD, image, scanned, spectrum, white

SOURCE_A, SPREAD_A = 0.35, 60.0


def nodes(rms: float, count: int) -> list[tuple[float, float]]:
    """Gauss-Hermite positions and weights of a normal distribution."""
    x, w = np.polynomial.hermite_e.hermegauss(count)
    return [(rms * float(a), float(b / w.sum())) for a, b in zip(x, w, strict=True)]


def moved(phase: Tensor, dy_A: float, dx_A: float) -> Tensor:
    """A periodic field without Nyquist lines, seen by a source point at (dy, dx)."""
    qy = torch.fft.fftfreq(FIELD.shape[0], FIELD.pitch_A[0], dtype=torch.float64)[:, None]
    qx = torch.fft.rfftfreq(FIELD.shape[1], FIELD.pitch_A[1], dtype=torch.float64)[None]
    return torch.fft.irfft2(spectrum(phase) * torch.exp(2j * torch.pi * (qy * dy_A + qx * dx_A)), s=FIELD.shape)


def smeared(phase: Tensor, lens: dict[str, float], kind: str) -> tuple[ArrayFrames, Geometry]:
    """The scan summed over source points, or over foci."""
    total, g = None, None
    if kind == "source":
        parts = [(wy * wx, moved(phase, y, x), lens) for y, wy in nodes(SOURCE_A, 5) for x, wx in nodes(SOURCE_A, 5)]
    else:
        parts = [(w, phase, {**lens, "C10_A": lens["C10_A"] + z}) for z, w in nodes(SPREAD_A, 9)]
    for weight, seen, here in parts:
        frames, _ = scanned(seen, here)
        total = weight * frames.array + (0.0 if total is None else total)
    _, g = scanned(phase, lens)
    assert total is not None
    return ArrayFrames(array=total), replace(g, source_A=SOURCE_A if kind == "source" else 0.0, focal_spread_A=SPREAD_A if kind == "focus" else 0.0)


@pytest.mark.parametrize("kind", ["source", "focus"])
@pytest.mark.parametrize("lens", [LENS, ODD], ids=["quadratic", "odd"])
def test_image_over_phase_is_the_stated_transfer(lens: dict[str, float], kind: str) -> None:
    truth = white()
    half = spectrum(truth)
    half[:, -1] = 0
    truth = 1e-5 * torch.fft.irfft2(half, s=FIELD.shape)
    frames, g = smeared(truth, lens, kind)
    for method in ("ssb", "obf", "parallax", "icom"):
        made = image(frames, g, method)
        assert error(made, made.ctf, truth) < 5e-4, method
        sharp = image(frames, replace(g, source_A=0.0, focal_spread_A=0.0), method)
        assert error(sharp, sharp.ctf, truth) > 0.01, method


def error(made: DirectImage, ctf: Tensor, truth: Tensor) -> float:
    """The largest deviation of a spectrum from transfer times truth; the mean is no phase."""
    wanted, got = ctf * spectrum(truth), spectrum(made.image)
    wanted[0, 0] = got[0, 0] = 0
    return float((got - wanted).abs().max() / wanted.abs().max())
