import subprocess
import sys
from math import sin
from pathlib import Path

import h5py
import numpy as np
import pytest

import exitwave
from exitwave import io
from exitwave.core.beam import Beam
from exitwave.core.errors import FormatError, InputError
from exitwave.io.metadata import calibration_of

ARRAY = np.arange(3 * 4 * 5 * 6, dtype=np.uint16).reshape(3, 4, 5, 6)


def test_listing_readers_loads_none_of_them() -> None:
    code = ("import sys; from exitwave import io; print(sorted(c.name for c in io.cards()));"
            "sys.exit(any(m in sys.modules for m in ('h5py', 'tifffile', 'hdf5plugin')))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                         env={"PYTHONPATH": str(Path(exitwave.__file__).parents[1])})
    assert run.returncode == 0, run.stdout + run.stderr
    assert "hdf5" in run.stdout


def test_hdf5_without_a_path_takes_the_only_scan_or_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file["x/frames"] = ARRAY
        file["x/mask"] = np.zeros((5, 6), bool)
        file["stack"] = ARRAY[0]
    data = io.open(path)
    assert (data.origin["inside"], data.origin["reader"]) == ("/x/frames", "hdf5")
    assert io.open(f"{path}::x/frames").shape == ARRAY.shape
    with pytest.raises(InputError, match=r"no dataset /x/dp.*/x/frames \(3, 4, 5, 6\)"):
        io.open(f"{path}::/x/dp")
    with pytest.raises(InputError, match="no dataset /x: expected"):
        io.open(f"{path}::/x")
    with h5py.File(path, "a") as file:
        file["y"] = ARRAY
    with pytest.raises(InputError, match=r"holds 2 datasets of 4 dimensions.*/x/frames.*/y .*name one, e.g. .*s.h5::/x/frames"):
        io.open(path)
    with h5py.File(path, "a") as file:
        del file["x/frames"], file["y"]
    with pytest.raises(InputError, match=r"::/stack is a stack of 4 frames of 5 x 6 without a scan"):
        io.open(path)
    assert io.open(path, scan_shape=(2, 2)).shape == (2, 2, 5, 6)


def test_npz_without_a_name_takes_the_only_scan_and_reads_single_values(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, frames=ARRAY, probe=np.ones((5, 6), complex), energy_eV=200e3, note="dose series", objects=np.array([1, "x"], dtype=object))
    data = io.open(path)
    assert data.origin["inside"] == "frames"
    assert data.calibration.need("energy_eV") == 200e3
    assert data.origin["attributes"] == {"energy_eV": 200e3, "note": "dose series"}
    with pytest.raises(InputError, match="holds no array 'dp'"):
        io.open(f"{path}::dp")
    np.savez(path, a=ARRAY, b=ARRAY)
    with pytest.raises(InputError, match=r"2 arrays of 4 dimensions: got a \(3, 4, 5, 6\), b"):
        io.open(path)


def test_options_of_bare_bytes_belong_to_bare_bytes(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", ARRAY)
    with pytest.raises(InputError, match="knows its own shape"):
        io.open(tmp_path / "s.npy", shape=ARRAY.shape, dtype="uint16")
    with pytest.raises(InputError, match="holds one array"):
        io.open(f"{tmp_path / 's.npy'}::/dp")
    (tmp_path / "s.raw").write_bytes(ARRAY.tobytes())
    with pytest.raises(InputError, match="give shape="):
        io.open(tmp_path / "s.raw")
    with pytest.raises(InputError, match="unknown type"):
        io.open(tmp_path / "s.raw", shape=ARRAY.shape, dtype="uint17")
    with pytest.raises(FormatError, match=r"expected 1440 bytes, got 720 bytes; it would hold 6 frames of 5 x 6|expected 1440"):
        io.open(tmp_path / "s.raw", shape=ARRAY.shape, dtype="float32")
    (tmp_path / "s.xyz").write_bytes(ARRAY.tobytes())
    assert io.open(tmp_path / "s.xyz", shape=ARRAY.shape, dtype="uint16").origin["reader"] == "raw"
    with pytest.raises(FormatError, match=r"no known format.*npy.*shape= and dtype="):
        io.open(tmp_path / "s.xyz")


def test_fortran_order_is_refused_with_advice(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.asfortranarray(ARRAY))
    with pytest.raises(FormatError, match=r"Fortran order.*ascontiguousarray"):
        io.open(tmp_path / "s.npy")


def test_attributes_like_the_rotavirus_files(tmp_path: Path) -> None:
    attributes = {"kV": 300.0, "semiangle_mrad": 1.03, "scan_step_A": 31.25, "dx_A": 4.65, "note": "cryo"}
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["dp"] = np.zeros((2, 3, 64, 64), np.uint16)
        file["dp"].attrs.update(attributes)
    data = io.open(tmp_path / "s.h5")
    assert dict(data.origin["attributes"]) == attributes
    got = data.calibration
    assert {q.source for q in (got.energy_eV, got.semiangle_mrad, got.scan_step_y_A, got.detector_mrad)} == {"file"}
    assert got.need("energy_eV") == 300e3
    assert got.need("scan_step_y_A") == got.need("scan_step_x_A") == 31.25
    # one detector pixel is the angle of one period over the reconstructed field, 64 pixels of 4.65 A
    assert sin(got.need("detector_mrad") * 1e-3) == pytest.approx(Beam.electron(300e3).wavelength_A / (64 * 4.65), rel=1e-9)
    assert not got.rotation_deg.known


@pytest.mark.parametrize(("attributes", "field", "value"), [
    ({"voltage_kV": 80}, "energy_eV", 80e3), ({"energy": 200}, "energy_eV", 200e3), ({"energy": 2e5}, "energy_eV", 2e5),
    ({"HIGH_TENSION_V": 6e4}, "energy_eV", 6e4), ({"energy": "120 kV"}, "energy_eV", 12e4), ({"kV": "300 kV"}, "energy_eV", 3e5),
    ({"kV": "300"}, "energy_eV", 3e5), ({"energy_eV": 1e5, "kV": 200}, "energy_eV", 1e5), ({"energy_eV": -3, "kV": 200}, "energy_eV", 2e5),
    ({"alpha_mrad": 21.4}, "semiangle_mrad", 21.4), ({"convergence_semiangle_mrad": 3}, "semiangle_mrad", 3.0),
    ({"alpha_rad": 0.02}, "semiangle_mrad", 20.0),
    ({"scan_step_nm": 0.05}, "scan_step_y_A", 0.5), ({"scan_step_A": [0.4, 0.6]}, "scan_step_x_A", 0.6),
    ({"scan_step_A": [0.4, 0.6]}, "scan_step_y_A", 0.4),
    ({"detector_mrad": 0.7, "dx_A": 3, "kV": 300}, "detector_mrad", 0.7), ({"rotation_rad": np.pi / 6}, "rotation_deg", 30.0),
    ({"rotation_deg": -54.0}, "rotation_deg", -54.0), ({"transpose": 1}, "transpose", True), ({"transpose": False}, "transpose", False),
    ({"kV": float("nan")}, "energy_eV", None), ({"kV": "high"}, "energy_eV", None), ({"kV": True}, "energy_eV", None),
    ({"dx_A": 3.0}, "detector_mrad", None),
])
def test_names_of_the_field(attributes: dict, field: str, value: float | None) -> None:
    got = getattr(calibration_of(attributes, (128, 128), "x"), field)
    assert got.value == (pytest.approx(value) if value is not None else None)
    assert got.source == ("missing" if value is None else "file")


@pytest.mark.parametrize(("attributes", "told"), [
    ({"defocus_A": 500}, {"C10_A": -500.0}), ({"defocus_nm": 50}, {"C10_A": -500.0}), ({"C10_A": -500}, {"C10_A": -500.0}),
    ({"Cs_mm": 1.2}, {"C30_A": 1.2e7}), ({"C12_A": 30, "phi12_deg": 23}, {"C12_A": 30.0, "phi12_deg": 23.0}),
    ({"phi12_rad": np.pi / 2}, {"phi12_deg": 90.0}), ({"C99_A": 3, "Camera_A": 3, "defocus": 3, "C10_A": "focus"}, {}),
])
def test_aberrations_of_the_field(attributes: dict, told: dict) -> None:
    got = calibration_of(attributes, (8, 8), "x").aberrations
    assert {name: q.value for name, q in got.items()} == pytest.approx(told)


def test_a_damaged_calibration_of_ours_is_said() -> None:
    for text in ("{", '{"energy_kV": {}}', '{"energy_eV": {"volts": 3}}'):
        with pytest.raises(FormatError, match="calibration that cannot be read"):
            calibration_of({"exitwave_calibration": text}, (8, 8), "x")


def test_the_real_scan(real_data: Path) -> None:
    path = real_data / "rotavirus_bin4_u16.h5"
    if not path.exists():
        pytest.skip("rotavirus_bin4_u16.h5 is not there")
    data = io.open(f"{path}::/dp")
    assert data.shape == (127, 127, 64, 64)
    assert data.frames.dtype == np.uint16
    assert data.frames.natural_chunk == 127
    with h5py.File(path) as file:
        np.testing.assert_array_equal(data.frames.read(120, 300), file["dp"][0:3].reshape(-1, 64, 64)[120:300])
    assert data.calibration.need("detector_mrad") == pytest.approx(0.06615, rel=1e-3)


@pytest.mark.parametrize(("shape", "chunks", "natural"), [
    ((6, 8, 4, 4), None, 1), ((6, 8, 4, 4), (1, 8, 4, 4), 8), ((6, 8, 4, 4), (1, 2, 4, 2), 2), ((6, 8, 4, 4), (1, 3, 4, 4), 8),
    ((6, 8, 4, 4), (2, 4, 4, 4), 16), ((6, 8, 4, 4), (1, 1, 4, 4), 1), ((48, 4, 4), (5, 4, 4), 5),
])
def test_frames_that_are_unpacked_together(shape: tuple[int, ...], chunks: tuple[int, ...] | None, natural: int, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("dp", shape, np.uint8, chunks=chunks)
    assert io.open(tmp_path / "s.h5", scan_shape=(6, 8)).frames.natural_chunk == natural
