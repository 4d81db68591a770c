"""Laws of events: the images are those of the same counts as frames, in any order, cut anywhere, merged in any way, while the scan runs."""

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from exitwave.core import aberrations
from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, EventChunk
from exitwave.flow import VirtualImages, accumulate, accumulate_events
from exitwave.recon.direct import METHODS, DirectImage, Geometry
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.live import CountCube, CubeState, LiveDetectors, LiveMoments, LivePhase, centre_of_mass, counted, live_phase
from exitwave.recon.live.canvas import WIDTHS
from exitwave.signal import frc
from tests.generic import worst
from tests.weak import ODD, image, poisson, scanned, white

TYPES = ("int64", "int32", "uint16", "uint32", "uint64", ">i4", "<i8")


@cache
def counts() -> tuple[ArrayFrames, Geometry]:
    """Odd, non-square, 400 electrons per position, 5 % of the pixels dead (their counts are there all the same)."""
    frames, g = scanned(white() * 0.1, ODD)
    good = torch.rand(len(g.good), generator=torch.Generator().manual_seed(2)) > 0.05
    return poisson(frames, 400.0, 3), replace(g, good=good)


def live(frames: ArrayFrames, g: Geometry) -> ArrayFrames:
    """The same frames, dead pixels without counts."""
    return ArrayFrames(array=frames.array * g.good.numpy().reshape(g.frame).astype(np.uint16))


def events_of(array: np.ndarray, seed: int | None = 1) -> tuple[np.ndarray, np.ndarray]:
    """Position and pixel of every count of (Ry, Rx, ky, kx), shuffled."""
    flat = array.reshape(-1, array.shape[2] * array.shape[3])
    position, pixel = np.nonzero(flat)
    times = flat[position, pixel]
    position, pixel = np.repeat(position, times), np.repeat(pixel, times)
    order = np.random.default_rng(seed).permutation(len(position)) if seed is not None else np.arange(len(position))
    return position[order], pixel[order]


def cut(position: np.ndarray, pixel: np.ndarray, at: list[int]) -> list[EventChunk]:
    return [EventChunk(position=a, pixel=b) for a, b in zip(np.split(position, at), np.split(pixel, at), strict=True)]


class Stream:
    def __init__(self, parts: list[EventChunk]) -> None:
        self.parts = parts

    def chunks(self) -> Iterator[EventChunk]:
        yield from self.parts


def stream(frames: ArrayFrames, seed: int | None = 1, pieces: int = 7) -> Stream:
    position, pixel = events_of(frames.array, seed)
    return Stream(cut(position, pixel, sorted(np.random.default_rng(5).integers(0, len(position), pieces).tolist())))


def same(a: DirectImage, b: DirectImage, limit: float) -> None:
    for one, other in zip([a.image, *a.halves, a.ctf, a.noise], [b.image, *b.halves, b.ctf, b.noise], strict=True):
        assert worst(one, other) <= limit
    assert (a.pitch_A, a.pixels, a.method) == (b.pitch_A, b.pixels, b.method)
    assert a.electrons == pytest.approx(b.electrons, rel=1e-12)
    if b.amplitude is not None:
        assert worst(a.amplitude, b.amplitude) <= limit


# The same image as from frames


