"""Laws of direct reconstructions: frames turned and exchanged, the twin, noise, upsampling, linearity, invariance to how the work is cut."""

from dataclasses import replace
from functools import cache
from math import cos, radians, sin

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core import Aberrations, Grid, aberrations
from exitwave.core.aberrations import cartesian
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.optics import probe
from exitwave.recon.direct import dense, sums
from exitwave.recon.direct.dense import DirectImage, checkerboard, reconstruct
from exitwave.recon.direct.geometry import Geometry, detector_frame, geometry, scan_frequencies, turn
from exitwave.recon.direct.stack import virtual_stacks
from exitwave.recon.direct.weights import WEIGHTS
from exitwave.signal import frc
from exitwave.wave import Experiment, FarField, Illumination, Pixels, Specimen, expected, raster_scan
from tests.generic import smooth, worst
from tests.weak import BEAM, FIELD, LENS, ODD, image, poisson, scanned, spectrum, white

METHODS = sorted(WEIGHTS)
ZERO = torch.zeros(FIELD.shape, dtype=torch.float64)


@cache
def strong() -> tuple[ArrayFrames, Geometry]:
    """Mean frames of a phase of 0.1 rad rms seen through odd aberrations."""
    return scanned(white() * 0.1, ODD)


@cache
def counted() -> tuple[ArrayFrames, Geometry]:
    frames, g = strong()
    return poisson(frames, 500.0, 3), g


def correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / torch.sqrt((a**2).sum() * (b**2).sum()))


# Frames


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("rotation_deg", [0.0, 37.0, 90.0, -153.0])
def test_turn_takes_the_detector_to_the_scan_as_the_conventions_say(rotation_deg: float, transpose: bool) -> None:
    """k_scan = R(rotation) T k_det with k = (k_x, k_y), here for (y, x) vectors."""
    kx, ky = 0.7, -0.4
    x, y = (ky, kx) if transpose else (kx, ky)
    c, s = cos(radians(rotation_deg)), sin(radians(rotation_deg))
    found = turn(torch.tensor(radians(rotation_deg), dtype=torch.float64), transpose) @ torch.tensor([ky, kx], dtype=torch.float64)
    assert found.tolist() == pytest.approx([s * x + c * y, c * x - s * y], abs=1e-15)


@pytest.mark.parametrize(("rotation_deg", "transpose"), [(0.0, True), (90.0, False), (90.0, True), (180.0, False), (-90.0, False)])
def test_a_camera_turned_by_quarters_or_exchanged_changes_nothing_once_calibrated(rotation_deg: float, transpose: bool) -> None:
    phase = white() * 0.05
    plain = scanned(phase, frame=(15, 15))
    frames, g = scanned(phase, frame=(15, 15), camera={"rotation_deg": rotation_deg, "transpose": transpose})
    for method in METHODS:
        straight, turned = image(*plain, method), image(frames, g, method)
        assert worst(turned.image, straight.image) < 1e-11
        assert worst(turned.ctf, straight.ctf) < 1e-6
        assert worst(turned.noise, straight.noise) < 1e-9
        assert correlation(image(frames, plain[1], method).image, straight.image) < 0.9, method


@pytest.mark.parametrize("transpose", [False, True])
def test_a_camera_at_any_angle_gives_the_same_image_within_its_pixels(transpose: bool) -> None:
    """The pattern's own samples are summed into squares that lie askew: edge pixels differ."""
    phase = white((40, 36)) * 0.02
    straight = image(*scanned(phase, LENS, semiangle_px=8.4, frame=(23, 23)), "ssb").image
    frames, g = scanned(phase, LENS, semiangle_px=8.4, frame=(23, 23), camera={"rotation_deg": 28.0, "transpose": transpose})
    assert correlation(image(frames, g, "ssb").image, straight) > 0.98
    wrong = replace(g, k_invA=g.k_invA @ turn(torch.tensor(0.4, dtype=torch.float64), False).T)
    assert correlation(image(frames, wrong, "ssb").image, straight) < 0.9


