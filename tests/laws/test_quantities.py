"""Laws of what is read off direct images: SSNR of half sets, random halves, corrected transfer, phase with its error at a point."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core import Grid
from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames
from exitwave.data.thinning import Thinned, thinned
from exitwave.flow import chunks
from exitwave.recon.direct.corrected import corrected, measured_power
from exitwave.recon.direct.dense import DirectImage, reconstruct
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.point import Box, Disk, phase_in
from exitwave.signal import frc, ring_numbers, ring_ssnr
from tests.weak import FIELD, ODD, image, poisson, scanned, spectrum, white

PITCH = (0.7, 0.5)


def noise(shape: tuple[int, int], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# SSNR in rings


@pytest.mark.parametrize("ssnr", [0.0, 0.5, 4.0])
def test_ring_ssnr_is_unbiased_and_scatters_as_its_error_bar_says(ssnr: float) -> None:
    """The same specimen, 250 pairs of noise; rings of 4 coefficients upward. Its power in a ring is what this specimen has there."""
    shape, rounds = (25, 34), 250
    signal = noise(shape, 1) * (ssnr / 2) ** 0.5
    halves = [(signal + noise(shape, 2 * i + 10), signal + noise(shape, 2 * i + 11)) for i in range(rounds)]
    found = [ring_ssnr(a, b, PITCH, window=False) for a, b in halves]
    values, stated = torch.stack([f.value for f in found]), torch.stack([f.sigma for f in found])
    n = found[0].pairs
    truth = 2 * _ring_power(signal)
    some = n > 4
    bias = ((values.mean(0) - truth) / (values.std(0) / rounds**0.5))[some]
    assert float(bias.abs().max()) < 4.5 and abs(float(bias.sum())) / len(bias) ** 0.5 < 4
    s, m = truth[some], n[some]
    expected = torch.sqrt(((m - 1) * (1 + 2 * s) / m + (1 + s) ** 2) / (m - 2))
    many = m > 12  # below, the variance of a variance is what scatters
    found, said = (values.std(0)[some] / expected)[many], (stated.mean(0)[some] / expected)[many]
    assert float((found - 1).abs().max()) < 0.2 and float(found.mean()) == pytest.approx(1.0, abs=0.04)
    assert float(said.mean()) == pytest.approx(1.0, abs=0.04 if ssnr > 1 else 0.15)  # at least 0 is put in for a small SSNR


def _ring_power(x: Tensor) -> Tensor:
    """Mean power of an image's coefficients in each ring, in units of white noise of unit variance."""
    power = torch.fft.fft2(x - x.mean()).abs() ** 2 / x.numel()
    numbers = ring_numbers(Grid(shape=(x.shape[0], x.shape[1]), pitch_A=PITCH))
    return numbers.summed(power) / numbers.summed(torch.ones_like(power))


def test_both_definitions_are_one() -> None:
    shape = (48, 46)
    signal = noise(shape, 1)
    a, b = signal + noise(shape, 2), signal + noise(shape, 3)
    one, rings = ring_ssnr(a, b, PITCH, window=False), frc(a, b, PITCH, window=False)
    torch.testing.assert_close((2 * one.frc / (1 - one.frc))[1:], one.value[1:])
    busy = one.pairs > 40
    away = (one.frc - rings.value).abs()[busy]
    assert float((away * one.pairs[busy]).max()) < 2  # a half of one coefficient's worth: the factor (n - 1) / n, geometric or arithmetic mean
    assert torch.equal(one.q_invA, rings.q_invA)


def test_a_taper_leaves_fewer_coefficients_and_the_error_bar_says_so() -> None:
    shape, rounds = (64, 60), 200
    found = [ring_ssnr(noise(shape, 2 * i), noise(shape, 2 * i + 1), PITCH) for i in range(rounds)]
    values, n = torch.stack([f.value for f in found]), found[0].pairs
    plain = ring_ssnr(noise(shape, 0), noise(shape, 1), PITCH, window=False).pairs
    assert bool((n < 0.85 * plain).all())
    some = n > 12
    ratio = values.std(0)[some] / torch.stack([f.sigma for f in found]).median(0).values[some]
    assert 0.8 < float(ratio.mean()) < 1.05  # neighbours that lie in other rings are counted as if in this one
    assert abs(float(values.mean(0)[some].mean())) < 0.02


def test_rings_that_hold_too_little_say_nothing() -> None:
    few = ring_ssnr(noise((9, 9), 1), noise((9, 9), 2), (1.0, 1.0), rings=8, window=False)
    empty = few.pairs <= 2
    assert bool(empty.any()) and bool(torch.isnan(few.value[empty]).all()) and bool(torch.isinf(few.sigma[empty]).all())
    with pytest.raises(InputError, match="same shape"):
        ring_ssnr(noise((9, 9), 1), noise((9, 8), 1), (1.0, 1.0))


