"""Files for the reading benchmark, one a format, each by a small encoder: counts that compress as an experiment's do."""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

CHIP = 256
MIB_HEADER = 384
PER_FILE = 1000  # frames in a linked file of Dectris

Write = Callable[[Path, tuple[int, int]], Path]


def counts(scan: tuple[int, int], side: int = CHIP) -> np.ndarray:
    """Counts under 4096 (Ry Rx, side, side), every frame another part of one noisy plane."""
    plane = np.random.default_rng(7).poisson(20.0, (2 * side, 2 * side)).astype(np.uint16)
    return np.stack([plane[i % side : i % side + side, 3 * i % side : 3 * i % side + side] for i in range(scan[0] * scan[1])])


def _mib(folder: Path, scan: tuple[int, int], kind: str, pack: Callable[[np.ndarray], np.ndarray]) -> Path:
    frames = counts(scan)
    thresholds = ",".join(["1.2E+2"] * 8)
    fields = (f"MQ1,000001,{MIB_HEADER:05d},01,{CHIP:04d},{CHIP:04d},{kind},   1x1,01,2026-01-01 00:00:00,0.001000,0,0,0,{thresholds},"
              "MQ1A,2026-01-01T00:00:00.000000001Z,1000000ns,12,")
    path = folder / f"{kind}.mib"
    with path.open("wb") as file:
        for frame in frames:
            file.write(fields.encode().ljust(MIB_HEADER, b"\0"))
            file.write(pack(frame).tobytes())
    path.with_suffix(".hdr").write_text(f"HDR,\t\nFrames in Acquisition (Number):\t{len(frames)}\nFrames per Trigger (Number):\t{scan[1]}\nEnd\t")
    return path


def mib(folder: Path, scan: tuple[int, int]) -> Path:
    """Merlin frames of 16 bits."""
    return _mib(folder, scan, "U16", lambda frame: frame.astype(">u2"))


def mib_raw(folder: Path, scan: tuple[int, int]) -> Path:
    """Merlin frames of 12 bits in raw mode: words of 64 bits turned round."""
    return _mib(folder, scan, "R64", lambda frame: frame.view("<u8").byteswap())


def mrc(folder: Path, scan: tuple[int, int]) -> Path:
    """A stack of mode 6."""
    frames = counts(scan)
    head = struct.pack("<10i6f3i3f2i", CHIP, CHIP, len(frames), 6, 0, 0, 0, CHIP, CHIP, 1, 1, 1, 1, 90, 90, 90, 1, 2, 3, 0, 99, 20, 0, 0)
    path = folder / "stack.mrc"
    path.write_bytes((head.ljust(208, b"\0") + b"MAP \x44\x44\0\0").ljust(1024, b"\0") + frames.tobytes())
    return path


def empad(folder: Path, scan: tuple[int, int]) -> Path:
    """EMPAD frames with their footers; as many bytes as the others."""
    rows, columns = scan[0], 2 * scan[1]
    frames = np.zeros((rows * columns, 130, 128), "<f4")
    frames[:, :128] = counts((rows, columns), 128)
    frames.tofile(folder / f"scan_x{columns}_y{rows}.raw")
    path = folder / "empad.xml"
    path.write_text(f'<root><raw_file filename="scan_x{columns}_y{rows}.raw"/><pix_x>{columns}</pix_x><pix_y>{rows}</pix_y><type>scan</type>'
                    f'<scan_parameters mode="acquire"><scan_resolution_x>{columns}</scan_resolution_x><scan_resolution_y>{rows}</scan_resolution_y>'
                    "</scan_parameters></root>")
    return path


def hdf5(folder: Path, scan: tuple[int, int]) -> Path:
    """A contiguous dataset /data."""
    path = folder / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=counts(scan).reshape(*scan, CHIP, CHIP))
    return path

def dm4(folder: Path, scan: tuple[int, int]) -> Path:
    """A DigitalMicrograph 4 stack: one image, whole frames one after another."""
    frames = counts(scan)
    label = [_tag("Origin", "f", 0.0), _tag("Scale", "f", 1.0), _tag("Units", "H", [])]
    data = [_group("Calibrations", [_group("Dimension", [_group("", label) for _ in frames.shape])]), _tag("Data", "H", frames),
            _tag("DataType", "I", 10), _group("Dimensions", [_tag("", "I", n) for n in frames.shape[::-1]]), _tag("PixelDepth", "I", 2)]
    image = _group("", [_group("ImageData", data), _group("ImageTags", []), _tag("Name", "H", [ord("a")])])
    root = _members([_group("ImageList", [image])])
    path = folder / "stack.dm4"
    path.write_bytes(struct.pack(">IQI", 4, len(root), 1) + root + bytes(8))
    return path


def _tag(name: str, kind: str, value: Any) -> bytes:
    code = {"H": 4, "I": 5, "f": 6}[kind]
    many = isinstance(value, list | np.ndarray)
    info = (3, 20, code, np.size(value)) if many else (1, code)
    content = np.asarray(value, f"<{'u2' if kind == 'H' else 'u4' if kind == 'I' else 'f4'}").tobytes()
    return _named(21, name, b"%%%%" + struct.pack(f">{len(info)}Q", *info) + content)


def _group(name: str, members: Sequence[bytes]) -> bytes:
    return _named(20, name, _members(members))


def _members(members: Sequence[bytes]) -> bytes:
    return struct.pack(">BBQ", 1, 0, len(members)) + b"".join(members)


def _named(kind: int, name: str, body: bytes) -> bytes:
    return struct.pack(">BH", kind, len(name)) + name.encode() + struct.pack(">Q", len(body)) + body