def test_an_elliptic_pattern_is_made_round_with_its_area_kept() -> None:
    """A circle drawn by lenses that stretch it along 20 degrees from +x toward +y comes back as a circle."""
    long, ratio, angle = 9.0, 0.08, radians(20.0)
    table = detector_frame((31, 33), (15.0, 16.0), 0.02, ratio, 20.0)  # (pixels, 2)
    plain = detector_frame((31, 33), (15.0, 16.0), 0.02)
    assert float(torch.linalg.det(torch.linalg.lstsq(plain, table).solution)) == pytest.approx(1.0, abs=1e-12)
    along = torch.tensor([sin(angle), cos(angle)], dtype=torch.float64)
    across = torch.tensor([cos(angle), -sin(angle)], dtype=torch.float64)
    seen = torch.stack([long * (1 + ratio) * along, long * across])  # the axes of the ellipse, in pixels
    round_again = seen @ torch.linalg.lstsq(plain, table).solution
    assert float(torch.linalg.vector_norm(round_again[0])) == pytest.approx(float(torch.linalg.vector_norm(round_again[1])), rel=1e-12)
    assert float(torch.linalg.vector_norm(round_again[0])) == pytest.approx(long * (1 + ratio) ** 0.5, rel=1e-12)


# The twin


def twin(ab: Aberrations) -> Aberrations:
    """chi(k) -> -chi(-k): even terms change sign, odd ones (n even) keep it."""
    signs = torch.tensor([[-1.0 if n % 2 else 1.0] * 2 for n, _ in ab.terms], dtype=torch.float64)
    return cartesian(ab.terms, ab.values_A * signs)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "parallax"])
def test_the_twin_reconstructs_the_negated_image(method: str) -> None:
    """Rotation + 180 degrees and even aberrations negated: the same data, read as the opposite phase."""
    frames, g = scanned(white() * 0.3, ODD)
    other = replace(g, k_invA=-g.k_invA, axes_invA=-g.axes_invA, aberrations=twin(g.aberrations))
    upright, twinned = image(frames, g, method), image(frames, other, method)
    assert worst(twinned.image - twinned.image.mean(), upright.image.mean() - upright.image) < 1e-10
    assert worst(twinned.ctf, upright.ctf) < 1e-10 or method == "icom"


def test_the_twin_of_plain_parallax_is_in_its_ctf() -> None:
    """Parallax images sin chi times the phase: for the twin both change sign and the image stays."""
    frames, g = scanned(white() * 0.3, LENS)
    other = replace(g, k_invA=-g.k_invA, axes_invA=-g.axes_invA, aberrations=twin(g.aberrations))
    upright, twinned = image(frames, g, "parallax"), image(frames, other, "parallax")
    assert worst(twinned.image, upright.image) < 1e-10
    assert worst(twinned.ctf[1:], -upright.ctf[1:]) < 1e-10


# Radians


@pytest.mark.parametrize("method", METHODS)
def test_images_do_not_depend_on_the_dose_and_follow_the_phase(method: str) -> None:
    frames, g = scanned(white() * 1e-4, ODD)
    stronger, _ = scanned(white() * 2e-4, ODD)
    one = image(frames, g, method)
    bright = image(ArrayFrames(array=frames.array * 731.0), g, method)
    assert worst(bright.image, one.image) < 1e-9
    assert bright.electrons == pytest.approx(731.0, rel=1e-6)
    assert image(ArrayFrames(array=frames.array * 731.0), g, method, counts_per_electron=3.4).electrons == pytest.approx(215.0, rel=1e-6)

    def flat(x: DirectImage) -> Tensor:
        return x.image - x.image.mean()

    assert worst(flat(image(stronger, g, method)), 2 * flat(one)) < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_reconstruction_is_linear_in_the_counts(method: str) -> None:
    a, g = scanned(white(seed=1) * 0.1, ODD)
    b, _ = scanned(white(seed=2) * 0.1, LENS)
    both = image(ArrayFrames(array=a.array + b.array), g, method)
    parts = image(a, g, method), image(b, g, method)
    weight = [p.electrons / both.electrons for p in parts]
    assert worst(both.image, weight[0] * parts[0].image + weight[1] * parts[1].image) < 1e-10


def test_icom_is_exact_for_a_strong_phase_on_the_whole_detector() -> None:
    """The centre of mass is the mean phase gradient under the probe, whatever the phase's size: dark field included, and only then."""
    phase = smooth(FIELD, 1, rms_rad=0.8, band=0.3)[0]
    exact, cut = (image(*scanned(phase, ODD, frame=frame), "icom") for frame in ((21, 28), (11, 11)))
    law = torch.fft.irfft2(exact.ctf * spectrum(phase), s=phase.shape)
    assert worst(exact.image, law) < 2e-3  # what scatters beyond the grid
    assert worst(cut.image, law) > 1e-2


