"""Laws of guide functions: uncut ones are the dense methods, cut ones are off by what they state, free positions and partial scans are right."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from exitwave.core import aberrations
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.core.threads import set_threads
from exitwave.data import ArrayFrames, EventChunk, FrameChunk
from exitwave.flow import accumulate_events
from exitwave.recon.direct import DirectImage, Geometry
from exitwave.recon.direct.linear import LINEAR
from exitwave.recon.direct.wdd import reconstruct_wdd
from exitwave.recon.live import live_phase
from exitwave.recon.live.field import Field, free_field, on_field
from exitwave.recon.live.guided import GuidedState, LiveGuides
from exitwave.recon.live.guides import Guides, half_widths, make_guides
from tests.generic import worst
from tests.laws.test_events_cube import counts as many
from tests.laws.test_events_cube import cut, events_of, half_way, live, serpentine, stream
from tests.weak import image, poisson, scanned, white

ALL = (10**6, 10**6)
RIDGE = 0.01


@cache
def counts() -> tuple[ArrayFrames, Geometry]:
    """Odd, non-square, 30 electrons per position, some pixels dead."""
    frames, g = many()
    return ArrayFrames(array=np.random.default_rng(6).binomial(frames.array, 0.075).astype(np.uint16)), g


@cache
def library(method: str, upsample: int = 1, half_width: tuple[int, int] = ALL, phases: int = 1, double: bool = True,
            shape: tuple[int, int] | None = None) -> Guides:
    g = counts()[1]
    canvas = g if shape is None else on_field(g, Field(shape=shape))
    return make_guides(canvas, method, upsample=upsample, half_width=half_width, phases=phases, finite_pixels=False,
                       ridge=RIDGE if method == "wdd" else None, dtype=torch.complex128 if double else torch.complex64)


def guided(method: str, upsample: int = 1, **given: object) -> LiveGuides:
    g = counts()[1]
    return LiveGuides(g=g, guides=library(method, upsample), field=Field(shape=g.scan.shape), **given)  # type: ignore[arg-type]


def dense(frames: ArrayFrames, g: Geometry, method: str, upsample: int = 1) -> DirectImage:
    if method == "wdd":
        return reconstruct_wdd(frames, g, upsample=upsample, ridge=RIDGE, finite_pixels=False, dtype=torch.complex128)
    return image(frames, g, method, upsample=upsample)


def fed(accumulator: LiveGuides, frames: ArrayFrames, seed: int | None = 1) -> GuidedState:
    state = accumulator.start(frames.shape)
    for chunk in stream(frames, seed).chunks():
        state = accumulator.add(state, chunk)
    return state


def rms(image: torch.Tensor) -> float:
    return float(image.std(correction=0))


# Uncut guides


@pytest.mark.parametrize("upsample", [1, 2])
@pytest.mark.parametrize("method", LINEAR)
def test_uncut_guides_make_the_dense_image(method: str, upsample: int) -> None:
    """Image, halves, transfer and noise, of events in any order."""
    frames, g = counts()
    expected = dense(live(frames, g), g, method, upsample)
    for double, limit in ((True, 1e-12), (False, 1e-5)):
        accumulator = replace(guided(method, upsample), guides=library(method, upsample, double=double))
        found = accumulate_events(stream(frames), accumulator, frames.shape)
        for one, other in zip([found.image, *found.halves, found.noise], [expected.image, *expected.halves, expected.noise], strict=True):
            assert worst(one, other) <= limit
        assert worst(found.ctf, expected.ctf) <= (limit if method != "icom" else 1e-5)  # whose dense transfer is single precision
        assert found.electrons == pytest.approx(expected.electrons, rel=1e-12)
        assert (found.pitch_A, found.pixels, found.method, found.approximation) == (expected.pitch_A, expected.pixels, method, 0.0)
        if expected.amplitude is not None:
            assert worst(found.amplitude, expected.amplitude) <= limit


def test_chunks_threads_and_merging_change_only_the_rounding() -> None:
    frames, g = counts()
    accumulator = replace(guided("ssb"), guides=library("ssb", half_width=(5, 4), double=False), halves="random")
    position, pixel = events_of(frames.array)
    once = accumulator.add(accumulator.start(frames.shape), EventChunk(position=position, pixel=pixel))
    parts = accumulator.start(frames.shape)
    for chunk in cut(position.astype(np.int32), pixel.astype(np.int32), list(range(0, len(position), 3011))):
        parts = accumulator.add(parts, chunk)
    assert worst(torch.from_numpy(once.hot), torch.from_numpy(parts.hot)) < 1e-5 and np.abs(once.hot).max() > 0
    assert np.array_equal(once.exposure, parts.exposure) and np.array_equal(once.patterns, parts.patterns)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            set_threads(threads)
            again = accumulator.add(accumulator.start(frames.shape), EventChunk(position=position, pixel=pixel))
            assert np.array_equal(once.hot, again.hot) and np.array_equal(once.cold, again.cold)
    finally:
        set_threads(before)
    assert once.events == parts.events and np.array_equal(once.numbers, parts.numbers)
    first, second = (accumulator.add(accumulator.start(frames.shape), c) for c in cut(position, pixel, [7001]))
    image_of_once = accumulator.view(once).image
    assert worst(accumulator.view(once).image, image_of_once) == 0.0
    both = accumulator.merge(first, second)
    assert both.events == once.events and np.array_equal(both.exposure.sum(0), once.exposure.sum(0))
    assert worst(accumulator.view(both).image, image_of_once) < 1e-5
    assert g.frame == (15, 14)


def test_frames_are_as_many_events_as_they_have_counts() -> None:
    frames, _ = counts()
    accumulator = replace(guided("ssb"), guides=library("ssb", half_width=(3, 4), double=False))
    array = frames.array[:2].reshape(-1, *frames.shape[2:]).astype(">u2")
    position = np.arange(len(array))
    position[3] = -1
    state = accumulator.add(accumulator.start(frames.shape), FrameChunk(position=position, frames=array))
    n, k = np.nonzero(array.reshape(len(array), -1))
    times = array.reshape(len(array), -1)[n, k].astype(np.int64)
    other = accumulator.add(accumulator.start(frames.shape), EventChunk(position=np.repeat(position[n], times), pixel=np.repeat(k, times)))
    assert np.array_equal(state.cold, other.cold) and np.array_equal(state.hot, other.hot) and np.array_equal(state.numbers, other.numbers)
    assert state.rejected.off_scan == int(array[3].sum())


# Cut guides


def convolved(frames: ArrayFrames, guides: Guides) -> torch.Tensor:
    """The image of cut guides by circular convolution of virtual images, no events, no rims."""
    (ny, nx), u, total = guides.canvas, guides.upsample, np.zeros(guides.canvas)
    for row, k in enumerate(guides.pixels):
        seen = np.zeros(guides.canvas)
        seen[::u, ::u] = frames.array.reshape(*frames.shape[:2], -1)[..., k]
        kernel = np.zeros(guides.canvas)
        y, x = (guides.corner[row][axis] + np.arange(guides.size[axis]) for axis in (0, 1))
        np.add.at(kernel, np.ix_(y % ny, x % nx), guides.stencils[row])
        total += np.fft.ifft2(np.fft.fft2(seen) * np.fft.fft2(kernel)).real
    return torch.from_numpy(total)


@pytest.mark.parametrize(("upsample", "half_width"), [(1, (4, 3)), (2, (6, 11)), (1, (10, 7))])
def test_cut_guides_wrap_along_both_axes(upsample: int, half_width: tuple[int, int]) -> None:
    frames, g = counts()
    guides = library("ssb", upsample, half_width)
    assert guides.size != guides.canvas
    found = accumulate_events(stream(frames), replace(guided("ssb"), guides=guides), frames.shape)
    expected = convolved(frames, guides)
    spectrum = torch.fft.fft2(expected)
    spectrum[:: g.scan.shape[0], :: g.scan.shape[1]] *= float(upsample == 1)
    expected = torch.fft.ifft2(spectrum).real
    scale = float((found.image * expected).sum() / (expected**2).sum())
    assert worst(found.image, expected * scale) < 1e-12
    assert found.approximation > 0.05


@cache
def fine() -> tuple[ArrayFrames, Geometry]:
    """A scan with several steps to the resolution, of a specimen whose spectrum falls off."""
    shape = (45, 48)
    spectrum = torch.fft.rfft2(white(shape))
    qy, qx = torch.fft.fftfreq(45)[:, None] * 45, torch.fft.rfftfreq(48)[None] * 48
    specimen = torch.fft.irfft2(spectrum / (1 + torch.sqrt(qy**2 + qx**2) / 3), s=shape)
    return scanned(specimen / specimen.std() * 0.1)


@pytest.mark.parametrize("dose", [0.3, 20.0])
@pytest.mark.parametrize("method", ["parallax", "flipped-parallax", "ssb", "wdd"])
def test_the_stated_error_is_the_true_one(method: str, dose: float) -> None:
    """Where noise decides and where the specimen does. (An image by WDD of noise alone is no linear function of it.)"""
    means, g = fine()
    frames = poisson(means, dose if method != "wdd" else 30 * dose, 7)
    ridge = RIDGE if method == "wdd" else None
    exact = dense(frames, g, method).image
    for half_width in ((4, 4), (9, 7), (14, 15)):
        guides = make_guides(g, method, half_width=half_width, finite_pixels=False, ridge=ridge)
        found = accumulate_events(stream(frames), LiveGuides(g=g, guides=guides, field=Field(shape=g.scan.shape)), frames.shape)
        true = rms(found.image - exact) / rms(exact)
        assert found.approximation == pytest.approx(true, rel=0.2), (half_width, true)


def test_stencils_lie_where_their_guides_are() -> None:
    """A point on its own pixel's shift: the same windows a few steps away, or at the mirrored shift, have missed it."""
    g = replace(fine()[1], aberrations=aberrations({"C10_A": 350.0, "C12_A": 90.0, "phi12_deg": 30.0}))
    full, cut_off = (make_guides(g, "parallax", half_width=w, finite_pixels=False) for w in (ALL, (6, 5)))
    whole = np.stack([np.roll(s, tuple(c), (0, 1)) for s, c in zip(full.stencils, full.corner, strict=True)])

    def kept(corner: np.ndarray) -> float:
        y, x = (corner[:, axis, None] + np.arange(cut_off.size[axis]) for axis in (0, 1))
        return float((whole[np.arange(len(whole))[:, None, None], y[:, :, None] % 45, x[:, None, :] % 48] ** 2).sum())

    here = kept(cut_off.corner)
    assert here == pytest.approx(float((cut_off.stencils**2).sum()), rel=1e-5)
    assert here + float(cut_off.lost.sum()) == pytest.approx(float((whole**2).sum()), rel=0.02)  # but for the Nyquist frequency of even sides
    moved = [cut_off.corner + move for move in ((9, 0), (-9, 0), (0, 9), (0, -9))]
    assert here > 0.95 * float((whole**2).sum())
    assert all(kept(corner) < 0.6 * here for corner in (*moved, -cut_off.corner - cut_off.size))


