"""Senders that replay frames as cameras send them, to try out what receives: a real socket on this machine or another one."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from exitwave.core.errors import InputError
from exitwave.data.signal import ItemSource, items_of
from exitwave.io.streams.merlin import FRAME, MARK
from exitwave.io.streams.tcp import parse_address

HEADER_BYTES = 384
LAYOUTS = {"u1": ("U08", 8), "u2": ("U16", 16), "u4": ("U32", 32)}
RAW_BITS = {1: 1, 6: 8, 12: 16, 24: 16}  # stored bits of a pixel


class MerlinSender:
    """Listens at `address` and sends the messages of `merlin_messages` to whoever connects first, from a thread of its own; a context manager.

    `frames_per_s`: the rate, None for as quickly as they are taken. `address` says where it listens ("tcp://127.0.0.1:0": at a free port).

    Raises:
        InputError: the address is none, or is taken.
    """

    def __init__(self, messages: Callable[[], Iterator[bytes]], address: str = "tcp://127.0.0.1:0", frames_per_s: float | None = None) -> None:
        try:
            self._listener = socket.create_server(parse_address(address))
        except OSError as error:
            raise InputError(f"{address} cannot be listened at", got=error.strerror or str(error), remedy="choose a free port, or 0") from error
        self.address = "tcp://{}:{}".format(*self._listener.getsockname()[:2])
        self._messages, self._rate, self._stop = messages, frames_per_s, threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.sent = 0

    def __enter__(self) -> "MerlinSender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop sending, in the middle of a frame if need be."""
        self._stop.set()
        self._listener.close()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _serve(self) -> None:
        self._listener.settimeout(0.1)
        while not self._stop.is_set():
            try:
                peer, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with peer:
                self._send(peer)
            return

    def _send(self, peer: socket.socket) -> None:
        began = time.monotonic()
        for message in self._messages():
            try:
                peer.sendall(message)
            except OSError:  # the receiver has gone
                return
            self.sent += 1
            late = 0.0 if self._rate is None else began + self.sent / self._rate - time.monotonic()
            if self._stop.wait(late) if late > 0 else self._stop.is_set():
                return


def merlin_messages(frames: ItemSource, depth: int | None = None, text: bool = True) -> Iterator[bytes]:
    """The messages of an acquisition of `frames` (..., ky, kx), unsigned integers: its text (not where `text` is false), then one a frame.

    `depth` None: whole bytes (U08, U16, U32). 1, 6, 12 or 24: raw mode of one chip, whose rows are a multiple of 64 pixels.

    Raises:
        InputError: frames of another type, or rows that raw mode does not have.
    """
    count, (high, wide) = items_of(frames), frames.shape[-2:]
    code = f"u{frames.dtype.itemsize}"
    if frames.dtype.kind != "u" or code not in LAYOUTS or (depth is not None and (wide % 64 or depth not in RAW_BITS)):
        raise InputError("frames that a Merlin camera does not send", expected="unsigned integers of 8, 16 or 32 bits; in raw mode 1, 6, 12 or 24 "
                         "bits and rows of a multiple of 64 pixels", got=f"{frames.dtype} {high} x {wide}, depth {depth}")
    kind, bits = LAYOUTS[code] if depth is None else ("R64", depth)
    if text:
        row = frames.shape[-3] if len(frames.shape) == 4 else count
        lines = ["HDR,\t", f"Frames in Acquisition (Number):\t{count}", f"Frames per Trigger (Number):\t{row}",
                 f"Counter Depth (number):\t{bits}", "End\t"]
        yield message("\r\n".join(lines).encode())
    listed = 2 * wide if depth == 24 else wide
    for first in range(0, count, 64):
        for i, frame in enumerate(frames.read(first, min(first + 64, count)), first + 1):
            pixels = frame.astype(frame.dtype.newbyteorder(">")).tobytes() if depth is None else _raw(frame, depth)
            yield message(_header(i, listed, high, kind, bits) + pixels)


def message(body: bytes) -> bytes:
    """A message with its mark and length."""
    return MARK + b"%010d," % (len(body) + 1) + body


def _header(number: int, wide: int, high: int, kind: str, depth: int) -> bytes:
    fields = [FRAME.decode()[:-1], f"{number:06d}", f"{HEADER_BYTES:05d}", "01", f"{wide:04d}", f"{high:04d}", kind, "   1x1", "01",
              "2000-01-01 00:00:00.000000", "0.001000", "0", "0", "0", "MQ1A", "2000-01-01T00:00:00.000000000Z", "1000000ns", str(depth)]
    return (",".join(fields) + ",").encode().ljust(HEADER_BYTES, b"\0")


def _raw(frame: np.ndarray, depth: int) -> bytes:
    """Words of 64 bits, first pixel lowest, stored highest byte first; 24 bits are a frame of the upper 12 and one of the lower 12."""
    if depth == 24:
        return _raw(frame >> np.uint32(12), 12) + _raw(frame & np.uint32(0xFFF), 12)
    if depth == 1:
        words = np.packbits(frame.astype(bool), axis=-1, bitorder="little")
    else:
        words = frame.astype("u1" if depth == 6 else "<u2")
    return np.ascontiguousarray(words).view("<u8").astype(">u8").tobytes()
