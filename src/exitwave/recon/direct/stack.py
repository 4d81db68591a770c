"""Virtual images: the scan seen by each detector pixel, gathered from the file in its own type."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.data import FrameSource
from exitwave.flow import checked, chunks

Progress = Callable[[int, int], None]
TURNED = 256  # frames whose picked pixels are turned round at a time, inside a cache


def ignore(done: int, total: int) -> None:
    """A progress callback that says nothing."""


@record
class VirtualStack:
    """Virtual images (m, Ry, Rx) of the detector pixels `pixels` (m,), native type."""

    pixels: np.ndarray
    images: np.ndarray


@runtime_checkable
class ReadyImages(Protocol):
    """A scan that has its virtual images ready beside its frames: nothing needs to be turned round."""

    def images(self, pixels: np.ndarray) -> np.ndarray:
        """The virtual images (n, Ry, Rx) of the detector pixels (n,)."""
        ...


def virtual_stacks(frames: FrameSource, pixels: np.ndarray, memory_bytes: int, progress: Progress = ignore) -> Iterator[VirtualStack]:
    """Blocks of virtual images that together hold every pixel of `pixels` once.

    One pass over the file where the whole stack fits into three quarters of the memory, else as many passes as needed; a pass reads every
    frame and keeps only its own pixels. A source with `ReadyImages` is asked for these.

    Raises:
        InputError: NaN, or negative values in counted data; the frame is named.
    """
    ry, rx, *_ = frames.shape
    room = max(1, int(0.75 * memory_bytes) // (ry * rx * frames.dtype.itemsize))
    passes = -(-len(pixels) // room)
    parts = np.array_split(pixels, passes)
    for number, part in enumerate(parts):
        if isinstance(frames, ReadyImages):
            yield VirtualStack(pixels=part, images=frames.images(part))
            progress((number + 1) * ry * rx, passes * ry * rx)
            continue
        images = np.empty((len(part), ry * rx), frames.dtype)
        for chunk in checked(chunks(frames, memory_bytes // 8)):
            flat = chunk.frames.reshape(chunk.stop - chunk.start, -1)
            for at in range(0, len(flat), TURNED):
                picked = np.take(flat[at : at + TURNED], part, axis=1)
                images[:, chunk.start + at : chunk.start + at + len(picked)] = picked.T
            progress(number * ry * rx + chunk.stop, passes * ry * rx)
        yield VirtualStack(pixels=part, images=images.reshape(len(part), ry, rx))
        del images  # before the next pass makes its own


def spectra(images: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Half-plane spectra (m, Ry, Rx/2 + 1) of virtual images, not normalised, in the complex `dtype`."""
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    return torch.fft.rfft2(torch.from_numpy(np.ascontiguousarray(images)).to(real))