def test_the_geometry_says_how_far_guides_reach() -> None:
    """Twice the shift at the rim, 2 C10 alpha for defocus alone, in fine pixels, or half a shift less; deconvolution reaches further."""
    g = replace(fine()[1], aberrations=aberrations({"C10_A": -400.0}))
    furthest = 400 * g.beam.wavelength_A * float(torch.linalg.vector_norm(g.k_invA[g.bright()], dim=1).max())
    for method, times in (("parallax", 2), ("wdd", 3), ("ssb", 1.5)):
        for found, pitch in zip(half_widths(g, 2, method), g.scan.pitch_A, strict=True):
            assert found == np.ceil(2 * times * furthest / pitch) + 4


# Scans half done


@pytest.mark.parametrize(("upsample", "half_width"), [(1, ALL), (2, ALL), (2, (5, 7))])
@pytest.mark.parametrize("method", ["parallax", "ssb", "icom", "obf"])
def test_a_scan_half_done_has_no_background(method: str, upsample: int, half_width: tuple[int, int]) -> None:
    """As for the count cube: 10 % of structure in the pattern of a vacuum, two ways to count exposure, a row half done backwards."""
    frames, g = counts()
    shape, ranks = frames.shape, serpentine(frames.shape[:2])
    random = np.random.default_rng(4)
    lit = (frames.array.mean((0, 1)) > 0.5) * np.rint(random.normal(10, 1, shape[2:])).clip(1)
    scan = half_way(np.broadcast_to(lit.astype(np.uint16), shape), ranks, 11 * 28 + 9)
    specimen = rms(dense(live(frames, g), g, method, upsample).image)
    for fill in ("reached", "events", "none"):
        accumulator = replace(guided(method), guides=library(method, upsample, half_width), order=ranks, fill=fill)
        found = accumulator.view(fed(accumulator, scan, seed=None)).image
        background = float((found - found.mean()).abs().max()) / specimen
        assert background > 0.02 if fill == "none" else background <= 1e-10, fill


