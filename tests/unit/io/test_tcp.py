"""Streams over real connections and from files that grow."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from exitwave.core.errors import FormatError, InputError
from exitwave.data import EventChunk, LiveStream
from exitwave.io.streams import Listener, PackedStream, Recorder, Tpx3File, Tpx3Stream, connect, open_events
from exitwave.io.streams.packed import closing, encode_block, encode_header
from tests.packed import PACKING, some
from tests.timepix import SECOND, chunk, hit, raw


@contextmanager
def sender(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that accepts one peer and talks to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(10)
                talk(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join(10)
            assert not thread.is_alive()


def drained(stream: LiveStream) -> tuple[list[EventChunk], int]:
    """Events, and how often the stream said that it waits."""
    chunks = list(stream.chunks())
    return [c for c in chunks if len(c)], sum(not len(c) for c in chunks)


def test_packed_events_over_a_connection_with_a_pause() -> None:
    go = threading.Event()

    def talk(peer: socket.socket) -> None:
        data = encode_header(PACKING) + encode_block(PACKING, some(900), 0).tobytes()
        for at in range(0, len(data), 777):
            peer.sendall(data[at : at + 777])
        go.wait(10)
        peer.sendall(encode_block(PACKING, some(5, 1), 1).tobytes() + closing(2))

    with sender(talk) as address:
        stream = open_events(address)
        assert isinstance(stream, PackedStream) and isinstance(stream, LiveStream)
        assert (stream.frame, stream.scan) == ((9, 14), (5, 7))
        got, waited = [], 0
        for chunk_ in stream.chunks():
            got += [chunk_] if len(chunk_) else []
            waited += not len(chunk_)
            if waited == 2:
                go.set()
    assert [len(c) for c in got] == [900, 5]
    assert waited >= 2
    assert (stream.complete, dict(stream.rejected)) == (True, {})


def test_a_sender_that_dies_ends_the_stream_and_it_is_told() -> None:
    go = threading.Event()

    def talk(peer: socket.socket) -> None:
        peer.sendall(encode_header(PACKING) + encode_block(PACKING, some(70), 0).tobytes() + encode_block(PACKING, some(9), 1).tobytes()[:50])
        go.wait(10)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by a reset

    with sender(talk) as address:
        stream = open_events(address)
        chunks = stream.chunks()
        got = [len(next(chunks))]
        go.set()
        got += [len(c) for c in chunks if len(c)]
    assert got == [70]
    assert stream.rejected["streams that ended without saying so"] == 1


def packets(n: int) -> bytes:
    words = [hit(i % 256, 7 * i % 256, 9 + i % 500, SECOND + 300 * i) for i in range(n)]
    return raw([word for i in range(0, n, 50) for word in chunk(i // 50 % 4, words[i : i + 50])])


def test_timepix3_packets_over_a_connection_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.tpx3").write_bytes(packets(3000))
    want = np.concatenate([c.pixel for c in Tpx3File(tmp_path / "a.tpx3").chunks()])

    def talk(peer: socket.socket) -> None:
        for at in range(0, len(packets(3000)), 1234):
            peer.sendall(packets(3000)[at : at + 1234])

    with sender(talk) as address:
        stream = open_events(address)
        assert isinstance(stream, Tpx3Stream) and isinstance(stream, LiveStream)
        got, _ = drained(stream)
    assert np.array_equal(np.concatenate([c.pixel for c in got]), want)
    assert dict(stream.rejected) == {}


def test_a_listener_takes_the_sender_that_comes() -> None:
    with Listener("tcp://127.0.0.1:0") as listener:
        peer = connect(listener.address)
        source = listener.accept(5, idle_s=0.0)
        stream_of = threading.Thread(target=lambda: peer._socket.sendall(encode_header(PACKING) + encode_block(PACKING, some(40), 0).tobytes()))
        stream_of.start()
        got, _ = drained(PackedStream(source))
        stream_of.join(5)
        peer.close()
    assert [len(c) for c in got] == [40]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_connections_that_cannot_be_say_so() -> None:
    with pytest.raises(InputError, match=r"nobody answers.*start the sender"):
        connect(f"127.0.0.1:{free_port()}", wait_s=0.1)
    for address in ("127.0.0.1", "tcp://host:port", "tcp://127.0.0.1:70000"):
        with pytest.raises(InputError, match="an address of a stream"):
            connect(address)
    with Listener(":0") as listener:
        with pytest.raises(InputError, match="nobody connected"):
            listener.accept(0.05)
        with pytest.raises(InputError, match="cannot be listened at"):
            Listener(listener.address)
    with sender(lambda peer: None) as address, pytest.raises(InputError, match="sent nothing"):
        open_events(address)
    with sender(lambda peer: peer.sendall(b"GET / HTTP/1.1\r\n" * 20)) as address, pytest.raises(FormatError, match="no event stream"):
        open_events(address)


def test_a_growing_recording_is_followed_to_its_closing_block(tmp_path: Path) -> None:
    path, seen = tmp_path / "run.events", 0
    with Recorder(path, PACKING, block_events=100) as recorder:
        stream = open_events(path, follow=True, idle_s=10.0)
        chunks = stream.chunks()
        for i in range(5):
            recorder.write(some(130, i))
            recorder.flush()
            while seen < 130 * (i + 1):
                seen += len(next(chunks))
        assert len(next(chunks)) == 0  # it waits
    assert sum(map(len, chunks)) == 0
    assert (seen, dict(stream.rejected)) == (650, {})


def test_a_growing_file_of_packets_ends_when_nothing_comes(tmp_path: Path) -> None:
    path, data = tmp_path / "a.tpx3", packets(700)
    path.write_bytes(data[:3001])
    stream = open_events(path, follow=True, idle_s=0.3)
    pixels = []
    for i, chunk_ in enumerate(stream.chunks()):
        pixels.append(chunk_.pixel)
        if i == 2:
            with path.open("ab") as file:
                file.write(data[3001:])
    assert np.array_equal(np.concatenate(pixels), np.concatenate([c.pixel for c in open_events(path).chunks()]))


def test_a_file_that_shrinks_or_never_comes_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sent nothing"):
        open_events(tmp_path / "none", follow=True, wait_s=0.1)
    path = tmp_path / "a.tpx3"
    path.write_bytes(packets(100))
    chunks = open_events(path, follow=True, idle_s=10.0).chunks()
    next(chunks)
    path.write_bytes(packets(4))
    with pytest.raises(InputError, match="became shorter"):
        list(chunks)