# Random halves


@pytest.mark.parametrize("dtype", ["uint8", "<u2", ">u2", ">i4", "<i8"])
def test_every_count_is_in_exactly_one_half_whatever_the_chunks(dtype: str) -> None:
    top = 200 if dtype == "uint8" else 3000
    counts = np.random.default_rng(1).integers(0, top, (5, 4, 7, 6)).astype(dtype)
    counts[..., :3] = np.random.default_rng(2).poisson(0.7, (5, 4, 7, 3))
    before = counts.copy()
    a, b = thinned(ArrayFrames(array=counts), seed=9)
    whole = a.read(0, 20), b.read(0, 20)
    assert whole[0].dtype == counts.dtype == whole[1].dtype
    np.testing.assert_array_equal(whole[0] + whole[1], counts.reshape(20, 7, 6))
    np.testing.assert_array_equal(counts, before)  # the source is left alone
    pieces = np.concatenate([c.frames.copy() for c in chunks(a, 3 * 42 * (counts.itemsize + 8))])
    np.testing.assert_array_equal(pieces, whole[0])
    out = np.empty((2, 7, 6), counts.dtype)
    assert b.read(13, 15, out) is out
    np.testing.assert_array_equal(out, whole[1][13:15])
    assert not np.array_equal(Thinned(source=a.source, half=0, seed=10).read(0, 20), whole[0])


def test_halves_of_poisson_counts_are_independent_poisson_counts() -> None:
    mean = np.concatenate([np.full(600, 0.3), np.full(600, 6.0), np.full(600, 90.0)]).reshape(1, 1, 30, 60)
    counts = np.random.default_rng(5).poisson(np.broadcast_to(mean, (20, 20, 30, 60))).astype(np.uint16)
    a, b = (half.read(0, 400).reshape(400, 3, 600).astype(float) for half in thinned(ArrayFrames(array=counts)))
    for level, rate in enumerate((0.3, 6.0, 90.0)):
        x, y = a[:, level], b[:, level]
        assert x.mean() == pytest.approx(rate / 2, rel=0.01) and x.var() == pytest.approx(rate / 2, rel=0.02)
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 4 / x.size**0.5


def test_what_cannot_be_dealt_out_is_refused() -> None:
    with pytest.raises(InputError, match="only whole counts"):
        thinned(ArrayFrames(array=np.ones((2, 2, 3, 3), np.float32)))
    counts = np.ones((2, 2, 3, 3), np.int16)
    counts[1, 0, 2, 1] = -4
    with pytest.raises(InputError, match="frame 2 holds a negative count"):
        thinned(ArrayFrames(array=counts))[0].read(0, 4)


@cache
def vacuum() -> tuple[ArrayFrames, Geometry]:
    return scanned(torch.zeros(FIELD.shape, dtype=torch.float64)[:13, :14], ODD)


def _clustered(seed: int, kind: str) -> ArrayFrames:
    """400 counts per position: each its own; three in one pixel; or two, in horizontal neighbours."""
    frames, _ = vacuum()
    if kind == "single":
        return poisson(frames, 400.0, seed)
    if kind == "stacked":
        return ArrayFrames(array=3 * poisson(frames, 400.0 / 3, seed).array)
    electrons = poisson(frames, 200.0, seed).array
    return ArrayFrames(array=electrons + np.roll(electrons, 1, -1))


def _shared(kind: str, route: str) -> float:
    """Correlation of the noise of half images of vacuum, over 6 repeats."""
    g, pairs = vacuum()[1], []
    for seed in range(6):
        data = _clustered(seed, kind)
        one = image(data, g, "ssb").halves if route == "pixels" else tuple(image(half, g, "ssb").image for half in thinned(data, seed))
        pairs.append(torch.stack(one))
    both = torch.stack(pairs)
    a, b = (both[:, i] - both[:, i].mean((1, 2), keepdim=True) for i in (0, 1))
    return float((a * b).sum() / torch.sqrt((a**2).sum() * (b**2).sum()))


def test_which_half_sets_are_honest() -> None:
    """Noise that halves share is read as specimen. Dealing out counts is honest for counts that come one by one; three counts to an electron
    correlate its halves by (3 - 1) / (3 + 1), while squares of detector pixels keep an electron's counts together, unless they cross a border."""
    chance = 4 / (6 * 13 * 14) ** 0.5
    assert abs(_shared("single", "counts")) < chance
    assert abs(_shared("single", "pixels")) < chance
    assert _shared("stacked", "counts") == pytest.approx(0.5, abs=chance)
    assert abs(_shared("stacked", "pixels")) < chance
    assert _shared("neighbours", "pixels") > chance
    assert _shared("neighbours", "counts") > chance