@pytest.mark.parametrize("upsample", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_events_make_the_dense_image(method: str, upsample: int) -> None:
    frames, g = counts()
    for dtype, limit in ((torch.complex128, 1e-12), (torch.complex64, 1e-5)):
        phase = replace(live_phase(g, method, upsample=upsample, dtype=dtype), finite_pixels=False)
        same(accumulate_events(stream(frames), phase, frames.shape), image(live(frames, g), g, method, upsample=upsample, dtype=dtype), limit)


@pytest.mark.parametrize("method", ["parallax", "flipped-parallax", "ssb", "dpc", "icom", "obf", "wiener"])
def test_weights_that_are_kept_change_no_bit(method: str) -> None:
    """Of views one after the other, in single precision; optimal methods sum in another order."""
    frames, g = counts()
    phase = live_phase(g, method)
    state = fed(phase.cube, frames)
    first, second, dense = phase.view(state), phase.view(state), reconstruct(live(frames, g), g, method)
    for name in ("image", "ctf", "noise"):
        one, again, other = (getattr(x, name) for x in (first, second, dense))
        assert torch.equal(one, again)
        assert torch.equal(one, other) if method in ("parallax", "flipped-parallax", "ssb", "dpc") else worst(one, other) < 1e-5


def test_complex_objects_and_other_optics_are_seen_in_the_same_state() -> None:
    """One state of all live pixels, looked at again with another defocus and by methods that look at fewer pixels."""
    frames, g = counts()
    state = fed(live_phase(g, "wdd").cube, frames)
    before = state.canvas.flat.copy()
    cube = live_phase(g, "wdd").cube
    for method, lens in (("ssb", {"C10_A": 300.0}), ("lsq", ODD), ("wdd", {"C12_A": -60.0})):
        other = replace(g, aberrations=aberrations(lens))
        phase = LivePhase(cube=cube, g=other, method=method, dtype=torch.complex128, parts="phase" if method != "lsq" else "complex")
        dense = reconstruct(live(frames, g), other, method, dtype=torch.complex128, parts=phase.parts)
        for _ in range(2):
            same(phase.view(state), dense, 1e-12)
    assert np.array_equal(state.canvas.flat, before)


def test_a_small_memory_makes_passes_over_the_cube_only() -> None:
    frames, g = counts()
    phase = live_phase(g, "parallax", dtype=torch.complex128)
    state = fed(phase.cube, frames)
    same(replace(phase, memory_bytes=20_000).view(state), phase.view(state), 1e-12)


def test_counted_frames_read_as_frames() -> None:
    frames, g = counts()
    cube = live_phase(g, "icom").cube
    found = cube.view(fed(cube, frames))
    assert np.array_equal(found.read(40, 101), live(frames, g).read(40, 101))
    fewer = live_phase(g, "ssb").cube
    with pytest.raises(InputError, match="was not counted"):
        replace(live_phase(g, "icom"), cube=fewer).view(fed(fewer, frames))


def fed(cube: CountCube, frames: ArrayFrames, seed: int | None = 1) -> CubeState:
    state = cube.start(frames.shape)
    for chunk in stream(frames, seed).chunks():
        state = cube.add(state, chunk)
    return state


# Order, chunks, merges, widths, rejected events


def state_equal(a: CubeState, b: CubeState) -> bool:
    return (a.canvas.flat.dtype == b.canvas.flat.dtype and np.array_equal(a.canvas.flat, b.canvas.flat) and a.events == b.events
            and np.array_equal(a.numbers, b.numbers) and np.array_equal(a.reach.seen, b.reach.seen))


@given(st.data())
def test_any_order_chunks_types_and_merges_give_the_same_integers(data: st.DataObject) -> None:
    """Few positions and pixels, so that counts pass 8 bits on the way."""
    shape, n = (3, 5, 4, 3), 9000
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    position, pixel = np.minimum(random.integers(0, 15, n), random.integers(0, 15, n)), random.integers(0, 12, n)
    cube = CountCube(pixels=np.array([0, 2, 3, 7, 11]))
    plain = cube.add(cube.start(shape), EventChunk(position=position, pixel=pixel))
    expected = np.zeros((12, 15), np.int64)
    np.add.at(expected, (pixel, position), 1)
    assert np.array_equal(plain.canvas.counts, expected[cube.pixels])

    order = random.permutation(n)
    at = sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=5)))
    kinds = data.draw(st.lists(st.sampled_from(TYPES), min_size=2, max_size=2))
    parts = [cube.add(cube.start(shape), chunk) for chunk in cut(position[order].astype(kinds[0]), pixel[order].astype(kinds[1]), at)]
    copies = [replace(p, canvas=replace(p.canvas, flat=p.canvas.flat.copy())) for p in parts]
    left, right = parts[0], copies[-1]
    for part in parts[1:]:
        left = cube.merge(left, part)
    for part in copies[-2::-1]:
        right = cube.merge(part, right)
    assert np.array_equal(left.canvas.flat, right.canvas.flat)
    assert state_equal(replace(left, reach=plain.reach), plain)


