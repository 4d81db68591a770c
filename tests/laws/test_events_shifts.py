"""Laws of parallax by integers: the dense image to the error that is stated, the same integers in any order, free positions, partial scans."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, EventChunk, FrameChunk
from exitwave.recon.live.field import Field, free_field, on_field
from exitwave.recon.live.guided import LiveGuides
from exitwave.recon.live.guides import make_guides
from exitwave.recon.live.shifted import LiveShifts, ShiftedState
from exitwave.recon.live.shifts import Shifts, make_shifts
from tests.generic import worst
from tests.laws.test_events_cube import cut, events_of, half_way, live, serpentine, stream
from tests.laws.test_events_guides import counts, rms
from tests.weak import image


@cache
def table(method: str = "parallax", upsample: int = 1, cells: int = 4) -> Shifts:
    g = counts()[1]
    return make_shifts(g, Field(shape=g.scan.shape), method, upsample=upsample, cells=cells, finite_pixels=False, dtype=torch.complex128)


def shifted(method: str = "parallax", upsample: int = 1, cells: int = 4, **given: object) -> LiveShifts:
    g = counts()[1]
    return LiveShifts(g=g, shifts=table(method, upsample, cells), field=Field(shape=g.scan.shape), **given)  # type: ignore[arg-type]


def fed(accumulator: LiveShifts, frames: ArrayFrames, seed: int | None = 1) -> ShiftedState:
    state = accumulator.start(frames.shape)
    for chunk in stream(frames, seed).chunks():
        state = accumulator.add(state, chunk)
    return state


@pytest.mark.parametrize("cells", [1, 2, 4])
@pytest.mark.parametrize("upsample", [1, 2])
@pytest.mark.parametrize("method", ["parallax", "flipped-parallax"])
def test_the_image_is_the_dense_one_to_the_error_that_is_stated(method: str, upsample: int, cells: int) -> None:
    frames, g = counts()
    accumulator = shifted(method, upsample, cells)
    found, expected = accumulator.finish(fed(accumulator, frames)), image(live(frames, g), g, method, upsample=upsample)
    even = expected.image.shape[1] // 2
    for one, other in zip([found.image, *found.halves], [expected.image, *expected.halves], strict=True):
        # The flip of a real image takes the Nyquist frequency of even sides as one with its negative.
        a, b = torch.fft.rfft2(one), torch.fft.rfft2(other)
        a[:, even] = b[:, even]
        true = rms(torch.fft.irfft2(a - b, s=tuple(other.shape))) / rms(other)
        assert found.approximation == pytest.approx(true, rel=0.2 if cells > 1 else 0.35)  # at one cell first order is a poor start
    assert found.approximation < (0.6, 0.13, 0.035)[(1, 2, 4).index(cells)]
    assert worst(found.noise, expected.noise) < 1e-12 and worst(found.ctf, expected.ctf) < 1e-12
    assert found.electrons == pytest.approx(expected.electrons, rel=1e-12) and found.pitch_A == expected.pitch_A


@settings(max_examples=8)
@given(st.data())
def test_any_order_chunks_and_merges_give_the_same_integers(data: st.DataObject) -> None:
    """Most events in a few cells, so that cells are full on the way."""
    frames, g = counts()
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n, bright = 150_000, torch.nonzero(g.bright()).reshape(-1).numpy()
    position, pixel = random.integers(300, 302, n), bright[random.integers(0, 2, n)]
    position[::50], pixel[::50] = random.integers(0, 588, n // 50), random.choice(bright, n // 50)
    accumulator = shifted(halves=data.draw(st.sampled_from(["detector", "random"])))
    once = accumulator.add(accumulator.start(frames.shape), EventChunk(position=position, pixel=pixel))
    at = sorted(data.draw(st.lists(st.integers(0, n), min_size=1, max_size=4)))
    one = accumulator.start(frames.shape)
    for chunk in cut(position, pixel, at):
        one = accumulator.add(one, chunk)
    assert np.array_equal(one.totals(), once.totals()) and once.totals()[:, 0].sum() == n
    if accumulator.halves == "detector":
        order = random.permutation(n)
        small = (position[order].astype(np.int32), pixel[order].astype(np.int32))
        parts = [accumulator.add(accumulator.start(frames.shape), c) for c in cut(*small, at)]
        merged = parts[-1]
        for part in parts[:-1]:
            merged = accumulator.merge(part, merged)
        assert np.array_equal(merged.totals(), once.totals()) and np.array_equal(merged.exposure, once.exposure)
        assert np.array_equal(merged.patterns, once.patterns) and merged.events == n


def test_full_cells_lose_nothing() -> None:
    frames, g = counts()
    pixel = int(torch.nonzero(g.bright())[3])
    accumulator = shifted()

    def of(events: int) -> ShiftedState:
        return accumulator.add(accumulator.start(frames.shape), EventChunk(position=np.full(events, 11), pixel=np.full(events, pixel)))

    state = of(70_001)
    assert state.sums is not None and int(state.totals()[:, 0].sum()) == 70_001
    both = accumulator.merge(of(40_000), of(40_000))
    offset = int(table().part[int(np.flatnonzero(table().pixels == pixel)[0]), 0])
    assert int(both.totals()[:, 0].sum()) == 80_000 and int(both.totals()[:, 1].sum()) == 80_000 * offset


def test_events_without_a_place_are_counted_and_harm_nothing() -> None:
    frames, g = counts()
    position, pixel = events_of(frames.array)
    strange = EventChunk(position=np.concatenate([[-1, 588, 2**40, 3, 3, 3], position]), pixel=np.concatenate([[0, 5, 5, -1, 210, 2**33], pixel]))
    accumulator = shifted()
    state = accumulator.add(accumulator.start(frames.shape), strange)
    assert (state.rejected.off_scan, state.rejected.off_frame) == (3, 3) and state.rejected.uncounted > 0
    assert np.array_equal(state.totals(), fed(accumulator, frames).totals()) and g.frame == (15, 14)
    with pytest.raises(InputError, match="no signal"):
        accumulator.view(accumulator.start(frames.shape))
    with pytest.raises(InputError, match="scan positions"):
        accumulator.start((20, 28, 15, 14))
    with pytest.raises(InputError, match="frames"):
        accumulator.start((21, 28, 14, 15))
    with pytest.raises(InputError, match="only parallax"):
        make_shifts(g, Field(shape=(21, 28)), "ssb")
    with pytest.raises(InputError, match="cells"):
        make_shifts(g, Field(shape=(21, 28)), cells=0)


def test_frames_are_as_many_events_as_they_have_counts() -> None:
    frames, _ = counts()
    accumulator = shifted()
    state = accumulator.add(accumulator.start(frames.shape), FrameChunk(position=np.arange(588), frames=frames.array.reshape(588, 15, 14)))
    assert np.array_equal(state.totals(), fed(accumulator, frames).totals())


@pytest.mark.parametrize("upsample", [1, 2])
def test_a_scan_half_done_has_no_background(upsample: int) -> None:
    frames, _ = counts()
    shape, ranks = frames.shape, serpentine(frames.shape[:2])
    lit = (frames.array.mean((0, 1)) > 0.5) * np.rint(np.random.default_rng(4).normal(10, 1, shape[2:])).clip(1)
    scan = half_way(np.broadcast_to(lit.astype(np.uint16), shape), ranks, 11 * 28 + 9)
    specimen = rms(shifted(upsample=upsample).finish(fed(shifted(upsample=upsample), frames)).image)
    for fill in ("reached", "events", "none"):
        accumulator = shifted(upsample=upsample, order=ranks, fill=fill)
        found = accumulator.view(fed(accumulator, scan, seed=None)).image
        background = float((found - found.mean()).abs().max()) / specimen
        assert background > 0.02 if fill == "none" else background <= 1e-10, fill


def test_free_positions_agree_with_stencils() -> None:
    """Two executors, scattered positions, a running scan: image and halves to the errors that both state."""
    frames, g = counts()
    at = np.indices((21, 28)).reshape(2, -1).T + np.random.default_rng(8).uniform(-0.7, 0.7, (588, 2))
    at[[5, 300]] = np.nan
    field = free_field(at, margin_px=5.0)
    guides = make_guides(on_field(g, field), "parallax", half_width=(10**6, 10**6), phases=8, finite_pixels=False)
    shifts = make_shifts(g, field, cells=4, finite_pixels=False)
    scan = half_way(frames.array, np.arange(588).reshape(21, 28), 400)
    for halves in ("detector", "random"):
        one = LiveGuides(g=g, guides=guides, field=field, halves=halves)  # type: ignore[arg-type]
        other = LiveShifts(g=g, shifts=shifts, field=field, halves=halves)  # type: ignore[arg-type]
        state, left = one.start(scan.shape), other.start(scan.shape)
        for chunk in stream(scan, seed=None).chunks():
            state, left = one.add(state, chunk), other.add(left, chunk)
        a, b = one.view(state), other.view(left)
        for x, y in zip([a.image, *a.halves], [b.image, *b.halves], strict=True):
            assert rms(x - y) < 1.5 * (a.approximation + b.approximation) * rms(x)
        assert b.approximation < 0.035 < a.approximation < 0.15
        assert a.electrons == pytest.approx(b.electrons, rel=1e-9)
