"""Merlin's messages: any cut of the bytes, every pixel type, frames that are lost, sent twice or damaged, a source that dies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.core.errors import FormatError, InputError
from exitwave.data import ArrayFrames, FrameChunk, LiveStream
from exitwave.io.streams.frame_order import BEYOND, DAMAGED, LOST, TWICE, UNCLOSED, FrameLedger, FrameScan
from exitwave.io.streams.frame_sender import MerlinSender, merlin_messages, message
from exitwave.io.streams.merlin import BETWEEN, OTHER, MerlinStream, merlin_stream
from tests.contracts.cases_mib import header, quad, spread

SCAN = (5, 7)
RNG = np.random.default_rng(5)
FRAMES = RNG.integers(0, 256, (*SCAN, 6, 11)).astype(np.uint8)


class Bytes:
    """A source of given bytes in pieces of random sizes, that waits now and then."""

    name = "a camera"

    def __init__(self, data: bytes, seed: int | None = 0, longest: int = 700) -> None:
        self.data, self.at, self.closed, self.longest = data, 0, False, longest
        self.random = None if seed is None else np.random.default_rng(seed)

    def readinto(self, buffer: memoryview) -> int | None:
        if self.random is not None and self.random.random() < 0.2:
            return None
        n = len(buffer) if self.random is None else int(self.random.integers(1, self.longest))
        n = min(n, len(buffer), len(self.data) - self.at)
        buffer[:n] = self.data[self.at : self.at + n]
        self.at += n
        return n

    def close(self) -> None:
        self.closed = True


def collected(stream: Any) -> tuple[np.ndarray, np.ndarray]:
    chunks = [chunk for chunk in stream.chunks() if len(chunk)]
    assert all(isinstance(chunk, FrameChunk) for chunk in chunks)
    if not chunks:
        return np.zeros(0, int), np.zeros((0, *stream.frame))
    return np.concatenate([c.position for c in chunks]), np.concatenate([c.frames for c in chunks])


def sent(array: np.ndarray, **about: Any) -> list[bytes]:
    return list(merlin_messages(ArrayFrames(array=array), **about))


@pytest.mark.parametrize("depth", [None, 1, 6, 12, 24])
@pytest.mark.parametrize("seed", [None, 1])
def test_every_pixel_type_comes_back_from_any_pieces(depth: int | None, seed: int | None) -> None:
    array = FRAMES.astype(np.uint16) * 200 if depth is None else spread(np.arange(3 * 4 * 5 * 128).reshape(3, 4, 5, 128), depth)
    stream = MerlinStream(Bytes(b"".join(sent(array, depth=depth)), seed), wait_s=2.0)
    assert isinstance(stream, LiveStream)
    assert stream.scan == array.shape[:2] and stream.frame == array.shape[2:]
    position, frames = collected(stream)
    assert frames.dtype == array.dtype
    assert np.array_equal(position, np.arange(array.shape[0] * array.shape[1]))
    assert np.array_equal(frames, array.reshape(-1, *array.shape[2:]))
    assert stream.rejected == {} and stream.ending == f"a camera: all {len(frames)} frames came."


def test_four_chips_and_frames_without_the_acquisitions_text(tmp_path: Any) -> None:
    """As an independent encoder of .mib files writes them."""
    array = RNG.integers(0, 4096, (3, 128, 128)).astype(np.uint16)
    path = quad(12)(tmp_path / "quad", array)["path"]
    data, stride = Path(path).read_bytes(), 384 + 128 * 128 * 2
    bodies = [data[i : i + stride] for i in range(0, len(data), stride)]
    stream = MerlinStream(Bytes(b"".join(message(body) for body in bodies)), wait_s=2.0)
    position, frames = collected(stream)
    assert stream.scan is None and np.array_equal(position, [0, 1, 2])
    assert np.array_equal(frames, spread(array, 12))


def test_over_a_real_socket(tmp_path: Any) -> None:
    with MerlinSender(lambda: merlin_messages(ArrayFrames(array=FRAMES)), frames_per_s=2000.0) as sender:
        stream = merlin_stream(sender.address, wait_s=5.0, idle_s=5.0)
        position, frames = collected(stream)
    assert np.array_equal(frames, FRAMES.reshape(-1, 6, 11)) and len(position) == 35
    file = tmp_path / "recorded.bin"
    file.write_bytes(b"".join(sent(FRAMES)))
    assert np.array_equal(collected(merlin_stream(file))[1], FRAMES.reshape(-1, 6, 11))


def test_a_camera_that_dies_in_the_middle_ends_the_stream_with_one_sentence() -> None:
    def dying() -> Iterator[bytes]:
        yield from sent(FRAMES)[:12]
        yield sent(FRAMES)[12][:400]

    with MerlinSender(dying) as sender:
        stream = merlin_stream(sender.address, wait_s=5.0, idle_s=5.0)
        position, frames = collected(stream)
        assert stream.ending == f"{sender.address} ended after 11 of 35 frames."
    assert np.array_equal(frames, FRAMES.reshape(-1, 6, 11)[:11]) and np.array_equal(position, np.arange(11))
    assert stream.rejected == {LOST: 24, UNCLOSED: 1}


@pytest.mark.parametrize("seed", range(4))
def test_lost_repeated_and_damaged_frames_are_counted_and_passed_over(seed: int) -> None:
    messages = sent(FRAMES)
    text, frames = messages[0], messages[1:]
    frames[4] = frames[4][:100] + frames[4][103:]  # bytes missing inside
    frames[9] = b"MPZ," + frames[9][4:]
    frames[20] = frames[20].replace(b"MQ1,000021", b"MQ1,900021")
    order = [*range(12), 11, *range(13, 30), 2, *range(30, 35)]
    stream = MerlinStream(Bytes(b"????" + text + b"".join(frames[i] for i in order[:25]) + message(b"HELLO,you") + b"".join(
        frames[i] for i in order[25:]), seed), wait_s=2.0)
    position, found = collected(stream)
    assert sorted(position.tolist()) == [i for i in range(35) if i not in (4, 9, 12, 20)]
    assert np.array_equal(found, FRAMES.reshape(-1, 6, 11)[position])
    told = dict(stream.rejected)
    assert told[TWICE] == 2 and told[OTHER] == 1 and told[LOST] == 4 and told[BETWEEN] > 400
    assert told.get(DAMAGED, 0) + told.get(BEYOND, 0) == 2
    assert stream.ending == "a camera ended after 31 of 35 frames."


def test_another_acquisition_ends_the_stream() -> None:
    stream = MerlinStream(Bytes(b"".join(sent(FRAMES)[:20] + sent(FRAMES))), wait_s=2.0)
    position, _ = collected(stream)
    assert len(position) == 19 and stream.rejected == {LOST: 16, UNCLOSED: 1}


def test_positions_follow_a_rule() -> None:
    scan = FrameScan(rows=3, columns=4, flyback=2, before=1, serpentine=True)
    expected = [-1, 0, 1, 2, 3, -1, -1, 7, 6, 5, 4, -1, -1, 8, 9, 10, 11, -1, -1, -1]
    assert scan.positions(np.arange(20)).tolist() == expected and scan.frames == 17
    twice = FrameScan(rows=2, columns=2, each=2, flyback=1)
    assert twice.positions(np.arange(9)).tolist() == [0, 0, 1, 1, -1, 2, 2, 3, 3]
    with pytest.raises(InputError, match="frames of a scan"):
        FrameScan(rows=0, columns=4)
    stream = MerlinStream(Bytes(b"".join(sent(FRAMES))), FrameScan(rows=4, columns=6, flyback=1, before=2), wait_s=2.0)
    position, _ = collected(stream)
    assert stream.scan == (4, 6) and position[:10].tolist() == [-1, -1, 0, 1, 2, 3, 4, 5, -1, 6]


def test_a_source_without_frames_is_refused() -> None:
    with pytest.raises(FormatError, match="ended before its first frame"):
        MerlinStream(Bytes(b"no camera" * 900), wait_s=1.0)
    with pytest.raises(FormatError, match="cannot be read"):
        MerlinStream(Bytes(message(b"MQ1,000001,00384,0x,nonsense" + bytes(400))), wait_s=1.0)
    with pytest.raises(FormatError, match="nobody here reads"):
        MerlinStream(Bytes(message(header(1, 8, 8, "I08") + bytes(64))), wait_s=1.0)
    with pytest.raises(InputError, match="nobody answers"):
        merlin_stream("tcp://127.0.0.1:9", wait_s=0.1)
    with pytest.raises(InputError, match="does not send"):
        next(merlin_messages(ArrayFrames(array=FRAMES), depth=6))


def test_a_ledger_counts_late_and_surplus_frames() -> None:
    ledger = FrameLedger(6)
    assert ledger.take(np.array([1, 0, 4, 4, 7, -1])).tolist() == [True, True, True, False, False, False]
    assert ledger.take(np.array([2])).tolist() == [True] and not ledger.complete
    assert ledger.rejected(False) == {LOST: 1, TWICE: 1, BEYOND: 2}
    assert ledger.take(np.array([3, 5])).all() and ledger.complete
    endless = FrameLedger(0)
    endless.take(np.array([5000]))
    assert endless.rejected(True) == {LOST: 5000, UNCLOSED: 1}