@pytest.mark.parametrize("times", [255, 256, 65535, 65536, 70001])
def test_no_count_overflows(times: int) -> None:
    cube = CountCube(pixels=np.array([1, 3]), sets=1)
    half = EventChunk(position=np.full(times, 4), pixel=np.full(times, 3))
    state = cube.add(cube.start((2, 3, 2, 2)), half)
    assert state.canvas.counts[1, 4] == times and state.canvas.counts.sum(dtype=np.int64) == times
    assert state.canvas.flat.dtype == next(w for w in WIDTHS if np.iinfo(w).max >= times)
    both = cube.merge(state, cube.add(cube.start((2, 3, 2, 2)), half))
    assert both.canvas.counts[1, 4] == 2 * times and both.canvas.flat.dtype == next(w for w in WIDTHS if np.iinfo(w).max >= 2 * times)


def test_events_without_a_place_are_counted_and_harm_nothing() -> None:
    frames, g = counts()
    position, pixel = events_of(frames.array)
    strange = np.array([-1, -1, 588, 2**40, 3, 3, 3, -(2**50)]), np.array([0, -9, 5, 5, -1, 210, 2**33, 0])
    position, pixel = np.concatenate([strange[0], position]), np.concatenate([strange[1], pixel])
    dead = int(frames.array.reshape(-1, len(g.good))[:, ~g.good.numpy()].sum())
    chunk = EventChunk(position=position, pixel=pixel)
    for accumulator in (live_phase(g, "icom"), live_phase(g, "icom", sets=2), LiveMoments(g=g)):
        state = accumulator.add(accumulator.start(frames.shape), chunk)
        assert [getattr(state.rejected, f.name) for f in fields(state.rejected)] == [5, 3, dead]
        accumulator.view(state)
    with pytest.raises(InputError, match="no signal"):
        live_phase(g, "ssb").view(live_phase(g, "ssb").start(frames.shape))


# Scans that still run


def half_way(array: np.ndarray, ranks: np.ndarray, until: int) -> ArrayFrames:
    return ArrayFrames(array=array * (ranks < until)[:, :, None, None].astype(array.dtype))


def serpentine(shape: tuple[int, int]) -> np.ndarray:
    ranks = np.arange(shape[0] * shape[1]).reshape(shape)
    ranks[1::2] = ranks[1::2, ::-1]
    return ranks


@pytest.mark.parametrize(("upsample", "order"), [(1, "serpentine"), (2, "raster")])
@pytest.mark.parametrize("method", ["parallax", "flipped-parallax", "ssb", "icom", "obf", "lsq"])
def test_a_scan_half_done_has_no_background(method: str, upsample: int, order: str) -> None:
    """A vacuum seen through a detector with 10 % of structure: what is not the specimen's must not make an image, whatever part was scanned."""
    frames, g = counts()
    shape = frames.shape
    ranks = serpentine(shape[:2]) if order == "serpentine" else np.arange(shape[0] * shape[1]).reshape(shape[:2])
    random = np.random.default_rng(4)
    lit = (frames.array.mean((0, 1)) > 0.5) * np.rint(random.normal(30, 3, shape[2:])).clip(1)
    array = np.broadcast_to(lit.astype(np.uint16), shape)
    scan = half_way(array, ranks, 11 * 28 + 9)  # within a row that a serpentine scans backwards
    specimen = float(image(live(frames, g), g, method, upsample=upsample).image.std())
    for fill in ("reached", "events", "none"):
        phase = replace(live_phase(g, method, upsample=upsample, dtype=torch.complex128, order=ranks), fill=fill, finite_pixels=False)
        found = seen(phase, scan).image
        background = float((found - found.mean()).abs().max()) / specimen
        assert background > 0.1 if fill == "none" else background <= 1e-10, fill
        if method == "icom":
            other = seen(LiveMoments(g=g, upsample=upsample, finite_pixels=False, fill=fill, order=ranks), scan).image
            assert float((other - found).abs().max()) <= 1e-12 * max(1.0, float(found.abs().max()))


