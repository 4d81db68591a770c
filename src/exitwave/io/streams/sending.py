"""A file sent over a connection at a chosen pace, by a process of its own whose cost is measured."""

import os
import socket
import time
from collections.abc import Iterator
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np

from exitwave.core import record
from exitwave.core.errors import ExitwaveError, InputError
from exitwave.io.streams import packed
from exitwave.io.streams._advance import advance
from exitwave.io.streams._tpx3 import NOW
from exitwave.io.streams.packed import HEAD, START, Block, Packing, decode_columns, decode_head
from exitwave.io.streams.recognise import LOOK, kind_of
from exitwave.io.streams.replay import WAIT_S, Extent, Pace, Schedule, pieces
from exitwave.io.streams.tcp import parse_address
from exitwave.io.streams.tpx3 import begin, decode
from exitwave.io.streams.tpx3_stream import usual

PIECE_WORDS = 2**15
HEAD_WORDS = 2**13
GAP_CLOCKS = 40  # between loops of packets: 1 us


@record
class Sent:
    """What a sender did: `events` in `sent_bytes` over `wall_s` seconds from its first byte, at a cost of `cpu_s` seconds of one core.

    `complete`: the receiver stayed to the end. `left`: bytes of the file, from its first damage on, that were not sent, or an end that is missing;
    the receiver is not told then that this was all.
    """

    events: int
    sent_bytes: int
    wall_s: float
    cpu_s: float
    complete: bool
    left: str = ""


@record
class Message:
    """Bytes to send together, `events` events in them, the first at `time_ns`; `left` as in `Sent`."""

    buffers: tuple[bytes | np.ndarray, ...]
    events: int
    time_ns: int
    left: str = ""


def send(path: str, peer: socket.socket, pace: Pace) -> Sent:
    """Send a file of packed events or Timepix3 packets at a pace, in the calling thread.

    Raises:
        InputError: the file cannot be read, holds no events, or has no times for a speed.
    """
    schedule, events, sent = Schedule(pace), 0, 0
    messages = _messages(path, pace)
    begun, cpu, complete, left_over = time.perf_counter(), time.thread_time(), True, ""
    try:
        for message in messages:
            if message.events and not events:  # what went before was reading the file
                begun, cpu = time.perf_counter(), time.thread_time()
            while message.events and (left := schedule.wait_s(events, message.time_ns)) > 0:
                time.sleep(min(left, WAIT_S))
            sent += _all_of(peer, message.buffers)
            events += message.events
            left_over = message.left or left_over
    except OSError:  # the receiver went away
        complete = False
    return Sent(events=events, sent_bytes=sent, wall_s=time.perf_counter() - begun, cpu_s=time.thread_time() - cpu, complete=complete,
                left=left_over)


class ReplayServer:
    """Waits for one receiver and sends it a file, in a process of its own; a context manager. `address` says where to connect.

    `core` pins the process to a core. `result` gives what it sent and what that cost.

    Raises:
        InputError: the address is taken.
    """

    def __init__(self, path: str | os.PathLike[str], pace: Pace, address: str = "tcp://127.0.0.1:0", core: int | None = None) -> None:
        host, port = parse_address(address)
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            raise InputError(f"{address} cannot be listened at", got=error.strerror, remedy="choose a free port, or 0 for any") from error
        self.address = "tcp://{}:{}".format(*self._socket.getsockname()[:2])
        context = get_context("spawn")
        self._tells, told = context.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(os.path.abspath(os.fspath(path)), self._socket, pace, core, told), daemon=True)
        self._process.start()
        told.close()

    def result(self, wait_s: float = 60.0) -> Sent:
        """What was sent, once the file has been.

        Raises:
            InputError: it could not be sent, or is not yet after `wait_s`.
        """
        if not self._tells.poll(wait_s):
            raise InputError("the sender is still sending", expected=f"an end within {wait_s:g} s", remedy="close its receiver")
        try:
            answer = self._tells.recv()
        except EOFError as error:
            raise InputError("the sender died", got=f"exit code {self._process.exitcode}") from error
        if isinstance(answer, str):
            raise InputError(answer)
        return Sent(**answer)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._tells.close()
        self._process.terminate()
        self._process.join(10)
        self._process.close()

    def __enter__(self) -> "ReplayServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(path: str, server: socket.socket, pace: Pace, core: int | None, tells: Connection) -> None:
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    peer, _ = server.accept()
    server.close()
    with peer:
        try:
            done = send(path, peer, pace)
            tells.send({name: getattr(done, name) for name in Sent.__dataclass_fields__})
        except ExitwaveError as error:
            tells.send(str(error))


def _all_of(peer: socket.socket, buffers: tuple[bytes | np.ndarray, ...]) -> int:
    views = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
    total = sum(map(len, views))
    gone = peer.sendmsg(views) if hasattr(peer, "sendmsg") else 0
    for view in views:
        if gone < len(view):
            peer.sendall(view[gone:])
        gone = max(0, gone - len(view))
    return total


