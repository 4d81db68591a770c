"""Parts of the fusion: boxes that keep counts, wedges, one reading, rings, and a gain that knows its error and its limits."""

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.core.seeds import generator_at
from exitwave.data import ArrayFrames
from exitwave.flow import chunks
from exitwave.recon.direct.geometry import scan_frequencies
from exitwave.recon.fusion.darkfield import axis_taps, dark_field, deposit, response
from exitwave.recon.fusion.gain import Channel, Gain, fitted_gain
from exitwave.recon.fusion.rings import Rings, rings_of, ssnr
from exitwave.recon.fusion.wedges import Tap, wedges
from tests.weak import scanned, white

SHAPE, PITCH = (48, 40), (0.5, 0.6)


@pytest.mark.parametrize("upsample", [1, 2, 3])
@pytest.mark.parametrize("shift", [0.0, 0.3, -2.7, 5.5])
def test_a_box_keeps_its_area_and_its_place(shift: float, upsample: int) -> None:
    first, shares = axis_taps(shift, upsample)
    assert sum(shares) == pytest.approx(1.0, abs=1e-15)
    assert min(shares) >= 0
    middle = sum(share * (first + j) for j, share in enumerate(shares)) / upsample
    assert middle == pytest.approx(shift, abs=1e-12)
    assert max(share for share in shares) <= 1 / upsample + 1e-12


@pytest.mark.parametrize("upsample", [1, 2])
def test_a_deposit_keeps_every_count_and_has_the_stated_response(upsample: int) -> None:
    counts = generator_at(3, 0).integers(0, 9, (7, 10))
    canvas = np.zeros((7 * upsample, 10 * upsample))
    along_y, along_x = axis_taps(1.37, upsample), axis_taps(-3.81, upsample)
    deposit(canvas, counts, along_y, along_x, upsample)
    assert canvas.sum() == pytest.approx(counts.sum(), rel=1e-14)
    fine = np.zeros_like(canvas)
    fine[::upsample, ::upsample] = counts
    qy = torch.fft.fftfreq(canvas.shape[0], PITCH[0] / upsample, dtype=torch.float64)[:, None]
    qx = torch.fft.rfftfreq(canvas.shape[1], PITCH[1] / upsample, dtype=torch.float64)[None]
    kernel = response(along_y, qy, PITCH[0] / upsample) * response(along_x, qx, PITCH[1] / upsample)
    torch.testing.assert_close(torch.fft.rfft2(torch.from_numpy(canvas)), kernel * torch.fft.rfft2(torch.from_numpy(fine)), rtol=0, atol=1e-10)


def test_wedges_hold_every_live_pixel_of_the_annulus_once() -> None:
    from dataclasses import replace

    _, g = scanned(1e-4 * white((33, 36)), frame=(31, 29))
    dead = g.good.clone()
    dead[31 * 3 + 5] = dead[7] = False
    w = wedges(replace(g, good=dead), 12, 1.2)
    radius = torch.sqrt((g.k_invA**2).sum(1)).numpy()
    inside = (radius >= w.inner_invA) & (radius < w.outer_invA) & dead.numpy()
    masks = w.masks(g.frame)
    np.testing.assert_array_equal(masks.sum(0).reshape(-1), inside)
    assert masks.shape == (24, 31, 29)
    assert w.inner_invA >= g.edge_invA + g.pixel_invA[0]
    assert masks.reshape(24, -1).sum(1).min() > 0


def test_a_detector_that_ends_at_the_disk_is_refused() -> None:
    _, g = scanned(1e-4 * white(), frame=(11, 14))
    with pytest.raises(InputError, match="too near the bright disk"):
        wedges(g, 16, 1.5)
    _, g = scanned(1e-4 * white((33, 36)), frame=(31, 29))
    with pytest.raises(InputError, match="count of wedges"):
        wedges(g, 3, 1.5)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<f4"])
def test_the_tap_sums_what_goes_by_once(dtype: str) -> None:
    frames, g = scanned(1e-2 * white((33, 36)), frame=(31, 29), every=(3, 2))
    counts = generator_at(1, 0).poisson(400 * frames.array).astype(dtype)
    w = wedges(g, 8, 1.2)
    tap = Tap(ArrayFrames(array=counts), w)
    for _ in range(2):  # a method short of memory reads twice
        for chunk in chunks(tap, 1 << 16):
            assert chunk.frames.dtype == counts.dtype
    found = tap.counts()
    expected = np.stack([(counts.astype(np.float64) * mask).sum((2, 3)) for mask in w.masks(g.frame)])
    np.testing.assert_array_equal(found.images.reshape(16, 11, 18), expected)
    assert (found.images.dtype == np.int64) == (np.dtype(dtype).kind in "ui")
    np.testing.assert_allclose(found.mean, counts.reshape(-1, 31 * 29).mean(0, dtype=np.float64), rtol=1e-6)
    dark = dark_field(found, w, g)
    assert float(dark.canvas.sum()) == pytest.approx(expected.sum(), rel=1e-12)
    assert float(dark.ctf[0, 0].real) == pytest.approx(1.0, abs=1e-6)


