"""Laws of frames in a stream: the same state, bit for bit, as the same counts one by one."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.core.errors import InputError
from exitwave.core.threads import set_threads
from exitwave.data import EventChunk, FrameChunk
from exitwave.recon.direct import Geometry
from exitwave.recon.live import CountCube, CubeState, LiveDetectors, LiveMoments, LivePhase
from exitwave.recon.live.canvas import WIDTHS
from tests.weak import ODD, poisson, scanned, white

SHAPE = (4, 70, 9, 11)
CELLS, PIXELS = SHAPE[0] * SHAPE[1], SHAPE[2] * SHAPE[3]
LOOKED_AT = np.delete(np.arange(PIXELS), [0, 7, 55, 98])


def as_events(position: np.ndarray, frames: np.ndarray) -> EventChunk:
    """Frame by frame, each frame's pixels in ascending order."""
    flat = frames.reshape(len(frames), -1).astype(np.int64)
    row, pixel = np.nonzero(flat)
    times = flat[row, pixel]
    return EventChunk(position=np.repeat(position[row].astype(np.int64), times), pixel=np.repeat(pixel, times))


def state_equal(a: CubeState, b: CubeState) -> bool:
    return (a.canvas.flat.dtype == b.canvas.flat.dtype and np.array_equal(a.canvas.flat, b.canvas.flat) and a.events == b.events
            and np.array_equal(a.numbers, b.numbers) and np.array_equal(a.reach.seen, b.reach.seen) and a.reach.last == b.reach.last)


def paths(random: np.random.Generator) -> np.ndarray:
    """Positions as scans have them: upward, serpentine, several frames each, at random, with frames on no position."""
    grid = np.arange(CELLS).reshape(SHAPE[:2])
    serpentine = grid.copy()
    serpentine[1::2] = serpentine[1::2, ::-1]
    kinds = [grid.reshape(-1), serpentine.reshape(-1), np.repeat(grid.reshape(-1), 3)[: CELLS + 5], random.integers(0, CELLS, 200)]
    chosen = kinds[random.integers(0, 4)].copy()
    chosen[random.random(len(chosen)) < 0.02] = random.choice([-1, CELLS, -(2**40), 2**50])
    return chosen


@given(st.integers(0, 2**32), st.sampled_from([1, 2]), st.sampled_from(["u1", ">u2", "i4", "?"]))
@settings(max_examples=30, deadline=None)
def test_frames_and_events_of_the_same_counts_make_one_state(seed: int, sets: Any, kind: str) -> None:
    random = np.random.default_rng(seed)
    position = paths(random)
    top = 2 if kind == "?" else int(random.choice([2, 200]))
    frames = random.integers(0, top, (len(position), *SHAPE[2:])) * (random.random(SHAPE[2:]) < 0.3)
    frames = frames.astype(kind)
    cube = CountCube(pixels=LOOKED_AT, sets=sets, seed=seed % 1000)
    whole = cube.start(SHAPE)
    for part in np.array_split(np.arange(len(position)), 3):
        whole = cube.add(whole, as_events(position[part], frames[part]))
        reach = cube.add(cube.start(SHAPE), FrameChunk(position=position[part], frames=frames[part])).reach
        whole = replace(whole, reach=replace(whole.reach, seen=whole.reach.seen | reach.seen, last=max(whole.reach.last, reach.last)))
    pieces = cube.start(SHAPE)
    for part in np.split(np.arange(len(position)), np.sort(random.integers(0, len(position), 4))):
        pieces = cube.add(pieces, FrameChunk(position=position[part], frames=frames[part]))
    assert state_equal(replace(pieces, reach=whole.reach), whole)


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("large", [254, 255, 256, 65535, 65536, 70001])
def test_no_count_of_a_frame_overflows(large: int, sets: Any) -> None:
    """The first frame fits, the second does not: only then does the canvas become wider, and nothing is added twice."""
    frames = np.zeros((150, *SHAPE[2:]), np.uint32)
    frames[:, 3, 4], frames[140, 8, 9] = 1, large
    position = np.r_[np.arange(149), 140]
    cube = CountCube(pixels=LOOKED_AT, sets=sets)
    state = cube.add(cube.start(SHAPE), FrameChunk(position=position, frames=frames))
    assert state_equal(state, replace(cube.add(cube.start(SHAPE), as_events(position, frames)), reach=state.reach))
    counts = state.canvas.counts.reshape(sets, len(LOOKED_AT), -1).sum(0, dtype=np.int64)
    row = np.searchsorted(LOOKED_AT, 8 * SHAPE[3] + 9)
    assert counts[row, 140] == large and counts.sum() == large + 150
    if sets == 1:
        assert state.canvas.flat.dtype == next(w for w in WIDTHS if np.iinfo(w).max >= large)
    twice = cube.merge(state, cube.add(cube.start(SHAPE), FrameChunk(position=position[100:], frames=frames[100:])))
    assert twice.canvas.counts.sum(dtype=np.int64) == 2 * large + 200


