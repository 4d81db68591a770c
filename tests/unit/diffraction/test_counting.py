"""Frames to electrons against frames whose electrons are known: noise, dark, gain, clusters, X-rays, coincidence."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from exitwave.core.errors import InputError
from exitwave.core.threads import set_threads
from exitwave.data import Chunk, EventChunk, FrameChunk, LiveStream
from exitwave.diffraction import CountingRule, ElectronStream, counted_of, electrons_of, occupancy_map, occupancy_of, thresholds_of
from exitwave.diffraction.counting import LEARNT_FROM, XRAYS

RNG = np.random.default_rng(1)


def strict_maxima(signal: np.ndarray, background: float) -> np.ndarray:
    """Pixel by pixel, as the definition says."""
    found = np.zeros(signal.shape, bool)
    padded = np.pad(signal.astype(float), ((0, 0), (1, 1), (1, 1)))
    for n, y, x in np.argwhere(signal > background):
        near = padded[n, y : y + 3, x : x + 3].copy()
        near[1, 1] = -np.inf
        found[n, y, x] = (near < signal[n, y, x]).all()
    return found


@given(st.integers(0, 2**32), st.sampled_from(["u1", ">u2", "i4", "f4"]), st.booleans())
@settings(max_examples=20, deadline=None)
def test_maxima_are_those_of_the_definition(seed: int, kind: str, tables: bool) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 30)), int(random.integers(1, 9)), int(random.integers(1, 80)))
    frames = (random.integers(0, 60, shape) * (random.random(shape) < 0.5)).astype(kind)
    dark = random.normal(3.0, 2.0, shape[1:]) if tables else None
    gain = random.uniform(0.5, 2.0, shape[1:]) if tables else None
    background = float(random.integers(0, 50))
    found = electrons_of(frames, CountingRule(background=background, dark=dark, gain=gain))
    signal = (frames.astype(np.float64) - (0 if dark is None else dark)) * (1 if gain is None else gain)
    expected = np.argwhere(strict_maxima(signal, background).reshape(len(frames), -1))
    assert np.array_equal(np.stack([found.frame, found.pixel], 1), expected)
    ceiling = background + 20.0
    fewer = electrons_of(frames, CountingRule(background=background, ceiling=ceiling, dark=dark, gain=gain))
    bright = signal.reshape(len(frames), -1)[expected[:, 0], expected[:, 1]] > ceiling
    assert np.array_equal(fewer.pixel, found.pixel[~bright]) and fewer.rejected == bright.sum()


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_groups_are_those_of_scipy_with_their_centres_and_sums(kind: str) -> None:
    frames = (RNG.integers(0, 100, (20, 17, 23)) * (RNG.random((20, 17, 23)) < 0.25)).astype(kind)
    found = electrons_of(frames, CountingRule(background=30.0, method="components"))
    expected = []
    for n, frame in enumerate(frames.astype(float)):
        labels, count = label(frame > 30, np.ones((3, 3)))
        for i in range(1, count + 1):
            y, x = np.nonzero(labels == i)
            w = frame[labels == i]
            expected.append((n, w @ y / w.sum(), w @ x / w.sum(), w.sum()))
    place = np.stack(np.divmod(found.pixel, 23), 1) + found.subpixel
    got = np.column_stack([found.frame, place, found.energy])
    assert len(got) == len(expected)
    np.testing.assert_allclose(got[np.lexsort(got.T[::-1])], np.array(sorted(expected)), rtol=1e-5, atol=1e-5)
    assert (np.abs(found.subpixel) <= 0.5 + 1e-6).all()


def detector(positions: np.ndarray, owner: np.ndarray, frames: int, shape: tuple[int, int], dark: np.ndarray, sigma: float = 6.0) -> np.ndarray:
    """Electrons of 300 units shared by a Gaussian of 0.6 pixels, on noise of `sigma` and a dark frame."""
    y, x = np.indices(shape)
    made = np.zeros((frames, *shape))
    for (a, b), n in zip(positions, owner, strict=True):
        spread = np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 0.6**2))
        made[n] += 300.0 * spread / (2 * np.pi * 0.6**2)
    noisy = made + dark + RNG.normal(0, sigma, made.shape)
    return np.clip(np.round(noisy), 0, 65535).astype(np.uint16)


def test_electrons_on_noise_are_found_where_they_are() -> None:
    """Well apart: every one is found, none is invented, its place is right to a tenth of a pixel and its energy to a few percent."""
    shape, frames = (40, 56), 12
    y, x = np.meshgrid(np.arange(4, 40, 8), np.arange(4, 56, 8), indexing="ij")
    grid = np.stack([y.reshape(-1), x.reshape(-1)], 1)
    positions = np.concatenate([grid + RNG.uniform(-0.49, 0.49, grid.shape) for _ in range(frames)])
    owner = np.repeat(np.arange(frames), len(grid))
    dark = RNG.uniform(90, 140, shape)
    made = detector(positions, owner, frames, shape, dark)
    made[3, 10:13, 20] = 60000
    limits = thresholds_of(made[:6], dark)
    assert limits.noise_sigma == pytest.approx(6.0, rel=0.05) and abs(limits.noise_mean) < 0.5
    assert 0.85 < limits.share < 1.0 and limits.background == pytest.approx(24.0, rel=0.06)
    assert limits.false_per_pixel == pytest.approx(3.17e-5, rel=0.01)
    for method in ("maxima", "components"):
        rule = CountingRule(background=40.0, ceiling=5000.0, dark=dark, method=method)
        found = electrons_of(made, rule)
        assert found.rejected == 1 or (method == "maxima" and found.rejected == 2)
        near = (found.frame == 3) & (np.abs(found.pixel // 56 - 11) < 4) & (np.abs(found.pixel % 56 - 20) < 4)
        place = np.stack(np.divmod(found.pixel, 56), 1) + found.subpixel
        distance = np.array([np.hypot(*(positions[owner == n] - p).T).min() for n, p in zip(found.frame, place, strict=True)])
        assert abs(len(found) - near.sum() - len(positions)) <= 3
        assert np.sqrt(np.mean(np.sort(distance[~near])[: len(positions) - 2] ** 2)) < 0.16
        least = 0.9 if method == "maxima" else 0.65  # a group has not what lies below the background
        assert least * 300 < np.median(found.energy) < 1.1 * 300


@pytest.mark.parametrize(("kind", "close"), [("u2", 0.25), ("f4", 0.12)])
def test_noise_alone_makes_as_many_electrons_as_promised(kind: str, close: float) -> None:
    frames = RNG.normal(200.0, 9.0, (60, 120, 150))
    frames = np.round(frames).astype(kind) if kind == "u2" else frames.astype(kind)
    limits = thresholds_of(frames[:20], noise_sigmas=3.0)
    assert limits.noise_mean == pytest.approx(200.0, abs=4 * limits.mean_error + 0.05)
    assert limits.noise_sigma == pytest.approx(9.0, abs=4 * limits.sigma_error + 0.05) and limits.sigma_error < 0.1
    above = np.count_nonzero(frames > limits.background) / frames.size
    assert above == pytest.approx(limits.false_per_pixel, rel=close)
    assert len(electrons_of(frames, CountingRule(background=limits.background))) <= np.count_nonzero(frames > limits.background)


def occupied(occupancy: Any, frames: int, shape: tuple[int, int], add: bool, random: np.random.Generator) -> np.ndarray:
    """Frames of single-pixel electrons with broadly spread signals; those of one pixel add up, or the brighter one counts."""
    n = random.poisson(np.broadcast_to(occupancy, (frames, *shape)))
    made = np.zeros(n.shape)
    for i in range(n.max()):
        signal = random.gamma(3.0, 30.0, n.shape) + 1.0
        made = np.where(n > i, made + signal if add else np.maximum(made, signal), made)
    return made.astype(np.float32)


@pytest.mark.parametrize("occupancy", [0.01, 0.05, 0.1, 0.2])
def test_the_law_of_coincidence_is_exact(occupancy: float) -> None:
    frames = occupied(occupancy, 200, (96, 101), True, np.random.default_rng(4))
    inside = np.zeros((96, 101), bool)
    inside[1:-1, 1:-1] = True
    found = electrons_of(frames, CountingRule(background=0.5))
    counted = np.count_nonzero(inside.reshape(-1)[found.pixel]) / (200 * inside.sum())
    error = np.sqrt(counted / (200 * inside.sum()))
    assert abs(counted - counted_of(np.array(occupancy))) < 4 * error
    back = float(occupancy_of(np.array(counted)))
    assert abs(back - occupancy) < 4 * error / (1 - 9 * counted)
    assert counted < 0.96 * occupancy  # without the correction it is wrong


def test_occupancy_that_differs_from_pixel_to_pixel_is_found() -> None:
    y, x = np.indices((31, 37))
    truth = 0.16 * np.exp(-((y - 14.0) ** 2 + (x - 20.0) ** 2) / (2 * 6.0**2)) + 0.002
    random, counted, frames = np.random.default_rng(7), np.zeros(31 * 37), 2400
    for _ in range(12):
        found = electrons_of(occupied(truth, frames // 12, (31, 37), False, random), CountingRule(background=0.5))
        counted += np.bincount(found.pixel, minlength=31 * 37)
    got = occupancy_map(counted.reshape(31, 37), frames)
    error = np.sqrt(truth / frames) * 1.6
    assert np.abs(np.mean((got - truth) / error)) < 0.15 and np.std((got - truth) / error) < 1.2
    assert (counted.sum() / frames) / truth.sum() < 0.8 and got.sum() == pytest.approx(truth.sum(), rel=0.01)
    for bad in (np.full((9, 9), 900.0), np.ones(4), -np.ones((3, 3))):
        with pytest.raises(InputError):
            occupancy_map(bad, 1000)
    with pytest.raises(InputError, match="cannot have been counted"):
        occupancy_of(np.array([0.05, 0.12]))
    assert np.array_equal(occupancy_map(np.zeros((4, 5)), 3), np.zeros((4, 5)))


class Frames:
    frame, scan = (16, 24), (3, 9)

    def __init__(self, parts: list[Chunk]) -> None:
        self.parts = parts

    @property
    def rejected(self) -> Mapping[str, int]:
        return {"frames that did not come": 2}

    def chunks(self) -> Iterator[Chunk]:
        yield from self.parts


def test_a_stream_of_frames_becomes_one_of_electrons_however_it_is_cut() -> None:
    frames = (RNG.integers(0, 50, (29, 16, 24)) * (RNG.random((29, 16, 24)) < 0.05)).astype(np.uint16)
    frames[7, 3, 4] = 900
    position = RNG.permutation(29) - 2
    rule = CountingRule(background=20.0, ceiling=500.0)
    whole = electrons_of(frames, rule)
    event = EventChunk(position=np.array([3]), pixel=np.array([5]))
    cuts = [0, 4, 5, 21]
    parts: list[Chunk] = [FrameChunk(position=p, frames=f) for p, f in zip(np.split(position, cuts), np.split(frames, cuts), strict=True)]
    stream = ElectronStream(Frames([*parts, event]), rule)
    assert isinstance(stream, LiveStream) and stream.frame == (16, 24) and stream.scan == (3, 9)
    *chunks, last = list(stream.chunks())
    assert last is event and all(isinstance(chunk, EventChunk) for chunk in chunks) and not len(chunks[0])
    for name, expected in (("position", position[whole.frame]), ("pixel", whole.pixel), ("energy", whole.energy), ("subpixel", whole.subpixel)):
        assert np.array_equal(np.concatenate([getattr(chunk, name) for chunk in chunks]), expected)
    assert stream.rejected == {"frames that did not come": 2, XRAYS: 1}


def test_a_rule_is_learnt_from_the_first_frames_however_they_are_cut() -> None:
    frames = RNG.normal(10.0, 2.0, (LEARNT_FROM + 11, 12, 14)) + 60.0 * (RNG.random((LEARNT_FROM + 11, 12, 14)) < 0.02)
    frames = np.clip(np.rint(frames), 0, None).astype(np.uint16)
    position = np.arange(len(frames))

    def rule(some: np.ndarray) -> CountingRule:
        seen.append(len(some))
        limits = thresholds_of(some)
        return CountingRule(background=limits.background, ceiling=limits.ceiling)

    seen: list[int] = []
    expected = electrons_of(frames, rule(frames[:LEARNT_FROM]))
    assert 0.01 < len(expected) / frames.size < 0.03
    for cuts in ([], [3, 3, 40, LEARNT_FROM + 2], [LEARNT_FROM]):
        parts: list[Chunk] = [FrameChunk(position=p, frames=f) for p, f in zip(np.split(position, cuts), np.split(frames, cuts), strict=True)]
        stream = ElectronStream(Frames(parts), rule)
        assert stream.rule is None
        chunks = [chunk for chunk in stream.chunks() if isinstance(chunk, EventChunk)]
        assert np.array_equal(np.concatenate([chunk.pixel for chunk in chunks]), expected.pixel)
        assert np.array_equal(np.concatenate([chunk.position for chunk in chunks]), position[expected.frame])
    few = ElectronStream(Frames([FrameChunk(position=position[:9], frames=frames[:9])]), rule)
    assert sum(map(len, few.chunks())) > 0 and seen == [LEARNT_FROM] * 4 + [9]


def test_threads_and_dead_pixels() -> None:
    import torch

    frames = (RNG.integers(0, 250, (40, 21, 70)) * (RNG.random((40, 21, 70)) < 0.3)).astype(np.uint8)
    dead = RNG.random((21, 70)) < 0.2
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            set_threads(threads)
            found.append(electrons_of(frames, CountingRule(background=10.0, dead=dead)))
    finally:
        set_threads(before)
    assert np.array_equal(found[0].pixel, found[1].pixel) and np.array_equal(found[0].energy, found[1].energy)
    assert not dead.reshape(-1)[found[0].pixel].any()
    expected = strict_maxima(np.where(dead, 0, frames), 10.0)
    assert len(found[0]) == expected.sum()


@pytest.mark.parametrize(("about", "what"), [
    ({"background": 5.0, "ceiling": 5.0}, "thresholds"), ({"background": -1.0}, "thresholds"),
    ({"background": 1.0, "dark": np.zeros((3, 4)), "gain": np.ones((4, 3))}, "of one shape"),
    ({"background": 1.0, "gain": np.zeros((3, 4))}, "above zero"),
])
def test_rules_that_are_none_are_refused(about: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        CountingRule(**about)


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit the rule"):
        electrons_of(np.zeros((2, 4, 4)), CountingRule(background=1.0, dark=np.zeros((3, 4))))
    with pytest.raises(InputError, match="do not fit the rule"):
        electrons_of(np.zeros((2, 4, 4), complex), CountingRule(background=1.0))
    with pytest.raises(InputError, match="no spread"):
        thresholds_of(np.zeros((4, 8, 8), np.uint16))
    with pytest.raises(InputError, match="dark does not fit"):
        thresholds_of(np.zeros((4, 8, 8), np.uint16), np.zeros((8, 9)))
    assert not len(electrons_of(np.zeros((0, 4, 4), np.uint16), CountingRule(background=1.0)))