@pytest.mark.parametrize("halves", ["detector", "random"])
@pytest.mark.parametrize("fill", ["reached", "events", "none"])
def test_a_running_scan_is_that_of_the_count_cube(fill: str, halves: str) -> None:
    """Image, halves, noise and electrons of two executors."""
    frames, g = counts()
    scan = half_way(frames.array, np.arange(588).reshape(21, 28), 300)
    accumulator = replace(guided("ssb", 2), fill=fill, halves=halves)
    cube = replace(live_phase(g, "ssb", upsample=2, sets=1 if halves == "detector" else 2, dtype=torch.complex128), fill=fill, finite_pixels=False)
    state = cube.start(scan.shape)
    for chunk in stream(scan, seed=None).chunks():
        state = cube.add(state, chunk)
    found, expected = accumulator.view(fed(accumulator, scan, seed=None)), cube.view(state)
    for one, other in zip([found.image, *found.halves, found.noise], [expected.image, *expected.halves, expected.noise], strict=True):
        assert worst(one, other) < 1e-12
    assert found.electrons == pytest.approx(expected.electrons, rel=1e-12)


# Free positions


def test_positions_between_the_scan_points_move_the_image_with_them() -> None:
    """All places half a step down and a quarter to the right, round the edges: the image lies so, to rounding."""
    frames, g = counts()
    at = np.indices((21, 28)).reshape(2, -1).T + [0.5, -3.25]
    qy, qx = torch.fft.fftfreq(42, dtype=torch.float64)[:, None], torch.fft.fftfreq(56, dtype=torch.float64)[None]
    accumulator = LiveGuides(g=g, guides=library("ssb", 2, phases=2), field=Field(shape=(21, 28), at=at))
    found, expected = accumulator.finish(fed(accumulator, frames)), dense(live(frames, g), g, "ssb", 2)
    moved = torch.fft.fft2(expected.image) * torch.exp(-2j * torch.pi * (qy * 1.0 + qx * -6.5))
    difference = torch.fft.fft2(found.image) - moved
    difference[:, 28] = 0  # a real image has no half a shift of its Nyquist frequency
    assert float(difference.abs().max()) < 1e-10 * float(moved.abs().max())
    assert worst(found.noise, expected.noise) < 1e-10