def test_a_tap_that_was_not_read_says_so_and_so_does_a_dark_field_without_electrons() -> None:
    frames, g = scanned(1e-4 * white((33, 36)), frame=(31, 29), every=(3, 3))
    w = wedges(g, 8, 1.2)
    tap = Tap(frames, w)
    with pytest.raises(InputError, match="in order"):
        tap.counts()
    empty = Tap(ArrayFrames(array=np.zeros(frames.shape, np.uint8)), w)
    for _ in chunks(empty, 1 << 20):
        pass
    with pytest.raises(InputError, match="no electron reached"):
        dark_field(empty.counts(), w, g)


def plane() -> tuple[Tensor, Tensor, Rings]:
    from exitwave.core import Grid

    qy, qx = scan_frequencies(Grid(shape=SHAPE, pitch_A=PITCH))
    return qy, qx, rings_of(qy, qx, SHAPE[1], 0.8)


def test_rings_hold_at_least_64_frequencies_and_count_the_full_plane() -> None:
    qy, qx, rings = plane()
    sizes = rings.sum(torch.ones(qy.shape[0], qx.shape[1], dtype=torch.float64))
    assert float(sizes[:-1].min()) >= 64
    full = torch.sqrt(torch.fft.fftfreq(48, 0.5, dtype=torch.float64)[:, None] ** 2 + torch.fft.fftfreq(40, 0.6, dtype=torch.float64)[None] ** 2)
    for low, high, size in zip(rings.edges_invA[:-1], rings.edges_invA[1:], sizes, strict=True):
        assert int(((full >= low) & (full < high)).sum()) == int(size)


def noise(variance: float, seed: int) -> Tensor:
    """The spectrum (y, h) of white noise whose coefficients have this variance."""
    generator = torch.Generator().manual_seed(seed)
    return torch.fft.rfft2(torch.randn(SHAPE, generator=generator, dtype=torch.float64)) * (variance / (SHAPE[0] * SHAPE[1])) ** 0.5


def channel(signal: Tensor, variance: float, seed: int) -> Channel:
    halves = torch.stack([signal + noise(2 * variance, seed), signal + noise(2 * variance, seed + 1)])
    return Channel(halves=halves, value=halves.mean(0), variance=torch.full(signal.shape, variance, dtype=torch.float64))


def test_ssnr_has_no_bias_and_does_not_see_a_known_transfer() -> None:
    _, _, rings = plane()
    signal = noise(3.0, 999)
    truth = rings.mean(signal.abs() ** 2) / 2.0
    found = torch.stack([ssnr(rings, (c := channel(signal, 2.0, 10 * s)).halves, c.variance) for s in range(40)])
    assert float(((found.mean(0) - truth).abs() / (found.std(0) / 40**0.5)).max()) < 4
    c, t = channel(signal, 2.0, 1), 0.3
    torch.testing.assert_close(ssnr(rings, c.halves * t, c.variance * t**2), ssnr(rings, c.halves, c.variance))


def trial(seed: int, gain: float = 0.3, scatter: float = 2.0, dark_signal: Tensor | None = None) -> Gain:
    _, _, rings = plane()
    phase = noise(4.0, 5000 + seed)
    dark = (phase if dark_signal is None else dark_signal) / gain + noise(scatter, 9000 + seed)
    band = torch.ones(len(rings.q_invA), dtype=torch.bool)
    return fitted_gain(channel(phase, 3.0, 100 * seed), channel(dark, 5.0, 100 * seed + 50), rings, band, SHAPE)


def test_the_gain_is_found_with_an_honest_error_though_both_channels_are_noisy() -> None:
    found = [trial(seed) for seed in range(16)]
    gains = torch.tensor([f.gain for f in found])
    assert float((gains.mean() - 0.3).abs()) < 4 * float(gains.std()) / 16**0.5
    assert float(gains.std()) / float(np.mean([f.sigma for f in found])) == pytest.approx(1.0, abs=0.45)
    assert sum(f.one_is_enough for f in found) >= 15
    ratio = float(torch.stack([trial(seed, scatter=60.0).scatter for seed in range(4)]).mean())
    assert ratio == pytest.approx(60.0 / (4.0 / 0.3**2), rel=0.15)


def test_two_gains_in_one_field_are_told() -> None:
    """The right half of the field gives three times the dark field for the same phase."""
    refused = 0
    for seed in range(4):
        image = torch.fft.irfft2(noise(4.0, 5000 + seed), s=SHAPE)
        image[:, SHAPE[1] // 2 :] *= 3
        refused += not trial(seed, dark_signal=torch.fft.rfft2(image)).one_is_enough
    assert refused == 4


def test_channels_that_share_nothing_are_refused() -> None:
    _, _, rings = plane()
    phase, other = channel(noise(4.0, 1), 3.0, 2), channel(noise(50.0, 77), 5.0, 4)
    some = torch.ones(len(rings.q_invA), dtype=torch.bool)
    with pytest.raises(InputError, match="share no band"):
        fitted_gain(phase, other, rings, ~some, SHAPE)
    with pytest.raises(InputError, match="does not follow"):
        fitted_gain(phase, other, rings, some, SHAPE)