# Transfer divided out


@pytest.mark.parametrize("method", ["ssb", "parallax", "flipped-parallax", "icom", "obf"])
def test_a_corrected_image_passes_what_it_states(method: str) -> None:
    truth = 1e-5 * white()
    frames, g = scanned(truth, ODD)
    made = image(frames, g, method)
    made = replace(made, noise=made.noise * 1e-11)  # as at a dose where this specimen is well above noise
    done = corrected(made, 1e-10)
    ssnr = made.ctf.abs() ** 2 * 1e-10 / torch.where(made.noise > 0, made.noise, torch.full_like(made.noise, torch.inf))
    torch.testing.assert_close(done.ctf.real, ssnr / (1 + ssnr), rtol=1e-9, atol=1e-9)
    assert float(done.ctf.imag.abs().max()) < 1e-9
    seen = done.ctf.real > 0.3
    seen[0, 0] = False
    assert int(seen.sum()) > 45
    ratio = spectrum(done.image)[seen] / spectrum(truth)[seen]
    assert float((ratio - done.ctf[seen]).abs().max()) < 0.02  # of second order in the phase, divided by a small transfer
    assert float((ratio - done.ctf[seen]).abs().mean()) < 1e-3
    torch.testing.assert_close((done.halves[0] + done.halves[1]) / 2, done.image)
    torch.testing.assert_close((done.noise / made.noise)[seen], (done.ctf.abs() ** 2 / made.ctf.abs() ** 2)[seen])


def test_what_is_hardly_passed_is_left_out_where_the_power_is_measured() -> None:
    """A slow flicker that both halves share, where the transfer is next to nothing, is not divided by it."""
    frames, g = scanned(0.05 * white(), {"C10_A": 30.0})
    made = image(poisson(frames, 1e6, 1), g, "parallax")
    slow = 0.02 * torch.cos(2 * torch.pi * torch.arange(FIELD.shape[1], dtype=torch.float64) / FIELD.shape[1]).expand(FIELD.shape)
    weak = made.ctf.clone()
    weak[0, 1] = 0.01 * weak.abs().max()
    done = corrected(replace(made, image=made.image + slow, halves=(made.halves[0] + slow, made.halves[1] + slow), ctf=weak))
    assert complex(done.ctf[0, 1]) == 0 and complex(spectrum(done.image)[0, 1]) == pytest.approx(0, abs=1e-9)
    kept = made.ctf.abs() > 0.1 * made.ctf.abs().max()
    assert float(done.ctf.real[kept].mean()) > 0.1


def test_without_noise_to_mind_the_transfer_is_divided_out() -> None:
    truth = 1e-5 * white()
    frames, g = scanned(truth, ODD)
    done = corrected(image(frames, g, "ssb"), float("inf"))
    seen = done.ctf.abs() > 0.5
    assert float((done.ctf[seen] - 1).abs().max()) < 1e-12 and int(seen.sum()) > 100
    assert float((done.ctf[~seen]).abs().max()) == 0
    with pytest.raises(InputError, match="positive number"):
        corrected(image(frames, g, "ssb"), -1.0)


def test_the_measured_power_is_the_specimens_and_weighs_as_the_true_one_would() -> None:
    rms = 0.03
    ratios, gains = [], []
    for seed in range(6):
        truth = rms * white(seed=seed)
        frames, g = scanned(truth, ODD)
        made = image(poisson(frames, 2000.0, seed), g, "ssb")
        clear = made.ctf.abs() ** 2 * rms**2 > made.noise
        ratios.append(float(measured_power(made).value[clear].mean()) / rms**2)
        law = torch.fft.irfft2(torch.where(made.ctf.abs() > 0, spectrum(truth), 0), s=truth.shape)
        errors = [float((x.image - law).square().mean()) for x in (corrected(made), corrected(made, rms**2), corrected(made, float("inf")))]
        gains.append([error / errors[1] for error in errors])
    assert float(np.mean(ratios)) == pytest.approx(1.0, abs=0.1)
    measured, _, plain = np.mean(gains, 0)
    assert 1.0 < measured < 1.2 and plain > 5


def test_an_image_of_noise_alone_is_weighed_down_and_its_power_has_the_stated_error() -> None:
    _, g = vacuum()
    shares, scores = [], []
    for seed in range(10):
        made = image(_clustered(seed, "single"), g, "ssb")
        power = measured_power(made)
        scores.append((power.value / power.sigma).unique())
        shares.append(float(corrected(made).image.std() / corrected(made, float("inf")).image.std()))
    assert float(np.mean(shares)) < 0.1
    found = torch.cat(scores)
    assert abs(float(found.mean())) < 4 / len(found) ** 0.5
    assert float(found.square().mean()) ** 0.5 == pytest.approx(1.0, abs=0.3)


