"""Laws of images from scattered positions: a raster is a special case, jitter and spirals and known drift cost nothing, vacuum stays empty."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from math import pi

import numpy as np
import pytest
import torch
from torch import Tensor

import tests.weak as weak
from exitwave.core import Grid
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.data import ArrayFrames
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.image import DirectImage, optics_of
from exitwave.recon.direct.overlap import gamma
from exitwave.recon.direct.scattered import METHODS, reconstruct_scattered
from exitwave.recon.direct.scattered_field import Field, field_of, spacing_A
from exitwave.recon.direct.scattered_lsq import _problem
from exitwave.recon.direct.scattered_operator import normal
from exitwave.recon.direct.scattered_transform import Scattered, density, local_area
from exitwave.wave import Pixels, Scan, expected, raster_scan, spiral_scan
from tests.weak import ODD, poisson, scanned, spectrum, white

SIDE, EXTENT_A = 40, 20.0
PITCH_A = EXTENT_A / SIDE
TORUS = Field(grid=Grid(shape=(SIDE, SIDE), pitch_A=(PITCH_A, PITCH_A)), origin_A=(0.0, 0.0))
FOCUS = {"C10_A": 1500.0}
SEMIANGLE_PX = 8e-3 / weak.BEAM.wavelength_A * EXTENT_A  # 8 mrad


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setup of the house for upsampling: 300 kV, 8 mrad, 20 A."""
    monkeypatch.setattr(weak, "EXTENT_A", EXTENT_A)
    monkeypatch.setattr(weak, "DK", 1 / EXTENT_A)
    monkeypatch.setattr(weak, "DK_MRAD", 1e3 * weak.BEAM.wavelength_A / EXTENT_A)


def frames_at(
    positions_A: Tensor, phase_rad: Tensor, lens: Mapping[str, float] = FOCUS, frame: tuple[int, int] = (23, 24)
) -> tuple[ArrayFrames, Geometry]:
    """Mean frames (1, n, ky, kx) of a periodic field at any positions."""
    centre = (frame[0] // 2, frame[1] // 2)
    camera = Pixels(shape=frame, pitch_mrad=weak.DK_MRAD, centre_px=centre)
    x = weak.experiment(phase_rad, TORUS.grid, lens, SEMIANGLE_PX, camera, Scan(positions_A=positions_A))
    frames = torch.cat([expected(x, part)[0] for part in torch.arange(len(positions_A)).split(256)])
    known = weak.calibration(lens, SEMIANGLE_PX, (1.0, 1.0), centre_y_px=float(centre[0]), centre_x_px=float(centre[1]))
    shape = (1, len(positions_A), *frame)
    return ArrayFrames(array=frames.reshape(shape).numpy()), geometry(known, shape)


def made(frames: ArrayFrames, g: Geometry, positions_A: Tensor, method: str, field: Field | None = TORUS, **given: object) -> DirectImage:
    return reconstruct_scattered(frames, g, positions_A, method, field=field, finite_pixels=False, **given)  # type: ignore[arg-type]


def agreement(image: DirectImage, truth: Tensor, edge_invA: float, low_invA: float = 0.0) -> float:
    """Correlation with truth x transfer in the band above `low_invA`."""
    q = torch.sqrt(torch.fft.fftfreq(SIDE, PITCH_A)[:, None] ** 2 + torch.fft.rfftfreq(SIDE, PITCH_A)[None] ** 2)
    band = (q < 1.9 * edge_invA) & (q > low_invA)
    return correlation(*(torch.fft.irfft2(torch.where(band, s, 0), s=truth.shape) for s in (spectrum(image.image), image.ctf * spectrum(truth))))


def correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / torch.sqrt((a**2).sum() * (b**2).sum()))


