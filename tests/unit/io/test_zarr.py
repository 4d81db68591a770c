"""Zarr stores: which array is meant, axes named beside it, chunks and shards, damage, foreign zips."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from exitwave import io
from exitwave.core.errors import ExitwaveError, FormatError, InputError
from exitwave.data import Calibration, Quantity
from exitwave.io.nexus import Plane
from exitwave.io.results import write_result

ARRAY = np.random.default_rng(2).integers(0, 900, (6, 4, 5, 7)).astype("uint16")


def test_the_only_scan_else_a_list(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "s.zarr"), mode="w")
    root.create_array("a/scan", data=ARRAY)
    root.create_array("mean", data=ARRAY[0, 0])
    root.attrs["kV"] = 80
    signal = io.open_signal(tmp_path / "s.zarr")
    assert (signal.shape, signal.origin["inside"], signal.calibration.energy_eV.value) == (ARRAY.shape, "a/scan", 80e3)
    assert io.open_signal(f"{tmp_path}/s.zarr::mean").shape == (5, 7)
    root.create_array("a/other", data=ARRAY)
    with pytest.raises(InputError, match=r"2 arrays of 4 dimensions.*a/other"):
        io.open_signal(tmp_path / "s.zarr")
    with pytest.raises(InputError, match="no array 'b'"):
        io.open_signal(f"{tmp_path}/s.zarr::b")


@pytest.mark.parametrize("version", [2, 3])
def test_coordinates_beside_an_array_are_its_axes(tmp_path: Path, version: int) -> None:
    root = zarr.open_group(str(tmp_path / "x.zarr"), mode="w", zarr_format=version)  # type: ignore[arg-type]
    names = ("y", "x", "energy")
    made = root.create_array("si", data=ARRAY[..., 0], dimension_names=names if version == 3 else None)
    if version == 2:
        made.attrs["_ARRAY_DIMENSIONS"] = list(names)
    for name, values, unit in (("y", 5 + 2.0 * np.arange(6), "nm"), ("energy", 0.1 * np.arange(5), "keV")):
        root.create_array(name, data=values).attrs["units"] = unit
    signal = io.open_signal(f"{tmp_path}/x.zarr::si")
    assert (signal.kind, signal.frames.item_axes) == ("spectrum image", 1)
    assert [(a.name, a.size, a.unit) for a in signal.axes] == [("y", 6, "A"), ("x", 4, ""), ("energy", 5, "eV")]
    assert [(a.scale, a.offset) for a in signal.axes] == [(20.0, 50.0), (None, 0.0), (pytest.approx(100.0), 0.0)]
    assert np.array_equal(signal.frames.read(4, 9), ARRAY[..., 0].reshape(24, 5)[4:9])


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_our_own_files_come_back(tmp_path: Path, suffix: str) -> None:
    known = Calibration(energy_eV=Quantity(value=80e3, sigma=3.0, source="given"), scan_step_y_A=Quantity(value=0.5, source="measured"))
    io.write_scan(tmp_path / f"scan{suffix}", ARRAY, shape=ARRAY.shape, dtype="uint16", calibration=known)
    scan = io.open_signal(tmp_path / f"scan{suffix}")
    assert np.array_equal(scan.frames.read(0, 24), ARRAY.reshape(24, 5, 7))
    assert scan.calibration.as_json() == known.as_json()
    planes = [Plane(name=name, array=ARRAY[i, i].astype("float32"), pitch=(0.25, 0.5)) for i, name in enumerate(("phase", "amplitude"))]
    write_result(tmp_path / f"result{suffix}", images=planes, recipe={}, calibration=known, metrics={}, provenance={})
    image = io.open_signal(tmp_path / f"result{suffix}")
    assert (image.kind, image.origin["inside"].strip("/")) == ("image", "entry/phase/data")
    assert [(a.name, a.scale, a.unit) for a in image.axes] == [("y", 0.25, "A"), ("x", 0.5, "A")]


def test_natural_chunks(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "c.zarr"), mode="w")
    layouts = {"row": ((1, 4, 5, 7), None), "part": ((1, 2, 5, 7), (2, 4, 5, 7)), "rows": ((3, 4, 2, 7), None), "odd": ((1, 3, 5, 7), None)}
    for name, (chunks, shards) in layouts.items():
        root.create_array(name, shape=ARRAY.shape, dtype="uint16", chunks=chunks, shards=shards)
    found = {name: io.open_signal(f"{tmp_path}/c.zarr::{name}").frames.natural_chunk for name in root.array_keys()}
    assert found == {"row": 4, "part": 2, "rows": 12, "odd": 4}


def test_chunks_never_written_are_the_fill_value_and_cut_ones_are_refused(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "f.zarr"), mode="w", zarr_format=2)
    made = root.create_array("scan", shape=ARRAY.shape, dtype="uint16", chunks=(1, 4, 5, 7), fill_value=9)
    made[:2] = ARRAY[:2]
    frames = io.open_signal(tmp_path / "f.zarr").frames
    assert np.array_equal(frames.read(4, 12), np.concatenate([ARRAY[1], np.full((4, 5, 7), 9, "uint16")]))
    chunk = tmp_path / "f.zarr" / "scan" / "1.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(FormatError, match="frames 4:8"):
        frames.read(4, 8)


def test_other_folders_and_zips_are_not_zarr(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        io.open_signal(tmp_path / "empty")
    np.savez(tmp_path / "a.npz", frames=ARRAY)
    assert io.open_signal(tmp_path / "a.npz").origin["reader"] == "npz"
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(ExitwaveError):
        io.open_signal(tmp_path / "b.zip")
    zarr.save_array(str(tmp_path / "c.zarr"), ARRAY.astype("complex64"))
    with pytest.raises(FormatError, match="complex64"):
        io.open_signal(tmp_path / "c.zarr")