@pytest.mark.parametrize("upsample", [1, 2])
def test_icom_weighs_every_live_pixel_of_the_frame_by_either_route(upsample: int) -> None:
    """Counts without any symmetry, dark field and a dead pixel included, against the sum written out."""
    _, g = scanned(ZERO[:13, :14], ODD)
    counts = np.random.default_rng(2).poisson(np.linspace(0.2, 9.0, 13 * 14 * 15 * 14)).reshape(13, 14, 15, 14).astype(np.float64)
    alive = torch.ones(g.frame, dtype=torch.bool)
    alive[1, 3] = False
    masked = replace(g, good=alive.flatten())
    found = image(ArrayFrames(array=counts), masked, "icom", upsample=upsample)
    qy, qx = scan_frequencies(g.scan, upsample)
    ky, kx = (g.k_invA[masked.good, i, None, None] for i in (0, 1))
    stack = torch.from_numpy(counts).permute(2, 3, 0, 1).reshape(-1, 13, 14)[masked.good]  # (pixels, Ry, Rx)
    q2 = torch.where(qy**2 + qx**2 > 0, qy**2 + qx**2, torch.inf)
    weight = (ky * qy + kx * qx) / q2
    mean = stack.mean((1, 2))
    total = float(mean.sum())  # all of the illumination falls on live pixels
    summed = (-1j * weight * dense.tiled(torch.fft.rfft2(stack), 14, upsample)).sum(0)
    law = torch.fft.irfft2(summed, s=tuple(found.image.shape)) * upsample**2 / total
    assert found.electrons == pytest.approx(total, rel=1e-12)
    assert worst(found.image, law) < 1e-11
    assert worst(found.noise, (weight**2 * mean[:, None, None]).sum(0) * upsample**2 / total**2) < 1e-11


# Noise


def repeats(method: str, count: int, given: dict[str, float], cluster: int = 1) -> tuple[float, float, Tensor, DirectImage]:
    """Mean over frequencies of found / promised variance over `count` Poisson repeats of a vacuum scan, its standard error, and the ratios.

    `cluster` counts per electron make the variance of a pixel `cluster` times its mean.
    """
    frames, g = scanned(ZERO[:13, :14], ODD)
    power, last = torch.zeros(()), None
    for seed in range(count):
        drawn = poisson(frames, 400.0, seed)
        last = image(ArrayFrames(array=drawn.array * cluster), g, method, **given)
        power = power + spectrum(last.image).abs() ** 2 / last.image.numel()
    assert last is not None
    lit = last.noise > 1e-3 * last.noise.max()
    assert float(power[~lit].sum()) < 1e-2 * float(power.sum())
    lit[:, 0] = lit[:, -1] = False  # mirror images lie in the same column there and are not independent
    ratio = (power / count / last.noise)[lit]
    return float(ratio.mean()), float((count * len(ratio)) ** -0.5), ratio, last


@pytest.mark.parametrize("method", ["ssb", "parallax", "icom"])
def test_the_promised_noise_is_the_scatter_of_poisson_repeats(method: str) -> None:
    mean, error, ratio, one = repeats(method, 40, {})
    assert abs(mean - 1) < 4 * error + 0.005
    assert float((ratio - 1).abs().max()) < 6 * 40**-0.5
    full = torch.cat([one.noise, one.noise[:, 1:-1]], 1)
    assert float(one.image.var(correction=0)) == pytest.approx(float(full.flatten()[1:].mean()), rel=0.3 if method != "icom" else 1.5)


def test_clustered_counts_raise_the_noise_by_their_dispersion() -> None:
    mean, error, _, _ = repeats("ssb", 40, {"dispersion": 3.0, "counts_per_electron": 3.0}, cluster=3)
    assert abs(mean - 1) < 4 * error + 0.005
    mean, _, _, _ = repeats("ssb", 40, {"counts_per_electron": 3.0}, cluster=3)
    assert mean == pytest.approx(3.0, rel=0.05)


# How the work is cut