def _messages(path: str, pace: Pace) -> Iterator[Message]:
    try:
        size = os.path.getsize(path)
        data = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    kind = kind_of(data[: 8 * LOOK].tobytes())
    if kind is None:
        raise InputError(f"{path} holds no events to send", expected="packed events or Timepix3 packets")
    return _packed(path, data, pace) if kind == "packed" else _packets(data, pace)


def _loops(pace: Pace) -> Iterator[int]:
    return iter(range(pace.loops)) if pace.loops is not None else count()


def _packed(path: str, data: np.ndarray, pace: Pace) -> Iterator[Message]:
    """The header, blocks with new numbers and times, the closing block. Blocks are sent as they lie unless they last too long."""
    first = START.size + packed.text_length(data[: START.size].tobytes(), path)
    packing = packed.decode_header(data[:first].tobytes(), path)
    if pace.speed is not None and "time_ns" not in packing.columns:
        raise InputError(f"the events of {path} have no times", remedy="give a rate in events per second instead of a speed")
    yield Message(buffers=(data[:first].tobytes(),), events=0, time_ns=0)
    places, extent, left = _blocks(data, first, packing)
    number = packing.first_block
    for loop in _loops(pace) if places else ():  # nothing without end would never be over
        offset = loop * extent.period_ns
        for block, columns in places:
            for sent in _split(packing, block, columns, pace, number, offset):
                yield sent
                number += 1
    yield Message(buffers=() if left else (packed.closing(number),), events=0, time_ns=0, left=left)


def _blocks(data: np.ndarray, first: int, packing: Packing) -> tuple[list[tuple[Block, np.ndarray]], Extent, str]:
    """Whole blocks up to the first damage, and what is left behind them, in words."""
    places, extent, at = [], Extent(), first
    while at + HEAD.size <= len(data):
        block = decode_head(memoryview(data[at : at + HEAD.size]))
        stop = at + HEAD.size + (0 if block is None else packing.layout(block.events)[""][0])
        if block is not None and block.last:
            return places, extent, ""
        if block is None or stop > len(data):
            break
        columns = data[at + HEAD.size : stop]
        chunk = decode_columns(packing, block, columns.copy())
        if chunk is None:
            break
        extent.add(chunk)
        places.append((block, columns))
        at = stop
    left = len(data) - at
    return places, extent, f"{left} bytes from byte {at} on make no whole block and were not sent" if left else "the recording was never closed"


def _split(packing: Packing, block: Block, columns: np.ndarray, pace: Pace, number: int, offset_ns: int) -> Iterator[Message]:
    time_ns, long = 0, False
    if pace.speed is not None or (pace.events_per_s is not None and block.events > pace.events_per_s * WAIT_S):
        chunk = decode_columns(packing, block, columns.copy())
        if chunk is not None:
            parts = list(pieces(chunk, pace))
            time_ns, long = (int(chunk.time_ns[0]) if chunk.time_ns is not None and len(chunk) else 0), len(parts) > 1
    if not long:
        start = packed.head(block.events, number, block.base_ns + offset_ns, block.checksum)
        yield Message(buffers=(start, columns), events=block.events, time_ns=time_ns + offset_ns)
        return
    for i, piece in enumerate(parts):
        first = int(piece.time_ns[0]) if piece.time_ns is not None else 0
        yield Message(buffers=(packed.encode_block(packing, piece, number + i, offset_ns),), events=len(piece), time_ns=first + offset_ns)


def _packets(data: np.ndarray, pace: Pace) -> Iterator[Message]:
    """Pieces of packets; from the second loop on with later times."""
    words = data[: len(data) // 8 * 8].view("<i8")
    timetable, clocks = _timetable(words)
    low = np.zeros(1, np.int64)
    for loop in _loops(pace):
        for at, hits, time_ns in timetable:
            piece = np.ascontiguousarray(words[at : at + PIECE_WORDS], np.int64)
            moved = np.empty_like(piece)
            advance(piece, loop * clocks, low, moved)
            yield Message(buffers=(moved,), events=hits, time_ns=time_ns + loop * clocks * 25)
    if rest := len(data) % 8:
        yield Message(buffers=(), events=0, time_ns=0, left=f"{rest} bytes at the end make no whole packet and were not sent")


def _timetable(words: np.ndarray) -> tuple[list[tuple[int, int, int]], int]:
    """Where each piece begins, its hits, and its time; the clocks of a loop."""
    state, placement = begin(), usual(words[:HEAD_WORDS].tobytes())
    table: list[tuple[int, int, int]] = []
    clocks: list[int] = []
    for at in range(0, len(words), PIECE_WORDS):
        hits, _, state = decode(words[at : at + PIECE_WORDS].tobytes(), state, placement)
        clocks.append(int(hits.time[0]) >> 4 if len(hits) else int(state.clock[NOW]))
        table.append((at, len(hits), 25 * clocks[-1]))
    clocks.append(int(state.clock[NOW]))
    return table, max(clocks) - min(clocks) + GAP_CLOCKS
