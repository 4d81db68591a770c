"""Every accumulator keeps the same promises: order, chunks and workers do not matter, and looking changes nothing."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from exitwave.data.dataset import ArrayFrames, Dataset4D
from exitwave.flow.accumulate import Accumulator, Together, accumulate
from exitwave.flow.chunks import Chunk
from exitwave.flow.patterns import MeanPattern, VirtualImages

SHAPE = (4, 9, 5, 8)
RNG = np.random.default_rng(11)
MASKS = RNG.random((3, *SHAPE[2:])) < 0.4
SMOOTH = RNG.normal(size=(4, *SHAPE[2:]))
SINGLE = np.zeros((6, *SHAPE[2:]), np.int8)
SINGLE[np.arange(6), [0, 4, 2, 2, 1, 3], [7, 0, 3, 4, 1, 6]] = [1, 1, 1, -2, 1, 3]

FRAMES = {
    "uint16": RNG.integers(0, 2**16, SHAPE).astype(np.uint16),
    "uint32": RNG.integers(0, 2**32, SHAPE).astype(np.uint32),
    "int64": RNG.integers(0, 2**55, SHAPE),
    "float32": RNG.normal(size=SHAPE).astype(np.float32),
}
METHODS = {
    "mean": MeanPattern(), "masks": VirtualImages(weights=MASKS), "weights": VirtualImages(weights=SMOOTH), "pixels": VirtualImages(weights=SINGLE),
    "together": Together(parts=(MeanPattern(), VirtualImages(weights=MASKS))),
}


@pytest.fixture(params=FRAMES)
def frames(request: pytest.FixtureRequest) -> np.ndarray:
    return FRAMES[request.param]


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Accumulator:
    return METHODS[request.param]


def arrays(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, tuple):
        for item in value:
            yield from arrays(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from arrays(getattr(value, field.name))
    else:
        yield np.asarray(value)


def same(left: Any, right: Any, exact: bool) -> None:
    for a, b in zip(arrays(left), arrays(right), strict=True):
        assert a.dtype == b.dtype
        if exact or a.dtype.kind in "biu":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.abs(a).max())


def blocks(array: np.ndarray, cuts: list[int]) -> list[Chunk]:
    flat = array.reshape(-1, *array.shape[2:])
    edges = [0, *cuts, len(flat)]
    return [Chunk(start=a, stop=b, frames=flat[a:b]) for a, b in pairwise(edges)]


def state_of(method: Accumulator, array: np.ndarray, parts: list[Chunk]) -> Any:
    state = method.start(array.shape, array.dtype)
    for part in parts:
        state = method.add(state, part)
    return state


def test_order_does_not_matter(method: Accumulator, frames: np.ndarray) -> None:
    parts = blocks(frames, [1, 8, 9, 20])
    forward = method.finish(state_of(method, frames, parts))
    same(forward, method.finish(state_of(method, frames, parts[::-1])), exact=False)
    same(forward, method.finish(state_of(method, frames, [parts[i] for i in (3, 0, 4, 2, 1)])), exact=False)


def test_merge_is_associative_and_equals_one_pass(method: Accumulator, frames: np.ndarray) -> None:
    parts = blocks(frames, [7, 19])

    def one(i: int) -> Any:
        return state_of(method, frames, [parts[i]])

    left = method.finish(method.merge(method.merge(one(0), one(1)), one(2)))
    right = method.finish(method.merge(one(0), method.merge(one(1), one(2))))
    swapped = method.finish(method.merge(one(2), method.merge(one(1), one(0))))
    whole = method.finish(state_of(method, frames, parts))
    for other in (right, swapped, whole):
        same(left, other, exact=False)


def test_an_empty_state_is_neutral(method: Accumulator, frames: np.ndarray) -> None:
    state = method.merge(method.start(frames.shape, frames.dtype), state_of(method, frames, blocks(frames, [])))
    same(method.finish(state), method.finish(state_of(method, frames, blocks(frames, []))), exact=True)


@pytest.mark.parametrize("fit", [1, 2, 5, 7, 36])
def test_chunk_size_does_not_matter(method: Accumulator, frames: np.ndarray, fit: int) -> None:
    budget = fit * 40 * (frames.itemsize + 8)
    counted: list[tuple[int, int]] = []
    small = accumulate(Dataset4D(frames=ArrayFrames(array=frames)), method, budget, lambda done, total: counted.append((done, total)))
    same(small, accumulate(ArrayFrames(array=frames), method), exact=False)
    assert counted[-1] == (36, 36)
    assert len(counted) == -(-36 // fit)


def test_view_shows_the_result_and_changes_nothing(method: Accumulator, frames: np.ndarray) -> None:
    parts = blocks(frames, [5, 21])
    watched = method.start(frames.shape, frames.dtype)
    views = []
    for part in parts:
        watched = method.add(watched, part)
        views.append((method.view(watched), state_of(method, frames, parts[: len(views) + 1])))
    for view, prefix in views:  # compared at the end: later adds must not reach into an earlier view
        same(view, method.finish(prefix), exact=True)
    same(method.finish(watched), method.finish(state_of(method, frames, parts)), exact=True)


@pytest.mark.parametrize("kind", ["uint16", "uint32", "int64"])
def test_integer_canvases_are_exact(kind: str) -> None:
    array = FRAMES[kind]
    exact = np.einsum("abyx,nyx->nab", array.astype(object), MASKS.astype(int).astype(object)).astype(np.int64)
    got = accumulate(ArrayFrames(array=array), VirtualImages(weights=MASKS))
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, exact)
    pixels = accumulate(ArrayFrames(array=array), VirtualImages(weights=SINGLE))
    np.testing.assert_array_equal(pixels, np.einsum("abyx,nyx->nab", array.astype(object), SINGLE.astype(int).astype(object)).astype(np.int64))


def test_mean_and_variance_are_numpys(frames: np.ndarray) -> None:
    got = accumulate(ArrayFrames(array=frames), MeanPattern(), 3 * 40 * 16)
    flat = frames.reshape(-1, *SHAPE[2:]).astype(np.float64)
    assert got.frames == 36
    assert got.maximum == max(0.0, float(frames.max()))
    assert got.counted == (frames.dtype.kind in "iu")
    np.testing.assert_allclose(got.mean, flat.mean(0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(got.variance, flat.var(0, ddof=1), rtol=1e-11)


def test_weights_are_a_dot_product() -> None:
    got = accumulate(ArrayFrames(array=FRAMES["float32"]), VirtualImages(weights=SMOOTH))
    np.testing.assert_allclose(got, np.einsum("abyx,nyx->nab", FRAMES["float32"].astype(float), SMOOTH), rtol=1e-12, atol=1e-13)
