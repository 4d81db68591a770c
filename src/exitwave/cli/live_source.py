"""Where a stream comes from: an address, a file of events, or a scan that is replayed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

import exitwave.io
from exitwave.cli.asked import Known
from exitwave.cli.corrections import Asked, tables_of
from exitwave.cli.session import layered, overridden
from exitwave.core import InputError, record
from exitwave.data import Calibration, LiveStream, Quantity, calibration_from_json
from exitwave.diffraction import CountingRule, ElectronStream, thresholds_of
from exitwave.io.provenance import InputFile, hash_of
from exitwave.io.streams import Clustering, LineScan, Packing, Recorder, open_events, ticks
from exitwave.io.streams.frame_order import FrameScan
from exitwave.io.streams.growing import GrowingFrames, GrowingHdf5, follow_npy, follow_raw
from exitwave.io.streams.merlin import merlin_stream
from exitwave.io.streams.recognise import LOOK, kind_of
from exitwave.io.streams.simplon import simplon_stream
from exitwave.io.streams.sparse import FourDCameraStream, RawCsrStream
from exitwave.live import FrameReplay, paced, share_of

SPARSE = {"raw_csr": RawCsrStream, "fourd_camera": FourDCameraStream}  # files that hold electrons rather than frames
TPX3_ENERGY = "time over threshold, units of 25 ns"
TPX3_COLUMNS, CLUSTERED = {"time_ns": "<i8", "energy": "<u4"}, {"subpixel": "<f4"}
ADDRESSES, CAMERAS = ("tcp://", "tcp-listen://"), ("merlin://", "simplon://")


@record
class StreamFlags:
    """How a source is read: `scan_shape` where it does not say one, the line scan of a Timepix3 (times in s), clustering of its hits, whether a file
    still grows, the silence that ends a source, a pace for replays, whether `electrons` are counted in frames (with these `tables` of dark, gain and
    dead pixels), and the share of the chunks that this process takes."""

    scan_shape: tuple[int, int] | None = None
    dwell_s: float | None = None
    flyback_s: float | None = None
    delay_s: float = 0.0
    serpentine: bool = False
    line_input: int = 1
    falling: bool = False
    cluster: bool = False
    flyback_frames: int = 0
    follow: bool = False
    wait_s: float = 10.0
    idle_s: float | None = None
    rate: float | None = None
    electrons: bool = False
    tables: Asked = field(default_factory=Asked)
    share: tuple[int, int] = (0, 1)


@record
class Source:
    """A stream with its whole shape (Ry, Rx, ky, kx), and what its origin tells of calibration and dead pixels; `path` is a file's, or "".
    `columns` of its events beyond position and pixel, as a recording keeps them, and what their `energy` means."""

    stream: LiveStream
    shape: tuple[int, int, int, int]
    calibration: Calibration
    alive: np.ndarray | None
    name: str
    path: str
    sends_events: bool
    columns: Mapping[str, str]
    energy: str = ""


def source_of(where: str, flags: StreamFlags, file: Mapping[str, Any]) -> Source:
    """Open a source; `file` are the flags of scans that are replayed (reader, shape, dtype).

    Raises:
        InputError: no such file, nobody at the address, a scan shape that is missing or that the source contradicts.
        FormatError: nothing that can be read.
    """
    made = _paced(_opened(where, flags, file), flags)
    return _counted(made, flags) if flags.electrons else made


def _opened(where: str, flags: StreamFlags, file: Mapping[str, Any]) -> Source:
    if flags.follow and (where.endswith(".npy") or "::" in where or (file.get("shape") and file.get("dtype"))):
        return _growing(where, flags, file)
    if where.startswith(ADDRESSES) or flags.follow or _is_events(where):
        return _events(where, flags)
    if where.startswith(CAMERAS):
        return _camera(where, flags)
    data = exitwave.io.open(where, **file, scan_shape=flags.scan_shape)
    path = os.path.abspath(where.partition("::")[0])
    lists = SPARSE.get(str(data.origin.get("reader", "")))
    stream = FrameReplay(data.frames) if lists is None else lists(path)
    return Source(stream=stream, shape=data.shape, calibration=data.calibration, alive=data.origin.get("alive"), name=where,
                  path=path, sends_events=lists is not None, columns={})


def _events(where: str, flags: StreamFlags) -> Source:
    stream = open_events(where, scan_lines=lines_in(flags), clustering=Clustering() if flags.cluster else None, follow=flags.follow,
                         wait_s=flags.wait_s, idle_s=flags.idle_s)
    packing = getattr(stream, "packing", None)
    known = calibration_from_json(packing.calibration) if packing is not None and packing.calibration else Calibration()
    scan = stream.scan or flags.scan_shape
    if scan is None:
        raise InputError(f"{where} does not say how large the scan is", remedy="pass --scan-shape Ry,Rx (Timepix3: with --dwell-us too)")
    if flags.scan_shape is not None and scan != flags.scan_shape:
        raise InputError(f"{where} is a scan of another shape", expected=f"--scan-shape {scan[0]},{scan[1]}", got=f"{flags.scan_shape}")
    path = "" if where.startswith(ADDRESSES) else os.path.abspath(where)
    columns = TPX3_COLUMNS | (CLUSTERED if flags.cluster else {}) if packing is None else packing.columns
    return Source(stream=stream, shape=(*scan, *stream.frame), calibration=known, alive=None if packing is None else packing.alive, name=where,
                  path=path, sends_events=True, columns=columns, energy=TPX3_ENERGY if packing is None else packing.energy)


def recorder_of(path: str, source: Source, known: Calibration, alive: np.ndarray | None, force: bool = False) -> Recorder:
    """A file for the events of a source, with what is known of it.

    Raises:
        InputError: the file exists and `force` is false, or it cannot be written.
    """
    dead = () if alive is None else tuple((int(y), int(x)) for y, x in np.argwhere(~alive))
    return Recorder(path, Packing(frame=source.shape[2:], scan=source.shape[:2], columns=source.columns, energy=source.energy,
                                  calibration=known.as_json(), dead_px=dead), force=force)


def known_of(source: Source, beside: Known, flags: StreamFlags, optics: Mapping[str, Any]) -> Calibration:
    """What is known of a scan: the source's word, a recipe's and the flags' over it. Electrons that are counted are one each, whatever the frames'
    counts were."""
    known = overridden(layered(source.calibration, beside.calibration), **optics)
    return replace(known, counts_per_electron=Quantity(value=1.0, source="measured")) if flags.electrons else known


def check_apart(source: Source, outputs: Sequence[str | None]) -> None:
    """Refuse outputs, the recording first, of which one is the source, and a recording of frames.

    Raises:
        InputError: naming it.
    """
    if outputs[0] is not None and not source.sends_events:
        raise InputError("a recording holds events, and this source sends frames", got=source.name, remedy="leave out --record")
    for path in outputs:
        if path and source.path and os.path.exists(path) and os.path.samefile(path, source.path):
            raise InputError(f"{path} is what is read", remedy="name another output")


def _order(flags: StreamFlags) -> FrameScan:
    rows, columns = flags.scan_shape or (0, 0)
    return FrameScan(rows=rows, columns=columns, flyback=flags.flyback_frames, serpentine=flags.serpentine)


def _camera(where: str, flags: StreamFlags) -> Source:
    if flags.scan_shape is None:
        raise InputError("a camera does not say how large the scan is", remedy="pass --scan-shape Ry,Rx")
    kind, _, address = where.partition("://")
    order = _order(flags)
    stream: LiveStream
    if kind == "merlin":
        stream = merlin_stream(f"tcp://{address}", order, wait_s=flags.wait_s, idle_s=flags.idle_s)
    else:
        stream = simplon_stream(f"tcp://{address}", order, wait_s=flags.wait_s, **({} if flags.idle_s is None else {"idle_s": flags.idle_s}))
    return Source(stream=stream, shape=(*flags.scan_shape, *stream.frame), calibration=Calibration(), alive=getattr(stream, "alive", None),
                  name=where, path="", sends_events=False, columns={})


def _growing(where: str, flags: StreamFlags, file: Mapping[str, Any]) -> Source:
    """Frames of a file that is still being written."""
    path, _, inside = where.partition("::")
    idle_s = 10.0 if flags.idle_s is None else flags.idle_s
    order = None if flags.scan_shape is None else _order(flags)
    stream: GrowingFrames | GrowingHdf5
    if inside:
        stream = GrowingHdf5(path, inside, order, idle_s)
    elif where.endswith(".npy"):
        stream = follow_npy(path, order, idle_s)
    else:
        stream = follow_raw(path, tuple(file["shape"])[-2:], file["dtype"], order, idle_s=idle_s)
    scan = stream.scan
    if scan is None:
        raise InputError(f"{where} does not say how large the scan is", remedy="pass --scan-shape Ry,Rx")
    return Source(stream=stream, shape=(*scan, *stream.frame), calibration=Calibration(), alive=None, name=where, path=os.path.abspath(path),
                  sends_events=False, columns={})


def lines_in(flags: StreamFlags) -> LineScan | None:
    """The line scan that the flags describe, None where they give no dwell time.

    Raises:
        InputError: a dwell time without a scan shape.
    """
    if flags.dwell_s is None:
        return None
    if flags.scan_shape is None:
        raise InputError("a dwell time needs the scan's shape", remedy="pass --scan-shape Ry,Rx")
    return LineScan(rows=flags.scan_shape[0], columns=flags.scan_shape[1], dwell=ticks(flags.dwell_s),
                    flyback=None if flags.flyback_s is None else ticks(flags.flyback_s), delay=round(ticks(flags.delay_s)),
                    serpentine=flags.serpentine, channel=flags.line_input, rising=not flags.falling)


def _paced(source: Source, flags: StreamFlags) -> Source:
    stream = source.stream
    if flags.share[1] > 1:
        if not source.path or flags.follow:
            raise InputError("shares are for files that are whole: others are cut anew each time they are read",
                             remedy="let the sender feed two connections")
        stream = share_of(stream, *flags.share)
    if flags.rate is not None:
        stream = paced(stream, flags.rate)
    return replace(source, stream=stream)


def _counted(source: Source, flags: StreamFlags) -> Source:
    """Electrons of a source of frames.

    Raises:
        InputError: a source of events, shares, tables that do not fit.
    """
    if source.sends_events:
        raise InputError("--electrons finds electrons in frames, and this source sends electrons", got=source.name, remedy="leave it out")
    if flags.share[1] > 1:
        raise InputError("each share would find a threshold of its own", remedy="leave out --part, or --electrons")
    tables = tables_of(flags.tables, source.alive, source.shape[2:])

    def rule(frames: np.ndarray) -> CountingRule:
        # No ceiling: where electrons are few the one that the spread of all values gives lies below them, and an X-ray counted is one electron more.
        return CountingRule(background=thresholds_of(frames, **tables).background, **tables)

    alive = source.alive if tables["dead"] is None else ~tables["dead"]
    one = replace(source.calibration, counts_per_electron=Quantity(value=1.0, source="measured"))
    return replace(source, stream=ElectronStream(source.stream, rule), calibration=one, alive=alive, sends_events=True,
                   columns={"energy": "<f4", "subpixel": "<f4"}, energy="signal of an electron after dark and gain")


def _is_events(where: str) -> bool:
    try:
        with open(where, "rb") as file:
            return kind_of(file.read(8 * LOOK)) is not None
    except OSError:
        return False


def input_told(source: Source, recording: str | None, hashed: bool) -> InputFile:
    """What a result was made from: the file, else the recording, else the address."""
    path = source.path or (os.path.abspath(recording) if recording else "")
    if not path or not os.path.exists(path):
        return InputFile(path=source.name, bytes=0, unhashed="a stream that was not recorded", options={})
    size = 0 if os.path.isdir(path) else os.path.getsize(path)
    return InputFile(path=path, bytes=size, sha256=hash_of(path) if hashed else "", unhashed="" if hashed else "asked to leave it out", options={})
