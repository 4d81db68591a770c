"""A 600 MB file under a 256 MB budget, in a process whose anonymous memory is watched (page cache is the system's, not ours)."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import exitwave

SHAPE = (150, 125, 128, 128)  # 614 MB of uint16
BUDGET = 256_000_000

WATCHED = textwrap.dedent("""
    import json, sys, threading

    import h5py, numpy as np
    from exitwave import io
    from exitwave.flow import MeanPattern, Together, VirtualImages, accumulate

    def anonymous():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

    peak, done = 0, threading.Event()

    def watch():
        global peak
        while not done.wait(0.001):
            peak = max(peak, anonymous())

    masks = np.zeros((3, 128, 128), np.uint8)
    masks[0, 30:90, 40:100], masks[1, :20], masks[2, 60, 61] = 1, 1, 1
    base = anonymous()
    watcher = threading.Thread(target=watch)
    watcher.start()
    data = io.open(sys.argv[1])
    pattern, images = accumulate(data, Together(parts=(MeanPattern(), VirtualImages(weights=masks))), int(sys.argv[2]))
    done.set()
    watcher.join()
    print(json.dumps({"grew": peak - base, "frames": pattern.frames, "total": int(images.sum()), "mean": float(pattern.mean.sum())}))
""")


def row_of_frames() -> np.ndarray:
    row = np.zeros(SHAPE[1:], np.uint16)
    row[:, 30:90, 40:100] = np.arange(SHAPE[1], dtype=np.uint16)[:, None, None]
    return row


def write_npy(path: Path) -> None:
    row = row_of_frames()
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": SHAPE})
        start = file.tell()
        file.truncate(start + row.nbytes * SHAPE[0])  # the rows between stay holes and read as zero
        for at in (0, SHAPE[0] - 1):
            file.seek(start + at * row.nbytes)
            file.write(row.tobytes())


def write_h5(path: Path) -> None:
    row = row_of_frames()
    with h5py.File(path, "w") as file:
        data = file.create_dataset("dp", SHAPE, np.uint16, chunks=(1, *SHAPE[1:]), compression="gzip", compression_opts=1)
        data[0] = row[None]
        packed = data.id.read_direct_chunk((0, 0, 0, 0))[1]
        data.id.write_direct_chunk((SHAPE[0] - 1, 0, 0, 0), packed)
        empty = np.zeros_like(row)
        data[1] = empty[None]
        packed = data.id.read_direct_chunk((1, 0, 0, 0))[1]
        for at in range(2, SHAPE[0] - 1):
            data.id.write_direct_chunk((at, 0, 0, 0), packed)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
@pytest.mark.parametrize(("name", "write"), [("scan.npy", write_npy), ("scan.h5", write_h5)])
def test_a_600_MB_file_under_a_256_MB_budget(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    try:
        run = subprocess.run([sys.executable, "-c", WATCHED, str(path), str(BUDGET)], capture_output=True, text=True, check=False, timeout=120,
                             env={**os.environ, "PYTHONPATH": str(Path(exitwave.__file__).parents[1])})
    finally:
        path.unlink()
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    row = row_of_frames()
    assert told["frames"] == SHAPE[0] * SHAPE[1]
    assert told["total"] == 2 * int(row[:, 30:90, 40:100].sum(dtype=np.int64) + row[:, 60, 61].sum(dtype=np.int64))
    assert told["mean"] * told["frames"] == pytest.approx(2 * row.sum(dtype=np.int64), rel=1e-12)
    assert 2**20 < told["grew"] < BUDGET, f"{told['grew'] / 1e6:.0f} MB of anonymous memory"
