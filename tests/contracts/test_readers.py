"""Every reader keeps the same promises: a table of formats, one test for each promise."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from exitwave.data.dataset import Dataset4D, FrameSource
from exitwave.flow.chunks import chunks

SHAPE = (5, 7, 6, 11)  # generic: odd, prime, not square
TYPES = ["uint8", "uint16", "int32", "float32", "float64", ">u2"]


def scan(dtype: str = "uint16", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    values = np.random.default_rng(3).integers(0, 200, shape)
    return (values * (1.25 if "f" in dtype else 1)).astype(dtype)


def write_npy(path: Path, array: np.ndarray) -> dict[str, Any]:
    np.save(path.with_suffix(".npy"), array)
    return {"path": str(path.with_suffix(".npy"))}


def write_npz(path: Path, array: np.ndarray) -> dict[str, Any]:
    np.savez(path.with_suffix(".npz"), frames=array, energy_eV=200e3)
    return {"path": f"{path.with_suffix('.npz')}::frames"}


def write_packed(path: Path, array: np.ndarray) -> dict[str, Any]:
    np.savez_compressed(path.with_suffix(".npz"), other=np.arange(3), frames=array)
    return {"path": f"{path.with_suffix('.npz')}::frames"}


def write_raw(path: Path, array: np.ndarray) -> dict[str, Any]:
    path.with_suffix(".raw").write_bytes(b"12345" + array.tobytes())
    return {"path": str(path.with_suffix(".raw")), "shape": array.shape, "dtype": array.dtype.str, "offset": 5}


def hdf5(**options: Any) -> Callable[[Path, np.ndarray], dict[str, Any]]:
    def write(path: Path, array: np.ndarray) -> dict[str, Any]:
        with h5py.File(path.with_suffix(".h5"), "w") as file:
            cut = {"chunks": options["chunks"][-array.ndim :] if array.ndim in (3, 4) else True} if "chunks" in options else {}
            file.create_dataset("/a/dp", data=array, **{**options, **cut})
        return {"path": f"{path.with_suffix('.h5')}::/a/dp"}

    return write


FORMATS = {
    "npy": write_npy, "npz": write_npz, "npz-compressed": write_packed, "raw": write_raw, "hdf5": hdf5(),
    "hdf5-rows-gzip": hdf5(chunks=(1, 7, 6, 11), compression="gzip", shuffle=True), "hdf5-odd-chunks": hdf5(chunks=(2, 3, 4, 11), compression="lzf"),
    "hdf5-bitshuffle": hdf5(chunks=(1, 7, 6, 11), **hdf5plugin.Bitshuffle()),
}


@pytest.fixture(params=FORMATS)
def write(request: pytest.FixtureRequest) -> Callable[[Path, np.ndarray], dict[str, Any]]:
    return FORMATS[request.param]


def opened(given: dict[str, Any], **more: Any) -> Dataset4D:
    return io.open(**given, **more)


def file_of(given: dict[str, Any]) -> Path:
    return Path(given["path"].split("::")[0])


def test_frames_are_the_array(write: Callable, tmp_path: Path) -> None:
    array = scan()
    data = opened(write(tmp_path / "x", array))
    assert isinstance(data.frames, FrameSource)
    assert data.shape == SHAPE
    assert data.origin["path"] and data.origin["reader"] in {card.name for card in io.cards()}
    flat = array.reshape(-1, *SHAPE[2:])
    for start, stop in [(0, 35), (0, 1), (34, 35), (6, 8), (3, 25), (7, 21), (13, 13), (2, 5)]:
        np.testing.assert_array_equal(data.frames.read(start, stop), flat[start:stop])


@pytest.mark.parametrize("dtype", TYPES)
def test_type_is_kept_in_native_byte_order(write: Callable, dtype: str, tmp_path: Path) -> None:
    array = scan(dtype)
    frames = opened(write(tmp_path / "x", array)).frames
    assert frames.dtype == np.dtype(dtype).newbyteorder("=")
    got = frames.read(3, 17)
    assert got.dtype == frames.dtype
    np.testing.assert_array_equal(got, array.reshape(-1, *SHAPE[2:])[3:17])


def test_source_pickles_small_and_reads_afterwards(write: Callable, tmp_path: Path) -> None:
    array = scan()
    frames = opened(write(tmp_path / "x", array)).frames
    frames.read(0, 2)  # an open file must not travel
    text = pickle.dumps(frames)
    assert len(text) < 2048
    np.testing.assert_array_equal(pickle.loads(text).read(30, 35), array.reshape(-1, *SHAPE[2:])[30:])


def test_out_is_filled_and_returned(write: Callable, tmp_path: Path) -> None:
    frames = opened(write(tmp_path / "x", scan())).frames
    out = np.full((4, *SHAPE[2:]), 9, np.uint16)
    assert frames.read(5, 9, out) is out
    np.testing.assert_array_equal(out, frames.read(5, 9))
    for wrong in (np.empty((3, *SHAPE[2:]), np.uint16), np.empty((4, *SHAPE[2:]), np.uint8), np.empty((4, 11, 6), np.uint16).transpose(0, 2, 1)):
        with pytest.raises(InputError, match="do not fit the array"):
            frames.read(5, 9, wrong)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (30, 36), (5, 4)])
def test_ranges_outside_the_scan_are_refused(write: Callable, start: int, stop: int, tmp_path: Path) -> None:
    frames = opened(write(tmp_path / "x", scan())).frames
    with pytest.raises(InputError, match="outside the scan"):
        frames.read(start, stop)


@pytest.mark.parametrize("fit", [1, 2, 3, 6, 7, 13, 35, 1000])
def test_chunks_cover_everything_once(write: Callable, fit: int, tmp_path: Path) -> None:
    array = scan()
    frames = opened(write(tmp_path / "x", array)).frames
    got, at = [], 0
    for chunk in chunks(frames, fit * 66 * (2 + 8)):
        assert chunk.start == at
        assert 1 <= chunk.stop - chunk.start <= fit
        got.append(chunk.frames.copy())
        at = chunk.stop
    np.testing.assert_array_equal(np.concatenate(got), array.reshape(-1, *SHAPE[2:]))


def test_stack_needs_a_scan_shape(write: Callable, tmp_path: Path) -> None:
    array = scan(shape=(15, 6, 11))
    given = write(tmp_path / "x", array)
    with pytest.raises(InputError, match="stack of 15 frames"):
        opened(given)
    with pytest.raises(InputError, match="does not hold the 15 frames"):
        opened(given, scan_shape=(4, 4))
    data = opened(given, scan_shape=(3, 5))
    assert data.shape == (3, 5, 6, 11)
    np.testing.assert_array_equal(data.frames.read(4, 12), array[4:12])


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5, 6)])
def test_wrong_number_of_dimensions(write: Callable, shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no 4D scan"):
        opened(write(tmp_path / "x", scan(shape=shape)))


@pytest.mark.parametrize("shape", [(0, 7, 6, 11), (5, 7, 0, 11)])
def test_empty_scan(shape: tuple[int, ...], tmp_path: Path) -> None:
    for write in (write_npy, write_npz, write_packed, write_raw, FORMATS["hdf5"]):
        with pytest.raises(FormatError, match="is empty"):
            opened(write(tmp_path / "x", np.zeros(shape, np.uint16)))


def test_types_that_are_no_frames(write: Callable, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no detector frames"):
        opened(write(tmp_path / "x", scan().astype(np.complex64)))
    with pytest.raises(FormatError, match="no detector frames"):
        opened(write(tmp_path / "y", scan().astype("S3")))


def test_missing_file_and_folder(write: Callable, tmp_path: Path) -> None:
    given = write(tmp_path / "scan", scan())
    gone = {**given, "path": given["path"].replace("scan", "scam")}
    with pytest.raises(InputError, match=r"there is no file .*scam.*; .* has scan"):
        opened(gone)
    with pytest.raises(InputError, match="is a folder"):
        opened({**given, "path": str(tmp_path)})


@pytest.mark.parametrize("part", [0.0, 0.004, 0.5, 0.999])
def test_truncated_file(write: Callable, part: float, tmp_path: Path) -> None:
    given = write(tmp_path / "x", scan())
    path = file_of(given)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(FormatError, match=r"truncated|is empty|damaged|does not hold|does not begin"):
        opened(given)


def test_file_cut_after_opening(tmp_path: Path) -> None:
    for write in (write_npy, write_npz, write_raw):
        given = write(tmp_path / "x", scan())
        frames = opened(given).frames
        path = file_of(given)
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(FormatError, match="ends inside frames"):
            frames.read(0, 35)


def test_damage_inside_compressed_data(tmp_path: Path) -> None:
    for write in (write_packed, FORMATS["hdf5-rows-gzip"]):
        given = write(tmp_path / "x", scan())
        frames = opened(given).frames
        path = file_of(given)
        content = bytearray(path.read_bytes())
        at = int(0.7 * len(content))
        content[at : at + 200] = bytes(200)
        path.write_bytes(bytes(content))
        with pytest.raises(FormatError, match=r"damaged|cannot be read"):
            frames.read(0, 35)


def test_reader_can_be_named_and_misnamed(write: Callable, tmp_path: Path) -> None:
    given = write(tmp_path / "x", scan())
    name = opened(given).origin["reader"]
    path = file_of(given)
    odd = path.rename(path.with_suffix(".frames"))
    moved = {**given, "path": given["path"].replace(str(path), str(odd))}
    assert opened(moved).origin["reader"] == name, "content decides, not the name"
    assert opened(moved, reader=name).shape == SHAPE
    with pytest.raises(InputError, match="unknown reader"):
        opened(moved, reader="hfd5")