def jittered(step_px: int, rms_px: float, seed: int = 3) -> Tensor:
    """A raster over the whole field, moved by normal deviates of `rms_px` output pixels."""
    base = raster_scan((SIDE // step_px,) * 2, (PITCH_A * step_px,) * 2).positions_A
    moved = base + rms_px * PITCH_A * torch.randn(base.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.remainder(moved, EXTENT_A)


# A raster is a special case


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("every", "upsample"), [((1, 1), 1), ((3, 2), 2)])
def test_an_exact_raster_gives_the_rasters_image(method: str, every: tuple[int, int], upsample: int) -> None:
    """Non-square samples, odd and even sides, odd aberrations. The image's mean holds no phase."""
    if upsample > 1 and method in ("lsq", "obf", "wiener"):
        pytest.skip("rasters solve aliases with cut eigenvalues, scattered positions with a ridge: the laws on jitter hold them")
    frames, g = scanned(0.02 * white(), ODD, every=every)
    frames = ArrayFrames(array=frames.array * 1e5)
    there = raster_scan((21 // every[0], 28 // every[1]), g.scan.pitch_A).positions_A
    shape = (g.scan.shape[0] * upsample, g.scan.shape[1] * upsample)
    field = Field(grid=Grid(shape=shape, pitch_A=(g.scan.pitch_A[0] / upsample, g.scan.pitch_A[1] / upsample)), origin_A=(0.0, 0.0))
    raster = weak.image(frames, g, method, upsample=upsample)
    scattered = made(frames, g, there, method, field, dtype=torch.complex128)
    flat = [one - one.mean() for one in (scattered.image, raster.image)]
    assert float((flat[0] - flat[1]).abs().max() / flat[1].abs().max()) < 1e-5
    assert float((scattered.ctf - raster.ctf).abs()[0, 1:].max()) < 1e-5
    torch.testing.assert_close(scattered.noise.reshape(-1)[1:], raster.noise.reshape(-1)[1:], rtol=1e-5, atol=1e-5 * float(raster.noise.max()))
    assert scattered.electrons == pytest.approx(raster.electrons, rel=1e-9)
    for half in (0, 1):
        a, b = (one.halves[half] - one.halves[half].mean() for one in (scattered, raster))
        assert float((a - b).abs().max() / b.abs().max()) < 1e-5


# Jitter, drift, spirals


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("rms_px", [0.0, 0.25, 0.5, 1.0])
def test_jitter_costs_nothing_even_beyond_the_scans_nyquist(rms_px: float) -> None:
    """White noise, C10 1500 A, 8 mrad, 300 kV, one position in four pixels. Regridding falls from 0.997 to 0.711 above the scan's Nyquist."""
    truth, there = 1e-4 * white((SIDE, SIDE), seed=1), jittered(2, rms_px)
    frames, g = frames_at(there, truth)
    for method, whole, above in (("ssb", 0.997, 0.99), ("flipped-parallax", 0.992, 0.95), ("lsq", 0.9999, 0.9999), ("obf", 0.9999, 0.9999)):
        image = made(frames, g, there, method)
        assert agreement(image, truth, g.edge_invA) > whole, method
        assert agreement(image, truth, g.edge_invA, 0.5 / (2 * PITCH_A)) > above, method


@pytest.mark.usefixtures("wide")
def test_known_drift_is_undone() -> None:
    """Rows that slide by 0.3 and 0.4 A each. Read as a raster, the same frames give another image."""
    truth = 1e-4 * white((SIDE, SIDE), seed=4)
    base = raster_scan((20, 20), (2 * PITCH_A, 2 * PITCH_A)).positions_A
    time = torch.arange(len(base), dtype=torch.float64)[:, None] / len(base)
    there = torch.remainder(base + time * torch.tensor([3.0, -4.0], dtype=torch.float64), EXTENT_A)
    frames, g = frames_at(there, truth)
    for method, least in (("ssb", 0.99), ("lsq", 0.9999)):
        assert agreement(made(frames, g, there, method), truth, g.edge_invA) > least, method
    assert agreement(made(frames, g, base, "ssb"), truth, g.edge_invA) < 0.8


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("method", "least"), [("ssb", 0.99), ("flipped-parallax", 0.99), ("icom", 0.95), ("obf", 0.98)])
def test_a_spiral_is_as_good_as_a_raster(method: str, least: float) -> None:
    """Same specimen, same counts per position and area: correlation with truth inside the region that both scan."""
    truth, middle, count = 0.05 * white((SIDE, SIDE), seed=1), 9.9, 24
    scans = {
        "raster": raster_scan((count, count), (PITCH_A, PITCH_A), (middle - (count - 1) / 2 * PITCH_A,) * 2).positions_A,
        "spiral": spiral_scan(count**2, PITCH_A, (middle, middle)).positions_A,
    }
    r = torch.arange(SIDE, dtype=torch.float64) * PITCH_A - middle
    region = r[:, None] ** 2 + r[None] ** 2 < 4.0**2
    found = {}
    for name, there in scans.items():
        frames, g = frames_at(there, truth, {"C10_A": 400.0})
        image = made(poisson(frames, 1e6, 3), g, there, method)
        band = torch.fft.irfft2(image.ctf * spectrum(truth), s=truth.shape)
        found[name] = correlation(image.image[region], band[region])
    assert found["raster"] > (0.98 if method != "icom" else 0.85)
    assert found["spiral"] >= least * found["raster"], found


@pytest.mark.usefixtures("wide")
def test_the_field_may_lie_anywhere() -> None:
    """Positions and field moved together by any distance give the same image; a finer pitch the same specimen."""
    truth, there = 1e-4 * white((SIDE, SIDE), seed=1), jittered(2, 0.5)
    frames, g = frames_at(there, truth)
    here = made(frames, g, there, "ssb", dtype=torch.complex128).image
    field = Field(grid=TORUS.grid, origin_A=(-713.4, 55.1))
    away = made(frames, g, there + torch.tensor(field.origin_A, dtype=torch.float64), "ssb", field, dtype=torch.complex128).image
    assert float((away - here).abs().max() / here.abs().max()) < 1e-8
    fine = Field(grid=Grid(shape=(2 * SIDE, 2 * SIDE + 10), pitch_A=(PITCH_A / 2, EXTENT_A / (2 * SIDE + 10))), origin_A=(0.0, 0.0))
    finer = made(frames, g, there, "lsq", fine)
    coarse = made(frames, g, there, "lsq")
    low = torch.fft.rfft2(finer.image)[:8, :8] / (fine.grid.shape[0] * fine.grid.shape[1])
    assert float((low - torch.fft.rfft2(coarse.image)[:8, :8] / SIDE**2).abs().max() / low.abs().max()) < 1e-3


# Vacuum, radians, noise


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("method", ["ssb", "parallax", "icom", "lsq"])
def test_vacuum_is_empty_wherever_positions_are(method: str) -> None:
    """The mean pattern is large and has structure; nothing of it, and of the hole in the scan, is in the image."""
    there = jittered(2, 0.7)
    there = there[(there - 8.0).abs().amax(1) > 2.5]
    frames, g = frames_at(there, torch.zeros(TORUS.grid.shape, dtype=torch.float64), ODD)
    assert float(made(frames, g, there, method, dtype=torch.complex128).image.abs().max()) < 1e-9


@pytest.mark.usefixtures("wide")
def test_radians_do_not_depend_on_dose_or_density() -> None:
    """The slope of image over transfer x truth is one, on a raster and on half of its positions drawn at random, seen twice."""
    truth = 1e-4 * white((SIDE, SIDE), seed=1)
    there = jittered(1, 0.3)
    part = there[torch.randperm(len(there), generator=torch.Generator().manual_seed(1))[:1200]]
    for positions in (there, torch.cat([part, part])):
        frames, g = frames_at(positions, truth)
        image = made(ArrayFrames(array=frames.array * 731.0), g, positions, "lsq")
        wanted = torch.fft.irfft2(image.ctf * spectrum(truth), s=truth.shape)
        assert float((image.image * wanted).sum() / (wanted**2).sum()) == pytest.approx(1.0, abs=3e-3)
        assert image.electrons == pytest.approx(731.0, rel=0.01)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("method", "tolerance"), [("ssb", 0.1), ("icom", 0.1), ("lsq", 0.15)])
def test_the_stated_noise_is_the_scatter_of_repeats(method: str, tolerance: float) -> None:
    there = jittered(2, 0.5)
    frames, g = frames_at(there, torch.zeros(TORUS.grid.shape, dtype=torch.float64))
    images = [made(poisson(frames, 400.0, seed), g, there, method) for seed in range(6)]
    found = torch.stack([spectrum(one.image) for one in images]).var(0, unbiased=True) / SIDE**2
    stated = images[0].noise
    seen = images[0].ctf.abs() > 0.3 * images[0].ctf.abs().max()
    seen[:, 0] = False
    assert float((found[seen] / stated[seen]).mean()) == pytest.approx(1.0, abs=tolerance)


def test_areas_fill_the_region_and_follow_the_density() -> None:
    """Positions seen twice stand for half as much each; a raster's are exactly equal."""
    there = raster_scan((12, 10), (0.7, 0.7)).positions_A
    even = density(there, (8.4, 7.0))
    torch.testing.assert_close(even, torch.full_like(even, 0.49), rtol=1e-7, atol=0)
    twice = density(torch.cat([there, there[:60]]), (8.4, 7.0))
    assert float(twice[-60:].sum() + twice[:60].sum()) == pytest.approx(60 * 0.49, rel=0.05)
    spiral = spiral_scan(900, 0.5, (0.0, 0.0)).positions_A
    assert local_area(spiral, (30.0, 30.0)) == pytest.approx(0.25, rel=0.04)
    assert spacing_A(there) == pytest.approx(0.7, rel=1e-6)


# The pieces


def test_sums_of_exponentials_are_what_they_say() -> None:
    rng = np.random.default_rng(5)
    positions, values = torch.from_numpy(rng.uniform(-9, 9, (37, 2))), rng.normal(size=(5, 37))
    for shape in ((12, 15), (13, 16)):
        field = Field(grid=Grid(shape=shape, pitch_A=(0.5, 0.4)), origin_A=(-1.3, 2.2))
        found = Scattered(positions, field, 1e-12)(values)
        qy, qx = torch.fft.fftfreq(shape[0], 0.5, dtype=torch.float64), torch.fft.rfftfreq(shape[1], 0.4, dtype=torch.float64)
        r = positions - torch.tensor(field.origin_A, dtype=torch.float64)
        wave = torch.exp(-2j * pi * (qy[:, None, None] * r[:, 0] + qx[None, :, None] * r[:, 1]))  # (y, h, n)
        torch.testing.assert_close(found, torch.einsum("yhn,mn->myh", wave, torch.from_numpy(values).to(wave.dtype)), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("wide")
def test_the_normal_operator_is_the_model_and_its_adjoint() -> None:
    """Against the model summed position by position, each pixel's mean taken off."""
    there = jittered(4, 1.0)
    _, g = frames_at(there, torch.zeros(TORUS.grid.shape, dtype=torch.float64), ODD)
    g = replace(g, good=torch.arange(len(g.good)) % 37 == 0)
    x = _problem(g, optics_of(g, False), there, TORUS, 2**28, torch.complex128)
    generator = torch.Generator().manual_seed(2)
    whole = torch.fft.rfft2(torch.randn((SIDE, SIDE), generator=generator, dtype=torch.float64))
    rows = torch.round(x.qy[:, 0] * EXTENT_A).to(torch.int64)
    phi = torch.where(x.inside, whole[rows][:, : x.qx.shape[1]], 0)
    wave = torch.exp(2j * pi * (there[:, 0, None, None] * x.qy + there[:, 1, None, None] * x.qx))  # (n, y, h)
    twice = torch.where(torch.arange(x.qx.shape[1]) == 0, 1.0, 2.0)
    wanted = torch.zeros_like(phi)
    for k, share in zip(x.k, x.share, strict=True):
        r = 1j * gamma(x.optics, k[0], k[1], x.qy, x.qx, torch.complex128)
        data = (twice * r * phi * wave).real.sum((1, 2)) / SIDE**2  # (n,)
        wanted += r.conj() / share * ((data - data.mean())[:, None, None] * wave.conj()).sum(0)
    torch.testing.assert_close(normal(x, phi[None])[0][x.inside], wanted[x.inside], rtol=1e-7, atol=1e-7 * float(wanted.abs().max()))


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("method", "budget"), [("ssb", 900_000), ("lsq", 1_100_000)])
def test_the_memory_changes_nothing_but_the_passes(method: str, budget: int) -> None:
    there = jittered(2, 0.5)
    frames, g = frames_at(there, 0.01 * white((SIDE, SIDE), seed=1))
    passes: list[int] = []
    small = made(frames, g, there, method, memory_bytes=budget, progress=lambda done, total: passes.append(total))
    large = made(frames, g, there, method)
    assert max(passes) > len(there)
    assert float((small.image - large.image).abs().max() / large.image.abs().max()) < 1e-4


# What cannot be


@pytest.mark.usefixtures("wide")
def test_positions_that_cannot_be_are_refused() -> None:
    there = jittered(4, 0.5)
    frames, g = frames_at(there, torch.zeros(TORUS.grid.shape, dtype=torch.float64))
    line = torch.stack([torch.linspace(0, 9, len(there)), 2 * torch.linspace(0, 9, len(there))], 1).to(torch.float64)
    nan = there.clone()
    nan[7, 1] = torch.nan
    for positions, words in ((there[1:], "one position"), (nan, "position 7"), (line, "one line"), (there.T, "y then x"), (there * 0, "one line")):
        with pytest.raises(InputError, match=words):
            made(frames, g, positions, "ssb", None)
    with pytest.raises(InputError, match="no method for scattered"):
        made(frames, g, there, "wdd")
    fields = (({"field_A": (3.0, 30.0)}, "smaller than the scan along y"), ({"pitch_A": -1.0}, "pitch"), ({"pitch_A": 50.0}, "pixels along"))
    for given, words in fields:
        with pytest.raises(InputError, match=words):
            field_of(g, there, **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no signal"):
        made(ArrayFrames(array=frames.array * 0), g, there, "ssb")
    with pytest.raises(MemoryBudgetError, match="field does not fit"):
        made(frames, g, there, "lsq", field_of(g, there, field_A=(3000.0, 3000.0)), memory_bytes=2**26)


def test_finufft_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(InputError, match="finufft"):
        density(raster_scan((4, 5), (1.0, 1.0)).positions_A, (4.0, 5.0))


@pytest.mark.usefixtures("wide")
def test_the_field_holds_the_scan_and_what_its_probe_reaches() -> None:
    there = jittered(4, 0.5) + 300.0
    _, g = frames_at(there - 300.0, torch.zeros(TORUS.grid.shape, dtype=torch.float64))
    field = field_of(g, there)
    reach = g.beam.wavelength_A * FOCUS["C10_A"] * g.edge_invA
    low, high = there.amin(0), there.amax(0)
    for axis in (0, 1):
        assert field.origin_A[axis] < float(low[axis]) - reach
        assert field.origin_A[axis] + field.grid.extent_A[axis] > float(high[axis]) + reach
    assert field.grid.nyquist_invA == pytest.approx(2 * g.edge_invA)
