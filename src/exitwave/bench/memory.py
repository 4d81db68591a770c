"""A file far larger than the memory it may take: `exitwave reconstruct` under a budget, its anonymous memory watched from outside."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from exitwave.bench.process import watched
from exitwave.bench.registry import Options, Row
from exitwave.core import InputError
from exitwave.core.seeds import DEFAULT_SEED, generator_at

METHODS = ("flipped-parallax", "ssb")
BUDGET_BYTES = 256_000_000
FRAME_PX, COLUMNS, RADIUS_PX = 128, 256, 20.0
SEMIANGLE_MRAD, ELECTRONS = 20.0, 2000.0
POOL = 512
# Everything is imported, one line is said, one line is awaited, then the command line runs in the same process.
WAITING = """
import sys
import exitwave.cli.reconstruct
import exitwave.io.readers.npy.reader
from exitwave.cli.main import run
print("ready", flush=True)
sys.stdin.readline()
sys.exit(run(sys.argv[1:]))
"""


def rows(options: Options, methods: tuple[str, ...] = METHODS, budget_bytes: int = BUDGET_BYTES) -> list[Row]:
    """One row a method for a raw file of `size_bytes`, written to the folder for temporary files and removed again."""
    if not Path("/proc/self/status").exists():
        raise InputError("anonymous memory is read from /proc, which only Linux has")
    with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as name:
        file = Path(name) / "scan.npy"
        shape = shape_of(options.size_bytes)
        room = shutil.disk_usage(name).free
        if room < 1.1 * options.size_bytes:
            raise InputError(
                "the disk for temporary files is too small", expected=f"{options.size_bytes / 1e9:.1f} GB and a tenth more",
                got=f"{room / 1e9:.1f} GB",
                remedy="pass a smaller --size, or set TMPDIR to a larger disk",
            )
        mean = write_scan_file(file, shape)
        return [_row(file, shape, mean, method, options, budget_bytes) for method in methods]


def shape_of(size_bytes: int) -> tuple[int, int, int, int]:
    """The scan (Ry, Rx, ky, kx) of 16-bit counts that comes nearest to a size from below, at least 16 rows.

    Raises:
        InputError: a size under that.
    """
    row = COLUMNS * FRAME_PX**2 * 2
    if size_bytes < 16 * row:
        least = f"at least {16 * row / 1e6:.0f} MB"
        raise InputError("the file would be too small to say anything", expected=least, got=f"{size_bytes / 1e6:.0f} MB")
    return size_bytes // row, COLUMNS, FRAME_PX, FRAME_PX


def write_scan_file(path: Path, shape: tuple[int, int, int, int]) -> float:
    """Write counts as .npy, row by row: Poisson frames of a bright-field disk, each position one of a pool at random. Returns the mean count of a
    frame. Afterwards the system is asked to forget the file, so that it is read from the disk at first."""
    rng = generator_at(DEFAULT_SEED, 0)
    y, x = np.indices(shape[2:]) - (FRAME_PX - 1) / 2
    disk = np.clip(RADIUS_PX - np.hypot(y, x) + 0.5, 0, 1)
    pool = rng.poisson(disk * (ELECTRONS / disk.sum()), (POOL, *shape[2:])).astype(np.uint16)
    each, total = pool.sum((1, 2), dtype=np.int64), 0
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": shape})
        for _ in range(shape[0]):
            picks = rng.integers(0, POOL, shape[1])
            file.write(pool[picks].tobytes())
            total += int(each[picks].sum())
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return total / (shape[0] * shape[1])


def command(file: Path, method: str, result: Path, options: Options, budget_bytes: int) -> list[str]:
    """`exitwave reconstruct` with the optics of the written file, in a process that waits until it is told to begin."""
    words = [
        "reconstruct", str(file), "--method", method, "--energy-eV", "80e3", "--semiangle-mrad", str(SEMIANGLE_MRAD), "--scan-step-A", "0.4",
        "--detector-mrad", str(SEMIANGLE_MRAD / RADIUS_PX), "--rotation-deg", "0", "--no-transpose", "--aberration", "C10_A=-100",
        "--memory", f"{budget_bytes}B", "--threads", str(options.threads), "-o", str(result), "--force", "--json",
    ]
    return [sys.executable, "-c", WAITING, *words]


def _row(file: Path, shape: tuple[int, ...], mean: float, method: str, options: Options, budget_bytes: int) -> Row:
    result = file.with_name("result.h5")
    seconds, base, peak, said = watched(command(file, method, result, options, budget_bytes), options.threads)
    size, metrics = file.stat().st_size, said["metrics"]
    return {
        "case": f"memory {method}", "ours_s": seconds, "ours_peak_bytes": peak, "error_ours": abs(metrics["electrons_per_position"] / mean - 1),
        "file_bytes": size, "budget_bytes": budget_bytes, "grew_bytes": peak - base, "within_budget": peak - base <= budget_bytes,
        "GB_per_s": size / seconds / 1e9, "frames_per_s": shape[0] * shape[1] / seconds, "shape": list(shape),
        "detector_pixels": metrics["detector_pixels"],
        "note": "memory: ours / MB is anonymous memory, of which the interpreter and its libraries held the rest before grew_bytes; "
                "error ours is that of the dose the result states",
    }