def seen(accumulator: LivePhase | LiveMoments, scan: ArrayFrames) -> DirectImage:
    state = accumulator.start(scan.shape)
    for chunk in stream(scan, seed=None).chunks():
        state = accumulator.add(state, chunk)  # type: ignore[arg-type]
    return accumulator.view(state)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["ssb", "obf", "icom"])
def test_a_scan_half_done_shows_its_part_of_the_specimen(method: str) -> None:
    """Linear methods see what was scanned, its mean pattern taken out: the dense image of frames less the mean, zero elsewhere."""
    frames, g = counts()
    ranks = np.arange(21 * 28).reshape(21, 28)
    scan = half_way(live(frames, g).array, ranks, 300)
    phase = replace(live_phase(g, method, dtype=torch.complex128), finite_pixels=False)
    other = LiveMoments(g=g, finite_pixels=False)
    mean = scan.array.reshape(588, -1).sum(0) / 300
    filled = np.where((ranks < 300)[:, :, None, None], scan.array, mean.reshape(g.frame))
    dense = image(ArrayFrames(array=filled), g, method)
    for found in (seen(phase, scan), seen(other, scan)) if method == "icom" else (seen(phase, scan),):
        same(found, replace(dense, noise=dense.noise * (300 / 588)), 1e-12)


def test_positions_that_are_passed_without_an_event_are_reached() -> None:
    cube = CountCube(pixels=np.array([0]))
    state = cube.start((2, 4, 1, 1))
    zero = np.zeros(2, np.int64)
    state = cube.add(state, EventChunk(position=np.array([0, 2]), pixel=zero))
    state = cube.add(state, EventChunk(position=np.array([5, -1]), pixel=zero))
    assert state.reach.seen.tolist() == [True] * 6 + [False] * 2
    other = cube.add(cube.start((2, 4, 1, 1)), EventChunk(position=np.array([7, 7]), pixel=zero))
    assert cube.merge(state, other).reach.seen.tolist() == [True] * 6 + [False, True]


# Random halves


def test_halves_deal_every_event_out_once_whatever_the_chunks() -> None:
    frames, g = counts()
    phase = live_phase(g, "ssb", sets=2)
    state, again = fed(phase.cube, frames), phase.cube.start(frames.shape)
    again = phase.cube.add(again, EventChunk(position=np.concatenate([c.position for c in stream(frames).parts]),
                                             pixel=np.concatenate([c.pixel for c in stream(frames).parts])))
    assert state_equal(state, again)
    a, b = (counted(phase.cube, state, half).counts.astype(int) for half in (0, 1))
    one = live_phase(g, "ssb")
    assert np.array_equal(a + b, one.cube.view(fed(one.cube, frames)).counts)
    total = int((a + b).sum())
    assert abs(int((a - b).sum())) < 5 * total**0.5
    assert float(((a - b) ** 2).sum()) == pytest.approx(total, rel=5 * (2 / a.size) ** 0.5)  # binomial: variance of a - b is a + b


def test_dealing_goes_on_where_a_canvas_had_to_widen() -> None:
    cube, n = CountCube(pixels=np.array([0, 1]), sets=2), 4001
    position, pixel = np.tile([0, 1, 0], n)[:n], np.tile([1, 1, 0, 1], n)[:n]
    once = cube.add(cube.start((1, 2, 1, 2)), EventChunk(position=position, pixel=pixel))
    parts = cube.start((1, 2, 1, 2))
    for chunk in cut(position, pixel, list(range(0, n, 37))):
        parts = cube.add(parts, chunk)
    assert state_equal(once, parts) and once.canvas.flat.dtype == np.uint16
    other = CountCube(pixels=cube.pixels, sets=2, seed=5)
    assert not np.array_equal(other.add(other.start((1, 2, 1, 2)), EventChunk(position=position, pixel=pixel)).canvas.flat, once.canvas.flat)