# Phase with its error


@pytest.mark.parametrize("method", ["ssb", "icom", "obf"])
def test_two_thirds_of_repeats_lie_within_one_sigma(method: str) -> None:
    """68 +- 5 % of Poisson repeats: at points between pixels, over disks, and of disks over a vacuum box beside them."""
    frames, g = scanned(0.05 * white()[:13, :14], ODD)
    box = Box(corners_A=(0.1, 0.2, 2.0, 4.6))
    places: list[tuple[Disk | Box, Box | None]] = [(Disk(at_A=at), None) for at in ((3.17, 4.81), (5.9, 2.2), (0.6, 0.4), (6.2, 4.9))]
    places += [(Disk(at_A=(4.4, 3.1), radius_A=1.3), None), (Disk(at_A=(4.9, 2.7), radius_A=0.8), box), (box, None)]
    truth = image(frames, g, method)
    exact = torch.tensor([phase_in(truth, *place).value_rad for place in places])
    rounds = 40
    values, sigmas = torch.zeros(rounds, len(places)), torch.zeros(rounds, len(places))
    for seed in range(rounds):
        made = image(poisson(frames, 900.0, seed), g, method)
        for i, place in enumerate(places):
            found = phase_in(made, *place)
            values[seed, i], sigmas[seed, i] = found.value_rad, found.sigma_rad
    within = ((values - exact).abs() < sigmas).to(torch.float64).mean()
    assert float(within) == pytest.approx(0.683, abs=0.05)
    assert float((values.std(0) / sigmas.mean(0) - 1).abs().max()) < 4 / (2 * rounds) ** 0.5


def test_a_point_on_a_pixel_is_that_pixel_and_a_box_of_everything_the_mean() -> None:
    made = _one_image()
    py, px = made.pitch_A
    assert phase_in(made, Disk(at_A=(5 * py, 8 * px))).value_rad == pytest.approx(float(made.image[5, 8]), abs=1e-12)
    rows, columns = made.image.shape
    whole = Box(corners_A=(-py / 2, -px / 2, (rows - 0.5) * py, (columns - 0.5) * px))
    assert phase_in(made, whole).value_rad == pytest.approx(float(made.image.mean()), abs=1e-12)
    assert phase_in(made, Disk(at_A=(3.3, 3.3)), Disk(at_A=(3.3, 3.3))).sigma_rad == 0
    broad = Disk(at_A=(5.0, 5.0), radius_A=2.0)
    assert phase_in(made, broad).transfer < 0.9 * phase_in(corrected(made, float("inf")), broad).transfer


def test_a_disk_is_the_mean_of_the_points_in_it() -> None:
    made = _one_image()
    points = [(y, x) for y in np.linspace(-1.95, 1.95, 14) for x in np.linspace(-1.95, 1.95, 14) if y**2 + x**2 <= 4]
    mean = np.mean([phase_in(made, Disk(at_A=(5.1 + y, 4.7 + x))).value_rad for y, x in points])
    assert phase_in(made, Disk(at_A=(5.1, 4.7), radius_A=2.0)).value_rad == pytest.approx(float(mean), abs=3e-2 * float(made.image.std()))


@cache
def _one_image() -> DirectImage:
    frames, g = scanned(0.05 * white(), ODD)
    return image(frames, g, "ssb")


@pytest.mark.parametrize("region", [Disk(at_A=(-1.0, 3.0)), Disk(at_A=(5.0, 5.0), radius_A=6.0), Box(corners_A=(1.0, 1.0, 2.0, 30.0))])
def test_regions_lie_in_the_image(region: Disk | Box) -> None:
    with pytest.raises(InputError, match="outside the image"):
        phase_in(_one_image(), region)
    with pytest.raises(InputError, match="second corner"):
        Box(corners_A=(2.0, 1.0, 1.0, 3.0))
    with pytest.raises(InputError, match="not negative"):
        Disk(at_A=(0.0, 0.0), radius_A=-1.0)


def test_float32_images_are_read_alike() -> None:
    frames, g = scanned(0.05 * white(), ODD)
    one, two = (reconstruct(frames, g, "ssb", dtype=d, finite_pixels=False) for d in (torch.complex64, torch.complex128))
    a, b = (phase_in(corrected(x, 1e-3), Disk(at_A=(5.0, 5.0), radius_A=1.0)) for x in (one, two))
    assert a.value_rad == pytest.approx(b.value_rad, rel=1e-3) and a.sigma_rad == pytest.approx(b.sigma_rad, rel=1e-4)