def test_any_positions_on_a_field_with_a_margin() -> None:
    """Scattered positions, a few unknown: the sum of guides at their true places, to the error that is stated for rounding and cutting."""
    frames, g = counts()
    random = np.random.default_rng(8)
    at = np.indices((21, 28)).reshape(2, -1).T + random.uniform(-0.7, 0.7, (588, 2))
    at[[5, 300]] = np.nan
    field = free_field(at, margin_px=6.0)
    canvas = on_field(g, field)
    position, pixel = events_of(frames.array)
    few = random.choice(len(position), 3000, replace=False)
    chunk = EventChunk(position=position[few], pixel=pixel[few])
    exact = summed(chunk, canvas, field)
    errors = []
    for phases in (1, 4):
        guides = make_guides(canvas, "ssb", half_width=(9, 9), phases=phases, finite_pixels=False)
        accumulator = LiveGuides(g=g, guides=guides, field=field)
        state = accumulator.add(accumulator.start(frames.shape), chunk)
        found = accumulator.finish(state)
        assert found.image.shape == field.shape and state.rejected.off_scan == int(np.isin(chunk.position, [5, 300]).sum())
        scale = float((found.image * exact).sum() / (exact**2).sum())
        true = rms(found.image / scale - exact) / rms(exact)
        assert found.approximation == pytest.approx(true, rel=0.2)
        errors.append(true)
    assert errors[1] < 0.75 * errors[0]


