"""Dectris streams of both versions: what the messages say, damage that harms nothing, and a real ZeroMQ socket where pyzmq is installed."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from exitwave.core.errors import FormatError, InputError
from exitwave.data import ArrayFrames, LiveStream
from exitwave.io.streams import cbor, simplon
from exitwave.io.streams.codecs import Codec, decompressed
from exitwave.io.streams.frame_order import LOST, TWICE, UNCLOSED, FrameScan
from exitwave.io.streams.simplon import OTHERS, SHAPES, UNREADABLE, SimplonStream, simplon_stream
from exitwave.io.streams.simplon_messages import Other, read_message
from exitwave.io.streams.simplon_sender import SimplonSender, packed, simplon_messages_of
from tests.unit.io.test_merlin_stream import collected

RNG = np.random.default_rng(12)
SHAPE = (4, 6, 19, 37)
COUNTS = RNG.poisson(0.7, SHAPE)


class Listed:
    """Messages from a list, None where it says so; at its end silence, or the detector has gone."""

    name = "a detector"

    def __init__(self, messages: Sequence[Sequence[bytes] | None], gone: bool = True) -> None:
        self.messages, self.gone, self.closed = list(messages), gone, False

    def receive(self, wait_s: float) -> Sequence[bytes | memoryview] | None:
        if self.messages:
            return self.messages.pop(0)
        return [] if self.gone else None

    def close(self) -> None:
        self.closed = True


def sent(array: np.ndarray, **about: Any) -> list[list[bytes]]:
    return list(simplon_messages_of(ArrayFrames(array=array), **about))


@pytest.mark.parametrize("packing", ["none", "lz4", "bslz4"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4"])
def test_every_version_type_and_packing_comes_back(kind: str, version: Any, packing: Any) -> None:
    array = COUNTS.astype(kind) * 3
    source = Listed([None, *sent(array, version=version, packing=packing)])
    stream = SimplonStream(source, FrameScan(rows=4, columns=6, serpentine=True), wait_s=1.0)
    assert isinstance(stream, LiveStream) and stream.frame == SHAPE[2:] and stream.scan == (4, 6)
    position, frames = collected(stream)
    assert frames.dtype == array.dtype and np.array_equal(frames, array.reshape(-1, *SHAPE[2:]))
    assert position[5:12].tolist() == [5, 11, 10, 9, 8, 7, 6]
    assert stream.rejected == {} and stream.ending == "a detector: all 24 frames came." and source.closed


def test_damage_loss_and_other_series_are_counted_and_passed_over() -> None:
    array = COUNTS.astype(np.uint16)
    start, *images, end = sent(array)
    cut, strange = images[3][0][:-9], sent(array, series=9)[1]
    wrong = cbor.encode({"type": "image", "series_id": 1, "image_id": 7, "data": {"threshold_1": np.zeros((3, 4), np.uint16)}})
    odd = [[cut], images[4], strange, [b"\x00nonsense"], [b"{not json"], images[2], [wrong]]
    messages = [start, *images[:3], *odd, *images[8:20], None, end, images[20]]
    stream = SimplonStream(Listed(messages), wait_s=1.0)
    position, frames = collected(stream)
    assert position.tolist() == [0, 1, 2, 4, *range(8, 20)]
    assert np.array_equal(frames, array.reshape(-1, *SHAPE[2:])[position])
    assert stream.rejected == {LOST: 8, TWICE: 1, OTHERS: 1, UNREADABLE: 3, SHAPES: 1, UNCLOSED: 1}
    assert stream.ending == "a detector ended the series after 16 of 24 frames."


def test_a_detector_that_falls_silent_ends_the_stream_with_one_sentence() -> None:
    messages = sent(COUNTS.astype(np.uint8), version=1)[:9]
    stream = SimplonStream(Listed(messages, gone=False), wait_s=1.0, idle_s=0.05)
    chunks = list(stream.chunks())
    assert any(not len(chunk) for chunk in chunks) and sum(map(len, chunks)) == 8
    assert stream.ending == "a detector fell silent after 8 of 24 frames." and stream.rejected == {LOST: 16, UNCLOSED: 1}
    gone = SimplonStream(Listed(messages), wait_s=1.0)
    assert len(collected(gone)[0]) == 8 and gone.ending == stream.ending
    with pytest.raises(InputError, match="sent no frame"):
        SimplonStream(Listed(messages[:1], gone=False), wait_s=0.05)


def test_thresholds_and_masks_are_understood() -> None:
    mask = np.zeros((5, 7), np.uint32)
    mask[2, 3] = 1
    start = cbor.encode({"type": "start", "series_id": 4, "number_of_images": 2, "channels": ["low", "high"],
                         "pixel_mask": {"low": mask, "high": mask}})
    pictures = [{"low": RNG.integers(0, 9, (5, 7)).astype(np.uint16), "high": RNG.integers(0, 9, (5, 7)).astype(np.uint16)} for _ in range(2)]
    images = [cbor.encode({"type": "image", "series_id": 4, "image_id": i, "data": data}) for i, data in enumerate(pictures)]
    for channel in (None, "high"):
        stream = SimplonStream(Listed([[start], *([image] for image in images)]), channel=channel, wait_s=1.0)
        assert stream.alive is not None and not stream.alive[2, 3] and stream.alive.sum() == 34
        assert np.array_equal(collected(stream)[1], [data[channel or "low"] for data in pictures])


@pytest.mark.parametrize("element", [1, 2, 4])
@pytest.mark.parametrize("packing", ["lz4", "bslz4"])
def test_codecs_unpack_what_the_hdf5_filters_pack_and_survive_damage(packing: Any, element: int) -> None:
    """Sizes around whole blocks and whole eights; then every kind of damage is an error, never a crash or a wrong size."""
    for pixels in (1, 7, 8, 1023, 8192, 20_011):
        array = RNG.poisson(1.0, (1, pixels)).astype(f"u{element}")
        got = decompressed(memoryview(packed(array, packing)), packing, element, array.nbytes)
        assert np.array_equal(got.view(array.dtype), array[0])
    noise = RNG.integers(0, 256, (1, 5000)).astype(np.uint8)
    assert np.array_equal(decompressed(memoryview(packed(noise, packing)), packing, 1), noise[0])
    whole = packed(array, packing)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(int(RNG.integers(1, 4))):
            data[int(RNG.integers(0, len(data)))] = int(RNG.integers(0, 256))
        data = data[: int(RNG.integers(0, len(data) + 1))] if RNG.random() < 0.5 else data
        with suppress(FormatError):
            assert len(decompressed(memoryview(bytes(data)), packing, element, array.nbytes)) == array.nbytes


def test_a_block_of_lz4_without_framing() -> None:
    array = np.repeat(np.arange(40, dtype=np.uint16), 9)
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        node = file.create_dataset("x", data=array, chunks=array.shape, **hdf5plugin.LZ4())
        block = node.id.read_direct_chunk((0,))[1][16:]
    codec: Codec = "lz4-block"
    assert np.array_equal(decompressed(memoryview(block), codec, 2, array.nbytes).view(np.uint16), array)
    with pytest.raises(FormatError, match="damaged"):
        decompressed(memoryview(block), codec, 2, array.nbytes + 1)


def test_cbor_round_trip_and_published_examples() -> None:
    """Appendix A of RFC 8949, and damage at every byte."""
    examples = {"1bffffffffffffffff": 18446744073709551615, "3903e7": -1000, "f93c00": 1.0, "fa47c35000": 100000.0, "fb3ff199999999999a": 1.1,
                "f4": False, "f6": None, "6449455446": "IETF", "62c3bc": "ü", "8301820203820405": [1, [2, 3], [4, 5]], "bf61610161629f0203ffff":
                {"a": 1, "b": [2, 3]}, "c074323031332d30332d32315432303a30343a30305a": "2013-03-21T20:04:00Z",
                "9f018202039f0405ffff": [1, [2, 3], [4, 5]]}
    for message, value in examples.items():
        assert cbor.decode(bytes.fromhex(message)) == value
    told = {"a": [1, -5, 2.5, None, True], "text": "µm", "big": 2**40, "x": RNG.normal(size=(3, 4)).astype(np.float32),
            "n": np.arange(300, dtype=np.int16)}
    message = cbor.encode(told)
    back = cbor.decode(message)
    assert back["a"] == told["a"] and back["text"] == "µm" and back["big"] == 2**40
    assert np.array_equal(back["x"], told["x"]) and back["x"].dtype == np.float32 and np.array_equal(back["n"], told["n"])
    for cut in range(len(message)):
        with pytest.raises(FormatError):
            cbor.decode(message[:cut])
    for _ in range(2000):
        data = bytearray(message)
        data[int(RNG.integers(0, len(data)))] = int(RNG.integers(0, 256))
        with suppress(FormatError):
            read_message([bytes(data)])


def test_frames_of_an_unpublished_kind_are_refused() -> None:
    start, image, *_ = sent(COUNTS.astype(np.uint16), version=1)
    for change in ({"encoding": "zip<"}, {"type": "float32"}, {"encoding": "bs32-lz4<"}, {"shape": [0, 4]}, {"shape": [10**6, 10**6]}):
        parts = [image[0], json.dumps(json.loads(image[1]) | change).encode(), *image[2:]]
        with pytest.raises(FormatError):
            read_message(parts)
    assert isinstance(read_message([b'{"nimages": 5}']), Other) and start
    with pytest.raises(InputError, match="does not send"):
        next(simplon_messages_of(ArrayFrames(array=COUNTS.astype(np.int16))))


def test_over_a_real_socket() -> None:
    pytest.importorskip("zmq")
    array = COUNTS.astype(np.uint16)
    for version in (1, 2):
        with SimplonSender(lambda version=version: simplon_messages_of(ArrayFrames(array=array), version)) as sender:
            stream = simplon_stream(sender.address, wait_s=5.0, idle_s=5.0)
            assert np.array_equal(collected(stream)[1], array.reshape(-1, *SHAPE[2:])) and stream.rejected == {}

    def dying() -> Iterator[Sequence[bytes]]:
        yield from sent(array)[:7]

    with SimplonSender(dying) as sender:
        stream = simplon_stream(sender.address, wait_s=5.0, idle_s=5.0)
        parts = stream.chunks()
        first = next(parts)
    rest = list(parts)  # the sender has hung up
    came = len(first) + sum(map(len, rest))  # what was still on its way when it hung up is lost
    assert 1 <= came <= 6 and stream.ending.endswith(f"fell silent after {came} of 24 frames.")


def test_without_pyzmq_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zmq", None)
    with pytest.raises(InputError, match=r"exitwave\[zeromq\]"):
        simplon.simplon_stream("tcp://127.0.0.1:9999")