def test_the_halves_of_an_image_share_signal_but_no_noise() -> None:
    frames, g = counts()
    phase = replace(live_phase(g, "ssb", sets=2, dtype=torch.complex128), finite_pixels=False)
    found = accumulate_events(stream(frames), phase, frames.shape)
    whole = image(live(frames, g), g, "ssb")
    assert worst(found.image, whole.image) < 1e-12
    a, b = found.halves
    power = float(((a - b) ** 2).mean())
    assert power == pytest.approx(4 * float(full(found.noise, a.shape[1]).mean()), rel=0.25)
    assert found.electrons == pytest.approx(whole.electrons, rel=1e-12)
    assert float(frc(a, b, found.pitch_A).value[2:8].mean()) > 0.3


@pytest.mark.parametrize("method", ["parallax", "icom", "obf", "wiener", "wdd"])
def test_each_half_is_the_image_of_its_own_events(method: str) -> None:
    frames, g = counts()
    phase = live_phase(g, method, sets=2, dtype=torch.complex128)
    state = fed(phase.cube, half_way(frames.array, np.arange(588).reshape(21, 28), 400), seed=None)
    found = phase.view(state)
    for half, made in zip((0, 1), found.halves, strict=True):
        alone = reconstruct(counted(phase.cube, state, half), g, method, dtype=torch.complex128, dispersion=400 / 588)
        assert worst(made, alone.image) < 1e-11


def full(half: Tensor, columns: int) -> Tensor:
    """The full plane of a real, even half plane (y, h)."""
    return torch.cat([half, half[:, 1 : (columns + 1) // 2].flip(1)], 1)


# Moments and virtual detectors


@pytest.mark.parametrize("upsample", [1, 2])
def test_moments_are_the_dense_icom(upsample: int) -> None:
    frames, g = scanned(white() * 0.1, ODD, camera={"rotation_deg": 31.0, "transpose": True})
    frames = poisson(frames, 300.0, 8)
    good = torch.rand(len(g.good), generator=torch.Generator().manual_seed(7)) > 0.1
    g = replace(g, good=good)
    moments = LiveMoments(g=g, upsample=upsample, finite_pixels=False, dispersion=1.7, counts_per_electron=2.0)
    position, pixel = events_of(frames.array)
    parts = [moments.add(moments.start(frames.shape), chunk) for chunk in cut(position, pixel, [100, 5000])]
    state = moments.merge(parts[0], moments.merge(parts[1], parts[2]))
    assert np.array_equal(state.sums, moments.merge(moments.merge(parts[0], parts[1]), parts[2]).sums)
    dense = image(frames, g, "icom", upsample=upsample, dispersion=1.7, counts_per_electron=2.0)
    same(moments.finish(state), dense, 1e-12)
    k, count = centre_of_mass(state, g)
    kept = torch.from_numpy(frames.array.reshape(588, -1) * good.numpy()).double()
    assert worst(k, ((kept @ g.k_invA) / kept.sum(1, keepdim=True)).T.reshape(k.shape)) < 1e-12
    assert torch.equal(count, kept.sum(1).reshape(count.shape))


def test_virtual_detectors_are_those_of_frames() -> None:
    frames, _ = counts()
    weights = np.random.default_rng(0).integers(-2, 5, (3, *frames.shape[2:]))
    detectors = LiveDetectors(weights=weights)
    found = accumulate_events(stream(frames), detectors, frames.shape)
    assert np.array_equal(found, accumulate(frames, VirtualImages(weights=weights)))
    state = detectors.add(detectors.start(frames.shape), EventChunk(position=np.array([-1, 3]), pixel=np.array([1, 999])))
    assert (state.rejected.off_scan, state.rejected.off_frame) == (1, 1) and not state.canvas.any()
