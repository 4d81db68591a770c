"""Stored lists of electrons as streams: the counts that reading them as frames gives, and damage told."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave.core.errors import FormatError, InputError
from exitwave.data import LiveStream
from exitwave.io import open as open_dataset
from exitwave.io.streams import sparse
from exitwave.io.streams.sparse import BEYOND, NEGATIVE, OUTSIDE, FourDCameraStream, RawCsrStream
from tests.contracts import cases_fourd_camera, cases_raw_csr

ARRAY = np.random.default_rng(3).poisson(0.8, (4, 7, 5, 9)).astype(np.uint16)


def counted(stream: Any) -> np.ndarray:
    assert isinstance(stream, LiveStream)
    flat = np.zeros((np.prod(stream.scan), np.prod(stream.frame)), np.int64)
    for chunk in stream.chunks():
        np.add.at(flat, (chunk.position, chunk.pixel), 1)
    return flat.reshape(*stream.scan, *stream.frame)


@pytest.mark.parametrize("together", [7, 2**17])
def test_a_sparse_scan_streams_the_counts_that_it_reads_as(tmp_path: Path, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "TOGETHER", together * 16)
    path = cases_raw_csr.write(tmp_path / "scan", ARRAY)["path"]
    stream = RawCsrStream(path)
    for _ in range(2):
        assert np.array_equal(counted(stream), ARRAY)
    assert stream.rejected == {} and np.array_equal(open_dataset(path).frames.read(0, 28), ARRAY.reshape(-1, 5, 9))


def test_damage_of_a_sparse_scan_is_told(tmp_path: Path) -> None:
    array = ARRAY.astype(np.int32)
    path = Path(cases_raw_csr.write(tmp_path / "scan", array)["path"])
    toml, values, pixels, rows = path.read_text(), path.parent / "values.dat", path.parent / "pixels.dat", path.parent / "rows.dat"
    path.write_text(toml.replace("[4, 7]", "[4, 6]"))
    assert RawCsrStream(path).scan == (4, 6)
    stream = RawCsrStream(path)
    assert np.array_equal(counted(stream), ARRAY.reshape(28, 5, 9)[:24].reshape(4, 6, 5, 9)) and stream.rejected == {BEYOND: 4}
    path.write_text(toml)
    whole = values.read_bytes()
    changed = np.frombuffer(whole, ">i4").copy()
    changed[5] = -4
    values.write_bytes(changed.tobytes())
    assert counted(stream).sum() < ARRAY.sum()
    assert counted(RawCsrStream(path)).sum() < ARRAY.sum()
    stream = RawCsrStream(path)
    list(stream.chunks())
    assert stream.rejected == {NEGATIVE: 1}
    values.write_bytes(whole[:-8])
    with pytest.raises(FormatError, match="do not fit together"):
        RawCsrStream(path)
    values.write_bytes(whole)
    for file, position, number in ((pixels, 40, b"\xff"), (rows, 8 * 9, b"\xff\xff\xff\xff")):
        good = file.read_bytes()
        file.write_bytes(good[:position] + number + good[position + len(number) :])
        with pytest.raises(FormatError, match=r"outside the frame|damaged"):
            list(RawCsrStream(path).chunks())
        file.write_bytes(good)
    path.write_text(toml.replace(">i4", "<f4"))
    with pytest.raises(FormatError, match="holds no counts"):
        RawCsrStream(path)
    path.write_text(toml.replace("values.dat", "gone.dat"))
    with pytest.raises(InputError, match="cannot be read"):
        RawCsrStream(path)
    for text in (toml.replace("[raw_csr]", "[other]"), toml.replace("[4, 7]", "[4]"), "params = [", toml.replace("<i8", "nonsense")):
        path.write_text(text)
        with pytest.raises(FormatError):
            RawCsrStream(path)


@pytest.mark.parametrize("write", [cases_fourd_camera.one_frame, cases_fourd_camera.many_frames])
def test_the_4d_camera_streams_the_counts_that_it_reads_as(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "scan", ARRAY)["path"]
    stream = FourDCameraStream(path)
    assert np.array_equal(counted(stream), ARRAY) and stream.rejected == {}
    with h5py.File(path, "r+") as file:
        file["electron_events/frames"][3] = np.array([2, 44, 45, 10**9], np.uint32)
    list(stream.chunks())
    assert stream.rejected == {OUTSIDE: 2}
    with h5py.File(path, "r+") as file:
        del file["electron_events/scan_positions"]
    with pytest.raises(FormatError, match="no lists of electrons"):
        FourDCameraStream(path)
