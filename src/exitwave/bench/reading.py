"""How quickly frames come from files: each own reader beside RosettaSciIO and LiberTEM on the same file, turn by turn, the file in the cache."""

import struct
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from exitwave.bench.direct import PEERS, peer_python
from exitwave.bench.process import ProcessDied, Server, largest, middle, seconds, server
from exitwave.bench.registry import Options, Row

PEER = "readers"  # one environment with both
RUNS = 5
MOST_BYTES = 200_000_000  # of a file: the page cache keeps all of them
CHIP = 256
MIB_HEADER = 384
COUNTED = "from the name of the file to all its frames in memory in the machine's byte order; the file lies in the page cache"
MISSING = "RosettaSciIO and LiberTEM are not installed, ours ran alone: `make peers PEERS=readers`, or name the folder of peers in EXITWAVE_PEERS"

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


# what is written, and the peers that read it
FORMATS: Mapping[str, tuple[Write, tuple[str, ...]]] = MappingProxyType({
    "mib 16 bit": (mib, ("rosettasciio", "libertem")), "mib raw 12 bit": (mib_raw, ("libertem",)), "mrc": (mrc, ("rosettasciio", "libertem")),
    "empad": (empad, ("rosettasciio", "libertem")), "hdf5": (hdf5, ("libertem",)),
})


def rows(options: Options) -> list[Row]:
    """One row a format and peer: seconds from the file's name to its frames in memory."""
    frames = min(options.size_bytes, MOST_BYTES) // (2 * CHIP * CHIP)
    scan = (max(2, frames // 48), 48)
    runs = options.runs or RUNS
    python = peer_python(PEER)
    found: list[Row] = []
    for name, (write, peers) in FORMATS.items():
        with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as folder:
            path = write(Path(folder), scan)
            found += compared(name, path, peers, python, options.threads, runs)
    return found


def compared(name: str, path: Path, peers: tuple[str, ...], python: Path | None, threads: int, runs: int) -> list[Row]:
    """Rows of one file, ours and the peers in turn after one warm-up each."""
    with ExitStack() as stack:
        ours = stack.enter_context(server([sys.executable, str(PEERS / "exitwave_reading.py"), str(threads)], threads))
        theirs: Server | None = None
        note = MISSING
        if python is not None:
            try:
                theirs = stack.enter_context(server([str(python), str(PEERS / "peers_reading.py"), str(threads)], threads))
            except ProcessDied as error:
                note = f"the peers did not run, ours ran alone: {error}"
        asked = {"path": str(path)}
        mine: list[Mapping[str, Any]] = []
        answers: dict[str, list[Mapping[str, Any]]] = {peer: [] for peer in peers if theirs is not None}
        for run in range(runs + 1):
            given = ours.ask("frames", asked)
            mine += [given] if run else []
            for peer in answers:
                if theirs is not None:
                    said = theirs.ask(peer, asked)
                    if said["result"] != given["result"]:
                        raise ProcessDied(f"{peer} reads other frames from {path.name}: {said['result']}, ours {given['result']}")
                    answers[peer] += [said] if run else []
        base: Row = {"ours_s": middle(mine), "ours_peak_bytes": largest(mine), "ours_s_all": seconds(mine), "file_bytes": size_of(path),
                     "ours_GB_per_s": size_of(path) / middle(mine) / 1e9, "counted": COUNTED}
        if theirs is None:
            return [base | {"case": f"read {name}", "note": note}]
        return [base | {"case": f"read {name}", "peer": f"{peer} {theirs.about[peer]}", "peer_s": middle(said), "peer_peak_bytes": largest(said),
                        "peer_s_all": seconds(said), "versions": {"exitwave": ours.about, PEER: theirs.about}} for peer, said in answers.items()]


def size_of(path: Path) -> int:
    """Bytes of the frames' file."""
    return max(p.stat().st_size for p in path.parent.iterdir())