def summed(chunk: EventChunk, canvas: Geometry, field: Field) -> torch.Tensor:
    """sum_n g_k(n)(r - R_n) less the mean pattern at all places, frequency by frequency, at the places themselves."""
    guides = make_guides(canvas, "ssb", half_width=ALL, finite_pixels=False, dtype=torch.complex128)
    rows = np.full(210, -1)
    rows[guides.pixels] = np.arange(len(guides.pixels))
    assert field.at is not None
    places, row = field.at[chunk.position], rows[chunk.pixel]
    ok = np.isfinite(places).all(1) & (row >= 0)
    spectra = np.fft.fft2(np.stack([np.roll(s, tuple(c), (0, 1)) for s, c in zip(guides.stencils, guides.corner, strict=True)]))
    qy, qx = np.fft.fftfreq(field.shape[0]), np.fft.fftfreq(field.shape[1])

    def carried(points: np.ndarray) -> np.ndarray:
        return np.exp(-2j * np.pi * points[:, :1] * qy)[:, :, None] * np.exp(-2j * np.pi * points[:, 1:] * qx)[:, None, :]

    total = np.zeros(field.shape, complex)
    pattern = np.bincount(row[ok], minlength=len(guides.pixels)) / len(field.at[np.isfinite(field.at).all(1)])
    for part in np.array_split(np.flatnonzero(ok), 20):
        total += (spectra[row[part]] * carried(places[part])).sum(0)
    known = field.at[np.isfinite(field.at).all(1)]
    total -= np.tensordot(pattern, spectra, 1) * sum(carried(part).sum(0) for part in np.array_split(known, 10))
    return torch.from_numpy(np.fft.ifft2(total).real)


# What is refused


def test_what_does_not_fit_is_refused_in_words() -> None:
    frames, g = counts()
    with pytest.raises(InputError, match="not linear"):
        make_guides(g, "wiener")
    with pytest.raises(InputError, match="ridge"):
        make_guides(g, "wdd")
    with pytest.raises(InputError, match="half-width"):
        make_guides(g, "ssb", half_width=(0, 3))
    with pytest.raises(MemoryBudgetError, match="count cube"):
        make_guides(g, "ssb", memory_bytes=1000)
    with pytest.raises(InputError, match="scan positions"):
        guided("ssb").start((20, 28, 15, 14))
    with pytest.raises(InputError, match="frames"):
        guided("ssb").start((21, 28, 14, 15))
    with pytest.raises(InputError, match="no signal"):
        guided("ssb").view(guided("ssb").start(frames.shape))
    with pytest.raises(InputError, match="none of the scan positions"):
        free_field(np.full((3, 2), np.nan), 1.0)
