"""Scans on no raster: a fit begins from a direct method's image, and a search judges its trials there too."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, Calibration
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.run import first, prepare, turns
from exitwave.recon.iterative.search import _judged
from exitwave.recon.iterative.setup import Setup, set_up, start_modes
from tests.iterative import calibration, means, scanned, slope, smooth

FRAME = (32, 36)


def spiral(n: int = 220, reach_A: float = 9.0) -> torch.Tensor:
    """Positions (n, 2) of Fermat's spiral, wider along x, from nowhere near the origin."""
    i = torch.arange(n, dtype=torch.float64)
    r, angle = reach_A * torch.sqrt((i + 0.5) / n), i * torch.pi * (3 - 5**0.5)
    return torch.stack([r * torch.sin(angle) + 31.0, 1.2 * r * torch.cos(angle) - 17.0], 1)


def seen(known: Calibration, rms_rad: float = 0.15) -> tuple[ArrayFrames, Setup, torch.Tensor]:
    """Poisson counts at those positions, their setup and the true phase (1, 1, Y, X)."""
    s = set_up(known, (1, 220, *FRAME), 3e4, positions_A=spiral(), oversample=1)
    phase = smooth(s.field, 1, rms_rad, band_invA=0.35)
    with torch.no_grad():
        mean = means(s, start_modes(s, dtype=torch.complex128), phase, torch.ones(1).double())
    return ArrayFrames(array=np.random.default_rng(1).poisson(mean.numpy()).astype(np.uint16)[None]), s, phase[None]


def test_a_start_from_a_direct_method_is_the_specimen_in_place() -> None:
    known = calibration(FRAME)
    frames, s, truth = seen(known)
    options = PtychoOptions(start="ssb", iterations=2, oversample=1, held_share=0.1)
    p = prepare(frames, known, None, options, memory_bytes=2**30, positions_A=spiral())
    along, corr = slope(scanned(s, truth, 8), scanned(s, p.problem.leaves["phase"], 8))
    assert corr > 0.9 and 0.5 < along < 1.2
    other = prepare(frames, known, None, replace(options, start="zero"), memory_bytes=2**30, positions_A=spiral())
    begun, flat = (next(iter(turns(x, first(x).state)))[1]["held_out"] for x in (p, other))
    assert begun < flat
    with pytest.raises(InputError, match="scattered"):
        prepare(frames, known, None, replace(options, start="wdd"), memory_bytes=2**30, positions_A=spiral())


def test_a_trial_of_a_search_is_better_at_the_true_rotation() -> None:
    known = calibration(FRAME)
    frames, _, _ = seen(known)
    options = PtychoOptions(iterations=6, oversample=1)
    right, wrong = (_judged(frames, calibration(FRAME, rotation_deg=17.0 + off), options, None, 2**30, spiral()) for off in (0.0, 5.0))
    assert right < wrong