def ser(folder: Path, scan: tuple[int, int]) -> Path:
    """A TIA series of images, lowest row first."""
    frames = counts(scan)
    dimension = struct.pack("<iddiii", len(frames), 0.0, 1.0, 0, 0, 0)
    table = struct.calcsize("<HHHiiiiqi") + len(dimension)
    first = table + 16 * len(frames)
    each = 50 + frames[0].nbytes
    head = struct.pack("<HHH4iqi", 0x4949, 0x0197, 0x0220, 0x4122, 0x4152, len(frames), len(frames), table, 1) + dimension
    path = folder / "series.ser"
    with path.open("wb") as file:
        places = first + each * np.arange(len(frames), dtype="<i8")
        file.write(head + places.tobytes() + (places * 0 + first + each * len(frames)).tobytes())
        for frame in frames:
            file.write(struct.pack("<ddiddihii", 0.0, 1e-9, 0, 0.0, 1e-9, 0, 2, CHIP, CHIP) + frame[::-1].tobytes())
        file.write(bytes(8))
    return path


def tiff(folder: Path, scan: tuple[int, int]) -> Path:
    """A stack of pages, each with its values behind its directory."""
    frames = counts(scan)
    path, tags, size = folder / "stack.tif", 9, frames[0].nbytes
    directory = 2 + 12 * tags + 4
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 8))
        for i, frame in enumerate(frames):
            at = 8 + i * (directory + size)
            entries = {256: CHIP, 257: CHIP, 258: 16, 259: 1, 262: 1, 273: at + directory, 277: 1, 278: CHIP, 279: size}
            file.write(struct.pack("<H", tags) + b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in entries.items()))
            file.write(struct.pack("<I", at + directory + size if i + 1 < len(frames) else 0) + frame.tobytes())
    return path


def hspy(folder: Path, scan: tuple[int, int]) -> Path:
    """HyperSpy's layout, chunks of a few frames packed with gzip, as HyperSpy writes them."""
    path = folder / "scan.hspy"
    with h5py.File(path, "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
        _signal(file, scan, lambda group, frames: group.create_dataset("data", data=frames, chunks=(1, 8, CHIP, CHIP), compression="gzip"))
    return path


def _signal(file: h5py.File, scan: tuple[int, int], write: Callable[[h5py.Group, np.ndarray], Any]) -> None:
    frames = counts(scan).reshape(*scan, CHIP, CHIP)
    group = file.create_group("Experiments/scan")
    write(group, frames)
    for i, size in enumerate(frames.shape):
        group.create_group(f"axis-{i}").attrs.update(_axis(i, size))
    for name in ("metadata/General", "metadata/Signal", "original_metadata"):
        group.create_group(name)
    group["metadata/Signal"].attrs["signal_type"] = ""


def _axis(place: int, size: int) -> dict[str, Any]:
    return {"_type": "UniformDataAxis", "name": "yxvu"[place], "size": size, "scale": 1.0, "offset": 0.0, "units": "nm", "navigate": place < 2}


def zspy(folder: Path, scan: tuple[int, int]) -> Path:
    """HyperSpy's layout in a Zarr folder of version 2, chunks of eight frames packed with zlib."""
    path = folder / "scan.zspy"
    frames = counts(scan).reshape(*scan, CHIP, CHIP)
    groups = {"": {"file_format": "ZSpy", "file_format_version": "3.3"}, "Experiments": {}, "Experiments/scan": {}, "Experiments/scan/metadata": {},
              "Experiments/scan/metadata/General": {}, "Experiments/scan/metadata/Signal": {"signal_type": ""},
              "Experiments/scan/original_metadata": {}} | {f"Experiments/scan/axis-{i}": _axis(i, size) for i, size in enumerate(frames.shape)}
    for name, attributes in groups.items():
        (path / name).mkdir(parents=True, exist_ok=True)
        (path / name / ".zgroup").write_text('{"zarr_format": 2}')
        (path / name / ".zattrs").write_text(json.dumps(attributes))
    data = path / "Experiments/scan/data"
    data.mkdir()
    about = {"zarr_format": 2, "shape": frames.shape, "chunks": (1, 8, CHIP, CHIP), "dtype": "<u2", "compressor": {"id": "zlib", "level": 4},
             "fill_value": 0, "order": "C", "filters": None, "dimension_separator": "."}
    (data / ".zarray").write_text(json.dumps(about))
    for row in range(scan[0]):
        for column in range(0, scan[1], 8):
            (data / f"{row}.{column // 8}.0.0").write_bytes(zlib.compress(frames[row, column : column + 8].tobytes(), 4))
    return path


def dectris(folder: Path, scan: tuple[int, int]) -> Path:
    """A master file and its linked files, frames packed by bitshuffle and LZ4."""
    frames, path = counts(scan), folder / "scan_master.h5"
    with h5py.File(path, "w") as file:
        specific = file.create_group("entry/instrument/detector/detectorSpecific")
        specific["ntrigger"], specific["nimages"] = np.uint32(scan[0]), np.uint32(scan[1])
        specific["pixel_mask"] = np.zeros((CHIP, CHIP), "u4")
        for number, start in enumerate(range(0, len(frames), PER_FILE), 1):
            part = folder / f"scan_data_{number:06d}.h5"
            with h5py.File(part, "w") as linked:
                linked.create_dataset("entry/data/data", data=frames[start : start + PER_FILE], chunks=(1, CHIP, CHIP), **hdf5plugin.Bitshuffle())
            file[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(part.name, "/entry/data/data")
    return path
