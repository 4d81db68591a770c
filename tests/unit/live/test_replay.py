"""Streams made of scans: nothing is lost, nothing comes twice, the pace is kept in order."""

from pathlib import Path

import numpy as np
import pytest

from exitwave.core import FormatError, InputError
from exitwave.core.seeds import generator_at
from exitwave.data import ArrayFrames, FrameChunk, LiveStream
from exitwave.live import FrameReplay, Microscope, Part, merged_parts, paced, read_part, share_of, watch, write_part
from exitwave.recon.live import CountCube

SHAPE = (5, 7, 4, 6)
FRAMES = ArrayFrames(array=generator_at(2, 0).poisson(0.8, SHAPE).astype(np.uint16))
CUBE = CountCube(pixels=np.arange(24), sets=2)


def test_frames_come_in_order_and_whole() -> None:
    stream = FrameReplay(FRAMES, chunk_bytes=500)
    assert isinstance(stream, LiveStream) and (stream.scan, stream.frame) == ((5, 7), (4, 6))
    chunks = [chunk for chunk in stream.chunks() if isinstance(chunk, FrameChunk)]
    assert len(chunks) > 3 and np.array_equal(np.concatenate([c.position for c in chunks]), np.arange(35))
    assert np.array_equal(np.concatenate([c.frames for c in chunks]).reshape(SHAPE), FRAMES.array)


def test_every_count_is_one_electron_within_its_dwell_time() -> None:
    stream = Microscope(FRAMES, dwell_ns=900, seed=4)
    chunks = list(stream.chunks())
    position, pixel = (np.concatenate([getattr(c, name) for c in chunks]) for name in ("position", "pixel"))
    time = np.concatenate([c.time_ns for c in chunks if c.time_ns is not None])
    made = np.zeros((35, 24), int)
    np.add.at(made, (position, pixel), 1)
    assert np.array_equal(made.reshape(SHAPE), FRAMES.array)
    assert (np.diff(time) >= 0).all() and np.array_equal(time // 900, position) and len(np.unique(time % 900)) > 100
    with pytest.raises(InputError, match="only counts"):
        Microscope(ArrayFrames(array=np.ones(SHAPE, np.float32)))
    with pytest.raises(InputError, match="below zero"):
        list(Microscope(ArrayFrames(array=-np.ones(SHAPE, np.int16))).chunks())


@pytest.mark.parametrize("source", [FrameReplay(FRAMES, chunk_bytes=500), Microscope(FRAMES)])
def test_a_pace_changes_nothing_but_the_time(source: LiveStream) -> None:
    whole, slow = (watch(stream, {"cube": CUBE}, SHAPE) for stream in (source, paced(source, 2e4)))
    assert (whole.events, whole.frames) == (slow.events, slow.frames)
    one, other = (sum(ended.states["cube"].canvas.counts.astype(int).reshape(2, 24, -1)) for ended in (whole, slow))
    assert np.array_equal(one, other)
    assert max(len(chunk) for chunk in paced(source, 300.0).chunks()) <= 30
    with pytest.raises(InputError, match="rate"):
        paced(source, 0.0)


def test_shares_are_a_partition_and_their_parts_one_scan(tmp_path: Path) -> None:
    source = Microscope(ArrayFrames(array=np.tile(FRAMES.array, (1, 20, 12, 10))))
    shape = source.frames.shape
    cube = CountCube(pixels=np.arange(shape[2] * shape[3]))
    assert len(list(source.chunks())) > 3
    whole = watch(source, {"phase": cube}, shape)
    parts = {}
    for i in range(3):
        ended = watch(share_of(source, i, 3), {"phase": cube}, shape)
        recipe = {"method": "obf", "share": (i, 3), "shape": shape, "halves": False}
        write_part(tmp_path / f"{i}.h5", Part(recipe=recipe, states=ended.states, events=ended.events))
        parts[f"{i}.h5"] = read_part(tmp_path / f"{i}.h5")
    assert all(part.events for part in parts.values()) and sum(part.events for part in parts.values()) == whole.events
    state = merged_parts(parts, {"phase": cube}).states["phase"]
    wanted = whole.states["phase"]
    assert state.canvas.flat.dtype == wanted.canvas.flat.dtype and np.array_equal(state.canvas.counts, wanted.canvas.counts)
    assert np.array_equal(state.reach.seen, wanted.reach.seen) and state.events == wanted.events
    some = {name: parts[name] for name in ("0.h5", "2.h5")}
    with pytest.raises(InputError, match="expected 1/3 2/3 3/3, got 1/3 3/3"):
        merged_parts(some, {"phase": cube})
    other = Part(recipe={**parts["1.h5"].recipe, "method": "ssb"}, states=parts["1.h5"].states, events=1)
    with pytest.raises(InputError, match="another method"):
        merged_parts({"0.h5": parts["0.h5"], "1.h5": other}, {"phase": cube})
    with pytest.raises(InputError, match="1/2"):
        share_of(source, 2, 2)
    (tmp_path / "no.h5").write_bytes((tmp_path / "0.h5").read_bytes()[:5000])
    with pytest.raises(FormatError):
        read_part(tmp_path / "no.h5")


def test_an_empty_place_is_given_for_what_belongs_to_others() -> None:
    lengths = [len(chunk) for chunk in share_of(FrameReplay(FRAMES, chunk_bytes=500), 1, 2).chunks()]
    assert lengths[0] == 0 and lengths[1] > 0 and len(lengths) == len(list(FrameReplay(FRAMES, chunk_bytes=500).chunks()))