@pytest.mark.parametrize("upsample", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_neither_memory_nor_block_size_changes_the_image(method: str, upsample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, g = counted()
    whole = image(frames, g, method, upsample=upsample)
    tight = image(frames, g, method, upsample=upsample, memory_bytes=30_000)
    monkeypatch.setattr(sums, "BLOCK_BYTES", 70_000)
    blocks = image(frames, g, method, upsample=upsample)
    for other in (tight, blocks):
        for name in ("image", "ctf", "noise"):
            assert worst(getattr(other, name), getattr(whole, name)) < 1e-11
        assert worst(other.halves[0], whole.halves[0]) < 1e-11


def test_several_passes_see_every_pixel_once() -> None:
    frames, g = strong()
    pixels = torch.nonzero(g.bright()).flatten().numpy()
    steps: list[tuple[int, int]] = []
    parts = list(virtual_stacks(frames, pixels, 120_000, lambda done, total: steps.append((done, total))))
    assert len(parts) > 2
    assert np.concatenate([p.pixels for p in parts]).tolist() == pixels.tolist()
    flat = frames.array.reshape(*frames.array.shape[:2], -1)
    assert all(np.array_equal(p.images, np.moveaxis(flat[:, :, p.pixels], -1, 0)) for p in parts)
    assert steps[-1][0] == steps[-1][1] and steps == sorted(steps)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_agrees(method: str) -> None:
    frames, g = counted()
    one, two = image(frames, g, method, dtype=torch.complex64), image(frames, g, method)
    assert worst(one.image.to(torch.float64), two.image) < 1e-4
    assert worst(one.ctf.to(torch.complex128), two.ctf) < 1e-4


# Half images


@pytest.mark.parametrize("upsample", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_half_images_come_from_disjoint_pixels_and_average_to_the_image(method: str, upsample: int) -> None:
    frames, g = strong()
    whole = image(frames, g, method, upsample=upsample)
    assert worst((whole.halves[0] + whole.halves[1]) / 2, whole.image) < 1e-12
    dark = torch.from_numpy(checkerboard(g.frame) == 1).reshape(g.frame)
    swapped = frames.array.copy()
    swapped[..., dark] = 0.3 * swapped[..., dark] + 0.01
    other = image(ArrayFrames(array=swapped), g, method, upsample=upsample)
    scale = other.electrons / whole.electrons
    assert worst(scale * other.halves[0], whole.halves[0]) < 1e-10
    assert worst(scale * other.halves[1], whole.halves[1]) > 1e-2


def test_half_images_share_no_noise() -> None:
    frames, g = scanned(ZERO, ODD)
    found = torch.stack([torch.stack(image(poisson(frames, 300.0, seed), g, "ssb").halves) for seed in range(12)])  # (n, 2, y, x)
    a, b = (found[:, i] - found[:, i].mean((1, 2), keepdim=True) for i in (0, 1))
    assert abs(correlation(a, b)) < 4 / a.numel() ** 0.5


def test_the_halves_of_a_strong_signal_correlate() -> None:
    frames, g = scanned(white() * 0.2, LENS)
    halves = image(frames, g, "ssb").halves
    assert frc(*halves, g.scan.pitch_A, window=False).mean(g.edge_invA) > 0.9


# Beyond the scan's Nyquist


def coarse_scan(upsample: int, samples: int = 48) -> tuple[ArrayFrames, Geometry, Tensor]:
    """White noise inside 2 k_a, C10 = 1500 A, 8 mrad, 300 kV, scanned at 0.5 A times `upsample`; the truth on the 0.5 A grid."""
    grid = Grid(shape=(samples, samples), pitch_A=(0.5, 0.5))
    edge = 8e-3 / BEAM.wavelength_A
    flat = torch.fft.ifft2(torch.fft.fft2(white(grid.shape)) * (grid.k2_invA2() < (2 * edge) ** 2)).real * 1e-5
    return *sampled(flat, grid, upsample), flat


def sampled(phase: Tensor, grid: Grid, upsample: int) -> tuple[ArrayFrames, Geometry]:
    """The scan with one detector pixel per sample of the pattern, simulated as in `tests.weak` on a field of another size."""
    step = tuple(p * upsample for p in grid.pitch_A)
    raster = tuple(n // upsample for n in grid.shape)
    dk_mrad = grid.dk_invA[0] * BEAM.wavelength_A * 1e3
    side = 2 * int(8 / dk_mrad + 2) + 1
    lens = {"C10_A": 1500.0}
    psi = probe(grid, BEAM, semiangle_mrad=8.0, aberrations=aberrations(lens), dtype=torch.complex128)
    x = Experiment(
        beam=BEAM, illumination=Illumination(grid=grid, modes=psi[None]), transfer=FarField(),
        specimen=Specimen(grid=grid, dz_A=torch.zeros(1, dtype=torch.float64), phase_rad=phase[None], at_beam=BEAM),
        detectors=(Pixels(shape=(side, side), pitch_mrad=dk_mrad, centre_px=(side // 2, side // 2)),), dose_e=torch.tensor(1.0, dtype=torch.float64),
        scan=raster_scan((raster[0], raster[1]), (step[0], step[1])),
    )
    frames = torch.cat([expected(x, part)[0] for part in torch.arange(raster[0] * raster[1]).split(256)])
    known = {"energy_eV": BEAM.energy_eV, "semiangle_mrad": 8.0, "detector_mrad": dk_mrad, "scan_step_y_A": step[0], "scan_step_x_A": step[1]}
    calibrated = Calibration(**{k: Quantity(value=v) for k, v in known.items()}, aberrations={"C10_A": Quantity(value=1500.0)})
    shape = (raster[0], raster[1], side, side)
    return ArrayFrames(array=frames.reshape(shape).numpy()), geometry(calibrated, shape)


@pytest.mark.parametrize(("upsample", "least"), [(1, 0.9999), (2, 0.998)])
def test_upsampling_recovers_the_band_beyond_nyquist_in_radians(upsample: int, least: float) -> None:
    frames, g, truth = coarse_scan(upsample)
    found = image(frames, g, "ssb", upsample=upsample)
    qy, qx = torch.fft.fftfreq(48, 0.5)[:, None].abs(), torch.fft.rfftfreq(48, 0.5)[None]
    for beyond in (False, True):
        band = (found.ctf.abs() > 0.05) & (torch.maximum(qy, qx) > (0.5 / upsample if beyond else 0.0))
        band[0, 0] = False
        seen, law = spectrum(found.image)[band], (found.ctf * spectrum(truth))[band]
        if beyond and upsample == 1:
            continue
        agreement = float((seen * law.conj()).sum().real / torch.sqrt((seen.abs() ** 2).sum() * (law.abs() ** 2).sum()))
        slope = float((seen * law.conj()).sum().real / (law.abs() ** 2).sum())
        assert agreement > least
        assert slope == pytest.approx(1.0, abs=0.01)
    assert found.image.shape == truth.shape and found.pitch_A == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("upsample", [2, 3])
def test_the_noise_of_an_upsampled_image_is_promised_too(upsample: int) -> None:
    frames, g = scanned(ZERO[:13, :14], ODD)
    power = torch.zeros(())
    count = 20
    for seed in range(count):
        found = image(poisson(frames, 400.0, seed), g, "ssb", upsample=upsample)
        power = power + spectrum(found.image).abs() ** 2 / found.image.numel()
    lit = found.noise > 0.2 * found.noise.max()
    lit[:, 0] = lit[:, -1] = False
    assert float((power / count / found.noise)[lit].mean()) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(("ry", "rx"), [(14, 15), (15, 14), (9, 8)])
@pytest.mark.parametrize("upsample", [1, 2, 3])
def test_tiling_is_the_transform_with_zeros_between_the_scan_points(ry: int, rx: int, upsample: int) -> None:
    x = torch.randn((2, ry, rx), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sparse = torch.zeros((2, ry * upsample, rx * upsample), dtype=torch.float64)
    sparse[:, ::upsample, ::upsample] = x
    assert worst(dense.tiled(torch.fft.rfft2(x), rx, upsample), torch.fft.rfft2(sparse)) < 1e-13


def test_dead_pixels_are_left_out_of_image_transfer_and_dose() -> None:
    phase = white() * 1e-5
    frames, g = scanned(phase, ODD)
    alive = torch.ones(g.frame, dtype=torch.bool)
    alive[6, 8] = alive[8, 5] = False
    broken = frames.array.copy()
    broken[:, :, ~alive] = 77.0
    masked = replace(g, good=alive.flatten())
    for method in ("ssb", "parallax"):
        found = image(ArrayFrames(array=broken), masked, method)
        error = (spectrum(found.image) / spectrum(phase) - found.ctf).abs()
        error[0, 0] = 0
        assert float(error.max()) < 1e-3
        assert found.electrons == pytest.approx(1.0, rel=1e-3)


def test_the_default_is_single_precision_and_finite_pixels() -> None:
    frames, g = strong()
    plain = reconstruct(frames, g, "ssb")
    assert worst(plain.image.to(torch.float64), image(frames, g, "ssb", finite_pixels=True).image) < 1e-4
    assert worst(plain.ctf.to(torch.complex128), image(frames, g, "ssb").ctf) > 1e-2
