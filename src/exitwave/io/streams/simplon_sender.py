"""A sender that replays frames as a Dectris control unit pushes them, to try out what receives."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import h5py
import hdf5plugin
import numpy as np

from exitwave.core.errors import InputError
from exitwave.data.signal import ItemSource, items_of
from exitwave.io.streams.cbor import COMPRESSED, ROWS, TAGS, Tagged, encode
from exitwave.io.streams.simplon import zeromq
from exitwave.io.streams.tcp import parse_address

Packing = Literal["none", "lz4", "bslz4"]
LZ4_HEAD = 16  # bytes in front of the only block of an HDF5 LZ4 chunk
TYPES = frozenset(("uint8", "uint16", "uint32"))


class SimplonSender:
    """Pushes messages (`simplon_messages_of`, lists of parts) to whoever connects, from a thread of its own; a context manager.

    `frames_per_s`: the rate, None for as quickly as they are taken. Port 0 takes a free one; `address` says which. `linger_s`: how long what is on
    the way has to arrive when it hangs up.

    Raises:
        InputError: the address is none or is taken, or pyzmq is not installed.
    """

    def __init__(self, messages: Callable[[], Iterator[Sequence[bytes]]], address: str = "tcp://127.0.0.1:0",
                 frames_per_s: float | None = None, linger_s: float = 1.0) -> None:
        zmq = zeromq()
        host, port = parse_address(address)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        try:
            self._socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise InputError(f"{address} cannot be listened at", got=str(error), remedy="choose a free port, or 0") from error
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._messages, self._rate, self._stop = messages, frames_per_s, threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.sent, self._linger_ms = 0, round(1e3 * linger_s)

    def __enter__(self) -> "SimplonSender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop sending, and hang up."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._socket.close(linger=self._linger_ms)
        self._context.term()

    def _serve(self) -> None:
        zmq = zeromq()
        began = time.monotonic()
        for parts in self._messages():
            while not self._socket.poll(100, zmq.POLLOUT):
                if self._stop.is_set():
                    return
            self._socket.send_multipart(parts)
            self.sent += 1
            late = 0.0 if self._rate is None else began + self.sent / self._rate - time.monotonic()
            if self._stop.wait(late) if late > 0 else self._stop.is_set():
                return


def simplon_messages_of(frames: ItemSource, version: Literal[1, 2] = 2, packing: Packing = "bslz4", series: int = 1) -> Iterator[list[bytes]]:
    """The messages of a series of `frames` (..., ky, kx): its start, one a frame, its end.

    Raises:
        InputError: frames of another type than unsigned integers of 8, 16 or 32 bits.
    """
    count, (high, wide) = items_of(frames), frames.shape[-2:]
    if frames.dtype.name not in TYPES:
        raise InputError("frames that a Dectris detector does not send", expected="unsigned integers of 8, 16 or 32 bits", got=str(frames.dtype))
    made = _version2 if version == 2 else _version1
    if version == 2:
        yield [encode({"type": "start", "series_id": series, "series_unique_id": "replay", "number_of_images": count, "channels": ["threshold_1"],
                       "image_size_x": wide, "image_size_y": high, "image_dtype": frames.dtype.name})]
    else:
        about = {"nimages": count, "ntrigger": 1, "x_pixels_in_detector": wide, "y_pixels_in_detector": high, "compression": packing}
        yield [_json({"htype": "dheader-1.0", "series": series, "header_detail": "basic"}), _json(about)]
    for first in range(0, count, 64):
        for number, frame in enumerate(frames.read(first, min(first + 64, count)), first):
            yield made(np.ascontiguousarray(frame), number, series, packing)
    yield [encode({"type": "end", "series_id": series, "series_unique_id": "replay"}) if version == 2
           else _json({"htype": "dseries_end-1.0", "series": series})]


def packed(frame: np.ndarray, packing: Packing) -> bytes:
    """A frame as the HDF5 filters pack it."""
    if packing == "none":
        return frame.tobytes()
    filters = hdf5plugin.Bitshuffle(cname="lz4") if packing == "bslz4" else hdf5plugin.LZ4()
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        node = file.create_dataset("frame", data=frame, chunks=frame.shape, **filters)
        _, chunk = node.id.read_direct_chunk((0,) * frame.ndim)
    return bytes(chunk)


def _version2(frame: np.ndarray, number: int, series: int, packing: Packing) -> list[bytes]:
    content: Any = frame.tobytes() if packing == "none" else Tagged(COMPRESSED, [packing, frame.itemsize, packed(frame, packing)])
    code = frame.dtype.str.lstrip("|") if frame.itemsize == 1 else frame.dtype.newbyteorder("<").str
    pixels = Tagged(ROWS, [list(frame.shape), Tagged(TAGS[code], content)])
    return [encode({"type": "image", "series_id": series, "series_unique_id": "replay", "image_id": number, "data": {"threshold_1": pixels}})]


def _version1(frame: np.ndarray, number: int, series: int, packing: Packing) -> list[bytes]:
    """Where LZ4 does not make a frame smaller it goes as it is: version 1 has no way to say so within a block."""
    data, encoding = packed(frame, packing), {"none": "<", "lz4": "lz4<", "bslz4": f"bs{8 * frame.itemsize}-lz4<"}[packing]
    if packing == "lz4":
        data, encoding = (data[LZ4_HEAD:], encoding) if len(data) - LZ4_HEAD < frame.nbytes else (frame.tobytes(), "<")
    shape = {"htype": "dimage_d-1.0", "shape": list(frame.shape[::-1]), "type": frame.dtype.name, "encoding": encoding, "size": len(data)}
    return [_json({"htype": "dimage-1.0", "series": series, "frame": number, "hash": ""}), _json(shape), data,
            _json({"htype": "dconfig-1.0", "start_time": 0, "stop_time": 0, "real_time": 0})]


def _json(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode()
