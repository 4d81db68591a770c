"""Streams made of what is there already: scans on disk frame by frame, any stream at a chosen pace, or a share of one."""

from collections.abc import Callable, Iterator, Mapping
from time import monotonic, sleep

import numpy as np

from exitwave.core.errors import InputError
from exitwave.data import Chunk, FrameChunk, FrameSource, LiveStream
from exitwave.io.streams.replay import part

NAP_S = 0.1  # the longest wait without a word
CHUNK_BYTES = 8 * 2**20  # threads are woken once a chunk


class FrameReplay:
    """The frames of a scan that is there, in the scan's order; an `exitwave.data.LiveStream`."""

    def __init__(self, frames: FrameSource, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.frames = frames
        each = frames.shape[2] * frames.shape[3] * frames.dtype.itemsize
        self.together = max(1, min(chunk_bytes // each, frames.shape[0] * frames.shape[1]))

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self.frames.shape[2], self.frames.shape[3]

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx)."""
        return self.frames.shape[0], self.frames.shape[1]

    @property
    def rejected(self) -> Mapping[str, int]:
        """Nothing is rejected: the scan is whole."""
        return {}

    def chunks(self) -> Iterator[Chunk]:
        """Frames in blocks of the cache's size, each read when it is asked for."""
        total = self.frames.shape[0] * self.frames.shape[1]
        for start in range(0, total, self.together):
            stop = min(total, start + self.together)
            yield FrameChunk(position=np.arange(start, stop, dtype=np.int32), frames=self.frames.read(start, stop))


class Through:
    """A stream whose chunks go through `change` on their way; all else is the stream's."""

    def __init__(self, stream: LiveStream, change: Callable[[Iterator[Chunk]], Iterator[Chunk]]) -> None:
        self.stream, self.change = stream, change

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self.stream.frame

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where the source says it."""
        return self.stream.scan

    @property
    def rejected(self) -> Mapping[str, int]:
        """The stream's own."""
        return self.stream.rejected

    def chunks(self) -> Iterator[Chunk]:
        """The stream's chunks, changed."""
        return self.change(self.stream.chunks())


def paced(stream: LiveStream, per_second: float) -> Through:
    """A stream at no more than `per_second` events (or frames) a second, as a microscope would send it: cut so that no chunk is longer than a tenth
    of a second, each when its time has come.

    Raises:
        InputError: a rate that is not positive.
    """
    if not 0 < per_second < float("inf"):
        raise InputError("a rate of events or frames a second is positive", got=per_second)
    most = max(1, int(per_second * NAP_S))

    def change(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        begun, done = monotonic(), 0
        for chunk in chunks:
            for piece in _cut(chunk, most):
                done += len(piece)
                while (early := begun + done / per_second - monotonic()) > 0:
                    sleep(min(early, NAP_S))
                    if early > NAP_S:
                        yield part_of(piece, 0, 0)
                yield piece

    return Through(stream, change)


def share_of(stream: LiveStream, index: int, of: int) -> Through:
    """Every `of`-th chunk of a stream, from the `index`-th on, an empty one in place of each other: so several processes take a stream apart, and
    each chunk is in one share alone.

    The source has to cut its chunks in the same way for all of them, as files do and sockets do not.

    Raises:
        InputError: a share that is none.
    """
    if not 0 <= index < of:
        raise InputError("a share of a stream", expected="1/2, 2/2 and so on", got=f"{index + 1}/{of}")

    def change(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        number = 0
        for chunk in chunks:
            yield chunk if number % of == index or not len(chunk) else part_of(chunk, 0, 0)
            number += len(chunk) > 0

    return Through(stream, change)


def part_of(chunk: Chunk, start: int, stop: int) -> Chunk:
    """Rows start:stop of a chunk."""
    if isinstance(chunk, FrameChunk):
        return FrameChunk(position=chunk.position[start:stop], frames=chunk.frames[start:stop])
    return part(chunk, start, stop)


def _cut(chunk: Chunk, most: int) -> Iterator[Chunk]:
    if len(chunk) <= most:
        yield chunk
        return
    for start in range(0, len(chunk), most):
        yield part_of(chunk, start, min(len(chunk), start + most))
