"""MRC2014, little endian: an image stack, cell lengths where the axes are lengths, everything else as JSON in the extended header.

Specification: https://www.ccpem.ac.uk/mrc_format/mrc2014.php (Cheng et al., J. Struct. Biol. 192, 146 (2015), doi:10.1016/j.jsb.2015.04.002).
A scan becomes a stack of Ry * Rx frames; its shape is in the extended header, whose type "EXWV" other programs skip.
"""

import json
from math import prod

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.data.signal import Axis, Signal
from exitwave.io.signals import as_frames, items_bytes, told_by
from exitwave.io.write import writing
from exitwave.io.writers.card import Job
from exitwave.io.writers.tiles import blocks, chunk_and_shard

MODES = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}
EXTENDED = b"EXWV"
LARGEST = 2**31 - 1
HEADER = np.dtype([
    ("n", "<i4", 3), ("mode", "<i4"), ("nstart", "<i4", 3), ("m", "<i4", 3), ("cell_A", "<f4", 3), ("angles_deg", "<f4", 3), ("axis", "<i4", 3),
    ("dmin", "<f4"), ("dmax", "<f4"), ("dmean", "<f4"), ("ispg", "<i4"), ("nsymbt", "<i4"), ("extra1", "V8"), ("exttyp", "S4"), ("nversion", "<i4"),
    ("extra2", "V84"), ("origin_A", "<f4", 3), ("map", "S4"), ("stamp", "S4"), ("rms", "<f4"), ("nlabl", "<i4"), ("label", "S80", 10),
])


def write(path: str, signal: Signal, job: Job) -> None:
    """Write all items in order; density statistics are filled in at the end.

    Raises:
        FormatError: more frames or pixels than the header can count.
    """
    frames = as_frames(signal)
    count, _ = items_bytes(frames)
    if max(count, *frames.shape[-2:]) > LARGEST:
        raise FormatError("MRC2014 cannot count these frames", expected=f"at most {LARGEST}", got=count)
    text = json.dumps(told_by(signal)).encode()
    header = _header(signal, frames.shape, count, len(text))
    _, tile = chunk_and_shard(frames, job.block_bytes)
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    with writing(path, job.force) as partial, open(partial, "wb") as file:
        file.write(header.tobytes() + text)
        for _, items in blocks(frames, tile, job.progress):
            file.write(items.astype(items.dtype.newbyteorder("<"), copy=False).data)
            for page in items.reshape(-1, *frames.shape[-2:]):
                low, high = min(low, float(page.min())), max(high, float(page.max()))
                total += float(page.sum(dtype=np.float64))
                squares += float(np.square(page, dtype=np.float64).sum())
        mean = total / prod(frames.shape)
        header["dmin"], header["dmax"], header["dmean"] = low, high, mean
        header["rms"] = np.sqrt(max(0.0, squares / prod(frames.shape) - mean**2))
        file.seek(0)
        file.write(header.tobytes())


def _header(signal: Signal, shape: tuple[int, ...], count: int, extended: int) -> np.ndarray:
    header = np.zeros((), HEADER)
    header["n"] = shape[-1], shape[-2], count
    header["mode"] = MODES[str(signal.frames.dtype)]
    header["m"] = shape[-1], shape[-2], 1
    header["cell_A"] = _cell(signal.axes, shape)
    header["angles_deg"], header["axis"] = 90, (1, 2, 3)
    header["nsymbt"], header["exttyp"], header["nversion"] = extended, EXTENDED, 20141
    header["map"], header["stamp"] = b"MAP ", b"\x44\x44\x00\x00"
    header["nlabl"] = 1
    header["label"][0] = f"exitwave: {signal.kind} {' x '.join(map(str, signal.shape))}".encode()[:80].ljust(80)
    return header


def _cell(axes: tuple[Axis, ...], shape: tuple[int, ...]) -> tuple[float, float, float]:
    """Lengths of the frame in Angstrom; zero where they are not lengths or not known."""
    y, x = (axis.scale if axis.unit == "A" and axis.scale and axis.scale > 0 else 0.0 for axis in axes[-2:])
    return x * shape[-1], y * shape[-2], 0.0