def test_threads_do_not_matter() -> None:
    random = np.random.default_rng(3)
    frames = random.poisson(3.0, (CELLS, *SHAPE[2:])).astype(np.uint16)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            set_threads(threads)
            cube = CountCube(pixels=LOOKED_AT, sets=2)
            found.append(cube.add(cube.start(SHAPE), FrameChunk(position=np.arange(CELLS), frames=frames)))
    finally:
        set_threads(before)
    assert state_equal(*found)


@cache
def counts() -> tuple[np.ndarray, Geometry]:
    frames, g = scanned(white() * 0.1, ODD)
    good = torch.rand(len(g.good), generator=torch.Generator().manual_seed(2)) > 0.05
    return poisson(frames, 400.0, 3).array, replace(g, good=good)


@pytest.mark.parametrize("kind", ["u1", ">i4"])
def test_moments_and_detectors_of_frames_are_those_of_their_events(kind: str) -> None:
    array, g = counts()
    shape = array.shape
    cells = shape[0] * shape[1]
    frames = np.minimum(array, 255).reshape(-1, *shape[2:]).astype(kind)
    position = np.random.default_rng(4).permutation(np.r_[np.arange(cells), -1, 5, 5, cells])
    frames = frames[np.clip(position, 0, cells - 1)]
    weights = np.random.default_rng(1).integers(-3, 4, (3, *shape[2:])) * np.array([1, 1000, 10**9])[:, None, None]
    for method in (LiveMoments(g=g), LiveMoments(g=replace(g, good=torch.ones_like(g.good))), LiveDetectors(weights=weights),
                   LiveDetectors(weights=weights > 0)):
        one, other = method.start(shape), method.start(shape)
        for part in np.split(np.arange(len(position)), [1, 40, 41]):
            one = method.add(one, FrameChunk(position=position[part], frames=frames[part]))
            other = method.add(other, as_events(position[part], frames[part]))
        assert np.array_equal(one.numbers, other.numbers)
        for name in ("sums", "squares", "canvas"):
            assert not hasattr(one, name) or np.array_equal(getattr(one, name), getattr(other, name))


def test_large_counts_and_tall_frames_keep_their_moments() -> None:
    """Sums beyond 32 bits, and weights beyond what a float holds."""
    random = np.random.default_rng(8)
    frames = random.integers(0, 2**31, (3, 70, 6)).astype(np.uint32)
    weights = random.integers(-(2**20), 2**20, (2, 70, 6))
    live = LiveDetectors(weights=weights)
    got = live.view(live.add(live.start((1, 3, 70, 6)), FrameChunk(position=np.arange(3), frames=frames)))
    assert np.array_equal(got[:, 0], np.einsum("iyx,nyx->in", weights.astype(object), frames.astype(object)).astype(np.int64))

    from exitwave.recon.live.frames import moments_of
    board = (np.indices((70, 6)) // 2).sum(0).reshape(-1) % 2
    board[[3, 77, 201]] = -1
    on = np.array([True, False, True])
    sums, squares = moments_of(frames.reshape(3, -1), (70, 6), board, on)
    y, x = np.indices((70, 6)).reshape(2, -1).astype(object)
    flat = frames.reshape(3, -1).astype(object)
    for half in (0, 1):
        for j, of in enumerate((1, y, x)):
            assert sums[:, half, j].tolist() == (flat * of * (board == half)).sum(1).tolist()
    assert squares.tolist() == [int((flat[on] * (board >= 0) * w).sum()) for w in (y * y, x * x, y * x)]


def test_a_phase_image_of_frames_is_that_of_their_events() -> None:
    array, g = counts()
    flat = array.reshape(-1, *array.shape[2:])
    cube = CountCube(pixels=np.flatnonzero(g.good.numpy()), sets=2)
    phase = LivePhase(cube=cube, g=g, method="parallax")
    half = len(flat) // 2 + 3
    one = phase.add(phase.start(array.shape), FrameChunk(position=np.arange(half), frames=flat[:half]))
    other = phase.add(phase.start(array.shape), as_events(np.arange(half), flat[:half]))
    assert torch.equal(phase.view(one).image, phase.view(other).image)


@pytest.mark.parametrize(("frames", "what"), [
    (np.zeros((2, 9, 11), np.float32), "whole numbers"), (np.full((2, 9, 11), -1, np.int16), "below zero"),
    (np.zeros((2, 11, 9), np.uint8), "not of the detector's shape"),
])
def test_frames_that_are_no_counts_are_refused(frames: np.ndarray, what: str) -> None:
    for method in (CountCube(pixels=LOOKED_AT), LiveDetectors(weights=np.ones((1, 9, 11), bool))):
        with pytest.raises(InputError, match=what):
            method.add(method.start(SHAPE), FrameChunk(position=np.arange(2), frames=frames))
