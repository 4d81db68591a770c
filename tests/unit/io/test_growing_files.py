"""Files of frames read while they are written: cut anywhere, in pieces, by a writer that is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave.core.errors import FormatError, InputError
from exitwave.data import LiveStream
from exitwave.io.streams.frame_order import LOST, UNCLOSED, FrameScan
from exitwave.io.streams.growing import GrowingHdf5, follow_npy, follow_raw
from tests.unit.io.test_merlin_stream import collected

RNG = np.random.default_rng(2)
FRAMES = RNG.integers(0, 60000, (3, 5, 4, 7)).astype(">u2")


def written_slowly(path: Path, data: bytes, seed: int) -> threading.Thread:
    random = np.random.default_rng(seed)

    def write() -> None:
        time.sleep(0.03)
        with open(path, "wb", buffering=0) as file:
            at = 0
            while at < len(data):
                n = int(random.integers(1, 190))
                file.write(data[at : at + n])
                at += n
                time.sleep(0.001)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize(("offset", "gap"), [(0, 0), (13, 0), (5, 9), (0, 80)])
def test_bare_bytes_are_read_frame_by_frame_as_they_come(tmp_path: Path, offset: int, gap: int) -> None:
    flat = FRAMES.reshape(-1, 4, 7)
    data = bytes(range(offset)) + b"".join(frame.tobytes() + bytes([7] * gap) for frame in flat)
    thread = written_slowly(tmp_path / "scan.bin", data[: len(data) - gap // 2], gap)
    stream = follow_raw(tmp_path / "scan.bin", (4, 7), ">u2", FrameScan(rows=3, columns=5, serpentine=True), offset, gap, idle_s=5.0)
    assert isinstance(stream, LiveStream) and stream.scan == (3, 5)
    position, frames = collected(stream)
    thread.join()
    assert np.array_equal(frames, flat) and frames.dtype == np.uint16 and position[5:10].tolist() == [9, 8, 7, 6, 5]
    assert stream.rejected == {} and stream.ending.endswith("all 15 frames came.")


@pytest.mark.parametrize("scan", [None, FrameScan(rows=3, columns=5)])
def test_npy_says_its_shape_and_a_writer_that_stops_is_told(tmp_path: Path, scan: FrameScan | None) -> None:
    np.save(tmp_path / "whole.npy", FRAMES)
    data = (tmp_path / "whole.npy").read_bytes()
    thread = written_slowly(tmp_path / "scan.npy", data[:-70], 5)
    stream = follow_npy(tmp_path / "scan.npy", scan, idle_s=0.3)
    position, frames = collected(stream)
    thread.join()
    assert stream.scan == (3, 5) and np.array_equal(position, np.arange(13))
    assert np.array_equal(frames, FRAMES.reshape(-1, 4, 7)[:13])
    assert stream.rejected == {LOST: 2, UNCLOSED: 1} and stream.ending.endswith("ended after 13 of 15 frames.")
    assert np.array_equal(collected(follow_npy(tmp_path / "whole.npy", idle_s=0.1))[1], FRAMES.reshape(-1, 4, 7))


def test_files_that_cannot_be_followed_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "columns.npy", np.asfortranarray(FRAMES))
    (tmp_path / "other.npy").write_bytes(b"something else, and more of it")
    for name, what in (("columns.npy", "columns first"), ("other.npy", "no .npy file")):
        with pytest.raises(FormatError, match=what):
            follow_npy(tmp_path / name, idle_s=0.1)
    with pytest.raises(InputError, match="sent nothing"):
        follow_npy(tmp_path / "missing.npy", idle_s=0.05)
    with pytest.raises(InputError, match="bare bytes"):
        follow_raw(tmp_path / "x", (0, 4), "<u2")
    with pytest.raises(InputError, match="SWMR"):
        GrowingHdf5(tmp_path / "missing.h5", "x", idle_s=0.05)
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file["text"] = "no frames"
    with pytest.raises(FormatError, match="no dataset of frames"):
        GrowingHdf5(tmp_path / "a.h5", "text", idle_s=0.1)


@pytest.mark.parametrize("chunks", [(1, 4, 7), (4, 4, 7), (3, 2, 7)])
def test_no_frame_of_an_hdf5_file_is_taken_before_it_is_written(tmp_path: Path, chunks: tuple[int, ...]) -> None:
    """The writer makes the dataset longer first and fills it later; what has not been written reads as zeros, of which there are none here."""
    flat = FRAMES.reshape(-1, 4, 7) + 1
    with h5py.File(tmp_path / "scan.h5", "w", libver="latest") as file:
        node = file.create_dataset("entry/data", (0, 4, 7), maxshape=(None, 4, 7), chunks=chunks, dtype=">u2")
        file.swmr_mode = True
        stream = GrowingHdf5(tmp_path / "scan.h5", "entry/data", FrameScan(rows=2, columns=7), idle_s=0.2)
        parts, found, written = stream.chunks(), [], 0
        assert not len(next(parts))
        for more in (1, 5, 2, 6):
            node.resize(written + more, 0)
            node.flush()
            found += [chunk for chunk in islice(parts, 2) if len(chunk)]
            node[written : written + more] = flat[written : written + more]
            node.flush()
            written += more
            found += [chunk for chunk in islice(parts, 2) if len(chunk)]
        found += list(parts)
    frames = np.concatenate([chunk.frames for chunk in found])
    assert np.array_equal(frames, flat[:14]) and stream.rejected == {}
    assert np.array_equal(np.concatenate([chunk.position for chunk in found]), np.arange(14))


WRITER = """
import sys, time, h5py, numpy as np
with h5py.File(sys.argv[1], "w", libver="latest") as file:
    node = file.create_dataset("scan", (6, 5, 4, 7), chunks=(1, 5, 4, 7), dtype="u2")
    file.swmr_mode = True
    print("ready", flush=True)
    for row in range(6):
        node[row] = row + 1
        node.flush()
        if row == 3:
            print("four", flush=True)
            time.sleep(60)
"""


def test_a_writer_that_is_killed_ends_the_stream_with_one_sentence(tmp_path: Path) -> None:
    path = str(tmp_path / "scan.h5")
    writer: Any = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "ready\n"
        stream = GrowingHdf5(path, "scan", idle_s=1.0)
        assert writer.stdout.readline() == "four\n"
        os.kill(writer.pid, signal.SIGKILL)
    finally:
        writer.kill()
        writer.wait(5)
        writer.stdout.close()
    position, frames = collected(stream)
    assert np.array_equal(position, np.arange(20)) and np.array_equal(frames[:, 0, 0], np.repeat([1, 2, 3, 4], 5))
    assert stream.rejected == {LOST: 10, UNCLOSED: 1} and stream.ending.endswith("ended after 20 of 30 frames.")
