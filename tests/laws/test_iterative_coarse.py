"""Coarse to fine: what is handed over is the same fit, and it saves work."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, FrameSource, Quantity
from exitwave.recon.iterative.coarse import Middle, handed_over, middle_of
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.run import follow, prepare
from exitwave.recon.iterative.setup import Setup, set_up, start_modes
from tests.iterative import calibration, scan, scanned, setup, slope, smooth

FRAME = (64, 70)
KNOWN = calibration(FRAME)


def both(samples: int = 1) -> tuple[Setup, Setup, FrameSource]:
    frames = ArrayFrames(array=np.zeros((5, 6, *FRAME), np.uint16))
    alive = torch.ones(FRAME, dtype=torch.bool)
    alive[30, 33] = False
    fine = set_up(KNOWN, frames.shape, 900.0, alive=alive, oversample=samples)
    part, known, seen = middle_of(frames, KNOWN, fine, alive)
    return fine, set_up(known, part.shape, 450.0, alive=seen, oversample=samples), part


@pytest.mark.parametrize("samples", [1, 2])
def test_probe_and_phase_arrive_where_they_were(samples: int) -> None:
    fine, coarse, part = both(samples)
    assert all(0.4 * a < b < 0.7 * a for a, b in zip(FRAME, part.shape[2:], strict=True))
    assert int((fine.camera.mask == 0).sum()) == int((coarse.camera.mask == 0).sum()) == 1
    given = {"modes": start_modes(coarse, 2, dtype=torch.complex128), "phase": smooth(coarse.field, 2, band_invA=0.3)[None]}
    made = handed_over(fine, coarse, given)
    expected = start_modes(fine, 2, dtype=torch.complex128)
    assert float((made["modes"] - expected).abs().max()) < 1e-9 * float(expected.abs().max())
    at_A = fine.positions_px * torch.tensor(fine.field.pitch_A) + fine.corner_A
    values = []
    for s, phase in ((fine, made["phase"]), (coarse, given["phase"])):
        spectrum = torch.fft.fft2(phase.to(torch.complex128))
        px = (at_A - s.corner_A) / torch.tensor(s.field.pitch_A)
        ky, kx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in s.field.shape)
        rows, columns = torch.exp(2j * torch.pi * px[:, :1] * ky), torch.exp(2j * torch.pi * px[:, 1:] * kx)
        values.append(torch.einsum("ny,czyx,nx->czn", rows, spectrum, columns).real / spectrum[0, 0].numel())
    assert float((values[0] - values[1]).abs().max()) < 0.03 * float(values[1].abs().max())  # cubic splines


@pytest.mark.parametrize("frame", [(60, 64), (68, 72), (65, 66)])
def test_a_centre_between_pixels_is_the_same_sample_of_both(frame: tuple[int, int]) -> None:
    known = replace(calibration(frame), centre_y_px=Quantity(value=None), centre_x_px=Quantity(value=None))
    frames = ArrayFrames(array=np.zeros((5, 6, *frame), np.uint8))
    for samples in (1, 2):
        fine = set_up(known, frames.shape, 1.0, oversample=samples)
        part, told, _ = middle_of(frames, known, fine, None)
        coarse = set_up(told, part.shape, 1.0, oversample=samples)
        assert torch.allclose(fine.k_invA[:, 0, 0], coarse.k_invA[:, 0, 0], rtol=0, atol=1e-9)


def test_what_is_held_out_is_held_out_of_the_coarse_fit_too() -> None:
    s = setup((5, 6), FRAME, 3e3, 1, KNOWN)
    array = scan(s, poisson=3)[0].frames.read(0, 30).astype(np.uint16).reshape(5, 6, *FRAME)
    options = PtychoOptions(iterations=2, coarse=2, oversample=1, held_share=0.2)
    one = prepare(ArrayFrames(array=array), KNOWN, None, options, memory_bytes=2**31)
    other = array.reshape(30, *FRAME).copy()
    picked = torch.nonzero(one.problem.held).reshape(-1).numpy()
    other[picked] = other[picked][::-1]  # the same mean, other patterns
    two = prepare(ArrayFrames(array=other.reshape(array.shape)), KNOWN, None, options, memory_bytes=2**31)
    assert not np.array_equal(array.reshape(other.shape), other) and bool(one.problem.leaves["phase"].any())
    assert torch.equal(one.problem.leaves["phase"], two.problem.leaves["phase"])


def test_the_middle_of_frames_on_disk_is_that_in_memory() -> None:
    array = np.random.default_rng(0).integers(0, 9, (5, 6, *FRAME)).astype(">u2")
    frames = ArrayFrames(array=array)
    fine, _, _ = both()
    part = middle_of(frames, KNOWN, fine, None)[0]
    low = [n - m for n, m in zip(FRAME, part.shape[2:], strict=True)]
    first = next((y, x) for y in range(low[0] + 1) for x in range(low[1] + 1)
                 if np.array_equal(array[0, 0, y : y + part.shape[2], x : x + part.shape[3]], part.read(0, 1)[0]))
    lazy = Middle(source=frames, first=first, last=(first[0] + part.shape[2], first[1] + part.shape[3]))
    assert lazy.shape == part.shape and lazy.dtype == part.dtype
    assert np.array_equal(lazy.read(3, 9), part.read(3, 9))
    assert np.array_equal(lazy.read(3, 5, np.empty((2, *part.shape[2:]), lazy.dtype)), part.read(3, 5))
    assert np.shares_memory(part.read(0, 1), array)  # frames in memory are there but once


def test_coarse_passes_first_end_closer_to_the_truth_for_the_same_work() -> None:
    """Eight coarse passes and four whole ones against six whole ones: a quarter of the work each."""
    s = setup((12, 14), FRAME, 3e4, 1, KNOWN)
    problem, truth, _ = scan(s, poisson=3, rms_rad=0.3)
    alive = (s.camera.mask > 0).numpy()
    errors = []
    for coarse, whole in ((0, 6), (8, 4)):
        options = PtychoOptions(iterations=whole, coarse=coarse, oversample=1, phase_rate=0.02, batch=16, held_share=0.0)
        found = follow(prepare(problem.frames, KNOWN, alive, options, memory_bytes=2**31))
        errors.append(1 - slope(scanned(s, truth, 8), scanned(s, found.leaves["phase"], 8))[1])
    assert errors[1] < 0.5 * errors[0]


def test_a_disk_that_fills_the_frame_has_no_middle() -> None:
    frame = (20, 22)
    known = calibration(frame, semiangle_px=8.0)
    s = set_up(known, (5, 6, *frame), 1.0)
    with pytest.raises(InputError, match="leave out --coarse"):
        middle_of(ArrayFrames(array=np.zeros((5, 6, *frame))), known, s, None)
