from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import InputError
from exitwave.data.calibration import Calibration, Quantity
from exitwave.io.nexus import Plane

SHAPE = (5, 6, 7, 4)
ARRAY = np.random.default_rng(0).integers(0, 300, SHAPE).astype(np.uint16)
KNOWN = Calibration(energy_eV=Quantity(value=80e3, source="given"), semiangle_mrad=Quantity(value=20.5, sigma=0.25, source="measured"),
                    scan_step_y_A=Quantity(value=0.5, source="given"), scan_step_x_A=Quantity(value=0.5, source="given"),
                    transpose=Quantity(value=False, source="assumed"), twin=Quantity(value="positive phase", source="measured"),
                    aberrations={"C10_A": Quantity(value=-300.0, sigma=4.5, source="measured"), "phi12_deg": Quantity(value=23.0, source="given")})


def cut(array: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    flat, at = array.reshape(-1, *array.shape[2:]), 0
    for size in sizes:
        yield flat[at : at + size]
        at += size


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [4, 9, 13, 4], [6] * 5])
def test_streamed_frames_come_back_with_the_identical_calibration(sizes: list[int], tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    io.write_scan(path, cut(ARRAY, sizes), shape=SHAPE, dtype="uint16", calibration=KNOWN, attributes={"note": "Si [110]", "seed": 7})
    data = io.open(path)
    np.testing.assert_array_equal(data.frames.read(0, 30), ARRAY.reshape(-1, 7, 4))
    assert data.frames.natural_chunk == 6
    assert data.calibration.as_json() == KNOWN.as_json()
    assert data.origin["attributes"]["note"] == "Si [110]"


def test_other_programs_read_plain_attributes(tmp_path: Path) -> None:
    io.write_scan(tmp_path / "s.h5", ARRAY, shape=SHAPE, dtype="uint16", calibration=KNOWN)
    with h5py.File(tmp_path / "s.h5", "a") as file:
        attributes = file.attrs
        assert (attributes["energy_eV"], attributes["kV"], attributes["scan_step_A"], attributes["C10_A"]) == (80e3, 80.0, 0.5, -300.0)
        assert "rotation_deg" not in attributes
        del attributes["exitwave_calibration"]
    told = io.open(tmp_path / "s.h5").calibration
    for name in ("energy_eV", "semiangle_mrad", "scan_step_y_A", "scan_step_x_A", "transpose"):
        assert getattr(told, name).value == getattr(KNOWN, name).value
        assert getattr(told, name).source == "file"
    assert {n: q.value for n, q in told.aberrations.items()} == {"C10_A": -300.0, "phi12_deg": 23.0}


def test_truth_rides_along(tmp_path: Path) -> None:
    truth = Plane(name="phase", array=np.random.default_rng(1).normal(size=(9, 8)), pitch=(0.1, 0.2), unit="rad")
    io.write_scan(tmp_path / "s.h5", ARRAY, shape=SHAPE, dtype="uint16", calibration=Calibration(), truth=[truth])
    got = io.read_truth(tmp_path / "s.h5")
    np.testing.assert_array_equal(got["phase"].array, truth.array)
    assert io.open(tmp_path / "s.h5").shape == SHAPE
    io.write_scan(tmp_path / "t.h5", ARRAY, shape=SHAPE, dtype="uint16", calibration=Calibration())
    assert io.read_truth(tmp_path / "t.h5") == {}


@pytest.mark.parametrize(("frames", "dtype", "said"), [
    (lambda: cut(ARRAY, [30, 0])and cut(ARRAY, [12, 17]), "uint16", "ended before the scan.*expected 30 frames, got 29"),
    (lambda: iter([ARRAY.reshape(-1, 7, 4), ARRAY[0, :1]]), "uint16", "do not fit the scan"),
    (lambda: iter([ARRAY[0].transpose(0, 2, 1)]), "uint16", "do not fit the scan"),
    (lambda: ARRAY[:4], "uint16", "another shape"),
    (lambda: cut(ARRAY, [7, 23]), "uint8", r"frame \d+ holds values that uint8 cannot keep"),
    (lambda: cut(ARRAY - 0.5, [30]), "uint16", "frame 0 holds values"),
])
def test_frames_that_do_not_fit_leave_nothing(frames, dtype: str, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=said):
        io.write_scan(tmp_path / "s.h5", frames(), shape=SHAPE, dtype=dtype, calibration=KNOWN)
    assert list(tmp_path.iterdir()) == []


def test_values_are_kept_across_types(tmp_path: Path) -> None:
    io.write_scan(tmp_path / "a.h5", iter([ARRAY.reshape(-1, 7, 4).astype(np.int64)]), shape=SHAPE, dtype="uint16", calibration=KNOWN)
    np.testing.assert_array_equal(io.open(tmp_path / "a.h5").frames.read(0, 30), ARRAY.reshape(-1, 7, 4))
    io.write_scan(tmp_path / "b.h5", ARRAY / 7, shape=SHAPE, dtype="float32", calibration=KNOWN)
    np.testing.assert_array_equal(io.open(tmp_path / "b.h5").frames.read(0, 30), (ARRAY / 7).reshape(-1, 7, 4).astype(np.float32))


def test_long_rows_are_cut_evenly(tmp_path: Path) -> None:
    shape = (1, 90, 128, 128)
    io.write_scan(tmp_path / "s.h5", (np.full((9, 128, 128), i, np.uint16) for i in range(10)), shape=shape, dtype="uint16", calibration=KNOWN)
    frames = io.open(tmp_path / "s.h5").frames
    assert 90 % frames.natural_chunk == 0
    assert frames.natural_chunk * 2**15 <= 2**21
    np.testing.assert_array_equal(frames.read(0, 90)[:, 3, 5], np.repeat(np.arange(10), 9))
