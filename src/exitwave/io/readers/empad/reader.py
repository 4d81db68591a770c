"""Reading EMPAD: plain frames of 128 x 128 floats, two rows of house-keeping after each in the first generation."""

import os
from math import isqrt, prod
from pathlib import Path

from exitwave.core.beam import Beam
from exitwave.core.errors import FormatError, InputError
from exitwave.data.signal import Axis
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.empad import CARD
from exitwave.io.readers.empad.description import Description, beside, read
from exitwave.io.readers.frames import FileFrames, arranged, refuse_layout

SIDE = 128
PIXELS = SIDE * SIDE * 4
ROW = SIDE * 4
FIRST = PIXELS + 2 * ROW


def recognises(path: str) -> bool:
    """An .xml file that names a .raw file, or a .raw file that one names or whose size is that of whole first-generation frames."""
    try:
        if Path(path).suffix.lower() == ".xml":
            read(path)
            return True
        size = os.path.getsize(path)
    except (FormatError, OSError):
        return False
    return (size > 0 and size % FIRST == 0) or beside(path) is not None


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames (.., 128, 128) of an EMPAD acquisition, opened by its .xml or its .raw file; the rows after each frame are left out.

    Without an .xml file the scan is the one given, else square where the count of frames is a square.

    Raises:
        InputError: an .xml file whose .raw file is missing, or a scan shape that does not fit.
        FormatError: a .raw file of another size than its description tells, or frames that are not corrected floats.
    """
    refuse_layout(options, CARD)
    raw, told = _files(path)
    if told is not None and told.stored != "float32":
        raise FormatError(f"{raw} holds the detector's raw words, not counts", expected="float32", got=told.stored,
                          remedy="export it as corrected float32 with the detector's software")
    stride = PIXELS + (2 if told is None else told.footer_rows) * ROW
    size = os.path.getsize(raw)
    count, rest = divmod(size, stride)
    if not count or rest:
        raise FormatError(f"{raw} is truncated or no EMPAD file", expected=f"whole frames of {stride} bytes", got=f"{size} bytes")
    scan = _scan(raw, count, told, options)
    shape = arranged((count, SIDE, SIDE), scan, raw)
    frames = FileFrames(path=raw, offset=0, shape=shape, stored="<f4", stride=stride)
    if told is None:
        return Opened(frames=frames, attributes={})
    return _described(frames, told)


def _files(path: str) -> tuple[str, Description | None]:
    if Path(path).suffix.lower() != ".xml":
        description = beside(path)
        return path, None if description is None else read(description)
    told = read(path)
    for name in (told.raw, Path(path).with_suffix(".raw").name):
        raw = Path(path).with_name(name)
        if name and raw.is_file():
            return str(raw), told
    raise InputError(f"{path} describes frames that are not beside it", expected=told.raw, got="no such file")


def _scan(raw: str, count: int, told: Description | None, options: Options) -> tuple[int, int] | None:
    """The scan shape that was given, else the described one that holds the frames, else (undescribed) a square; None for a series."""
    if options.scan_shape is not None:
        return options.scan_shape
    if told is None:
        side = isqrt(count)
        return (side, side) if side > 1 and side * side == count else None
    for scan in told.scans:
        if prod(scan) == count:
            return (scan[0], scan[1]) if len(scan) == 2 else None
    if told.scans:
        raise FormatError(f"{raw} does not hold the scan that its description tells", expected=f"{' x '.join(map(str, told.scans[0]))} frames",
                          got=f"{count} frames", remedy="it is truncated, or give scan_shape=(Ry, Rx)")
    return None


def _described(frames: FileFrames, told: Description) -> Opened:
    """Axes and calibration from the description. The field of view is one of the whole scan, so steps are told for that scan only."""
    known: dict[str, float] = {}
    dk_invA = None
    if told.energy_eV is not None:
        known["energy_eV"] = told.energy_eV
    if told.detector_inv_m is not None:
        dk_invA = told.detector_inv_m * 1e8  # written as 1e-9 of what it means: 1.8e-10 stands for 0.18 / nm
        if told.energy_eV is not None:
            known["detector_mrad"] = 1e3 * dk_invA * Beam.electron(told.energy_eV).wavelength_A
    camera = tuple(Axis(name=name, size=SIDE, scale=dk_invA, unit="1/A" if dk_invA else "") for name in ("ky", "kx"))
    if len(frames.shape) == 3:
        return Opened(frames=frames, attributes=told.said, axes=(Axis(name="frame", size=frames.shape[0]), *camera), told=known)
    steps: tuple[float | None, ...] = (None, None)
    if told.fov_m is not None and frames.shape[:2] in told.scans:
        sides = (max(frames.shape[:2]),) * 2 if told.fov_of_longest else frames.shape[:2]
        steps = tuple(1e10 * fov / side for fov, side in zip(told.fov_m, sides, strict=True))
        known |= {"scan_step_y_A": float(steps[0] or 0), "scan_step_x_A": float(steps[1] or 0)}
    named = zip("yx", frames.shape, steps, strict=False)
    scan = tuple(Axis(name=name, size=size, scale=step, unit="A" if step else "") for name, size, step in named)
    return Opened(frames=frames, attributes=told.said, axes=(*scan, *camera), told=known)
