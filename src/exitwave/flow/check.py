"""The one place that looks at every frame for values that cannot be measurements."""

from collections.abc import Iterable, Iterator

import numpy as np

from exitwave.core.errors import InputError
from exitwave.data.dataset import FrameSource
from exitwave.flow.chunks import Chunk


def check_frames(frames: np.ndarray, first: int = 0) -> None:
    """Refuse frames (n, ky, kx) that hold NaN or infinity, or negative values in an integer (counting) type.

    `first` is the index of the first frame in the scan, for the message. Negative floats pass: detectors with an offset or an analogue
    signal deliver them; `frames_are_counts` then says that they are not counts.

    Raises:
        InputError: naming the first bad frame.
    """
    kind = frames.dtype.kind
    if kind == "f":
        # A finite float64 sum proves every value finite at a third of the price of looking at each.
        with np.errstate(over="ignore", invalid="ignore"):
            total = frames.sum(dtype=np.float64)
        if np.isfinite(total):
            return
        bad = ~np.isfinite(frames)
        if bad.any():
            n, y, x = np.argwhere(bad)[0].tolist()
            raise InputError(f"frame {first + n} holds {'NaN' if np.isnan(frames[n, y, x]) else 'infinity'} at pixel ({y}, {x})",
                             expected="finite numbers", remedy="mask or repair the bad pixels before reading the scan")
    elif kind == "i" and frames.size and int(frames.min()) < 0:
        n, y, x = np.argwhere(frames < 0)[0].tolist()
        raise InputError(f"frame {first + n} holds a negative count at pixel ({y}, {x})", expected="counts >= 0", got=int(frames[n, y, x]),
                         remedy="a 16-bit counter read as int16 should be uint16; background-subtracted frames should be float32")


def checked(blocks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The same chunks, each passed through `check_frames` first."""
    for chunk in blocks:
        check_frames(chunk.frames, chunk.start)
        yield chunk


def frames_are_counts(frames: np.ndarray) -> bool:
    """Whether an array holds counts: an integer (or boolean) type without negative values, or floats that are all whole and not negative."""
    if frames.dtype.kind in "bu":
        return True
    if frames.dtype.kind == "i":
        return not frames.size or int(frames.min()) >= 0
    return bool((frames >= 0).all() and (frames == np.rint(frames)).all())


def looks_counted(source: FrameSource, sample: int = 16) -> bool:
    """Whether a scan looks like counts, judged on `sample` frames spread over it; integer types need no look.

    `MeanPattern` gives the answer for every frame.
    """
    if source.dtype.kind in "bu":
        return True
    total = source.shape[0] * source.shape[1]
    picks = np.unique(np.linspace(0, total - 1, min(sample, total)).astype(int)).tolist()
    return all(frames_are_counts(source.read(i, i + 1)) for i in picks)
