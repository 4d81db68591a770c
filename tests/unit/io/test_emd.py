"""Berkeley EMD: vectors to axes, py4DSTEM's calibration, several datasets, other HDF5 left alone."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import InputError
from tests.contracts.cases_emd import counted, emd02, emd10

ARRAY = np.random.default_rng(2).integers(0, 900, (3, 4, 5, 7)).astype("uint16")
VECTORS = [("R_x", "[n_m]", 1 + 2.5 * np.arange(3)), ("R_y", "[n_m]", 2.0 * np.arange(4)),
           ("Q_x", "[1_/_n_m]", 0.1 * np.arange(5) - 0.2), ("Q_y", "[1_/_n_m]", 0.1 * np.arange(7) - 0.3)]


@pytest.mark.parametrize("write", [emd02, emd10])
def test_vectors_are_axes(tmp_path: Path, write: object) -> None:
    given = write(tmp_path / "scan", ARRAY, VECTORS)  # type: ignore[operator]
    with h5py.File(given["path"], "a") as file:
        file.create_group("microscope").attrs["voltage"] = 200e3
    signal = io.open_signal(**given)
    assert [(a.name, a.size, a.unit) for a in signal.axes] == [("R_x", 3, "A"), ("R_y", 4, "A"), ("Q_x", 5, "1/A"), ("Q_y", 7, "1/A")]
    assert np.allclose([(a.scale, a.offset) for a in signal.axes], [(25, 10), (20, 0), (0.01, -0.02), (0.01, -0.03)], rtol=1e-12, atol=1e-15)
    c = signal.calibration
    assert (c.energy_eV.value, c.scan_step_y_A.value, c.scan_step_x_A.value) == (200e3, pytest.approx(25), pytest.approx(20))
    assert c.detector_mrad.value == pytest.approx(25.079 * 0.01, rel=1e-4)  # wavelength at 200 kV 0.025079 A


def test_the_calibration_of_py4dstem_fills_axes_that_only_count(tmp_path: Path) -> None:
    calibration = {"R_pixel_size": 3.0, "R_pixel_units": "nm", "Q_pixel_size": 0.5, "Q_pixel_units": "mrad", "QR_flip": True}
    signal = io.open_signal(**emd10(tmp_path / "scan", ARRAY, calibration=calibration))
    assert [(a.scale, a.unit) for a in signal.axes] == [(30.0, "A"), (30.0, "A"), (0.5, "mrad"), (0.5, "mrad")]
    assert (signal.calibration.scan_step_x_A.value, signal.calibration.detector_mrad.value) == (30.0, 0.5)
    assert signal.origin["attributes"]["calibration.QR_flip"] is True
    counts = {"R_pixel_size": 1, "R_pixel_units": "pixels", "Q_pixel_size": 1, "Q_pixel_units": "pixels"}
    bare = io.open_signal(**emd10(tmp_path / "bare", ARRAY, calibration=counts))
    assert {a.scale for a in bare.axes} == {None}
    assert not bare.calibration.scan_step_x_A.known


def test_uneven_vectors_and_text_have_no_scale(tmp_path: Path) -> None:
    vectors = counted(ARRAY)
    vectors[0] = ("t", "s", np.array([0.0, 1.0, 5.0]))
    vectors[1] = ("label", "", np.array([b"a", b"b", b"c", b"d"]))
    axes = io.open_signal(**emd02(tmp_path / "scan", ARRAY, vectors)).axes
    assert [(a.name, a.scale, a.unit) for a in axes[:2]] == [("t", None, "s"), ("label", None, "")]


def test_several_datasets(tmp_path: Path) -> None:
    given = emd02(tmp_path / "scan", ARRAY)
    with h5py.File(given["path"], "a") as file:
        file.copy("data/made", "data/second")
        image = file.create_group("data/image")
        image.attrs["emd_group_type"] = 1
        image["data"] = ARRAY[0, 0]
    with pytest.raises(InputError, match=r"3 EMD datasets.*/data/made \(3, 4, 5, 7\)"):
        io.open_signal(**given)
    assert io.open_signal(f"{given['path']}::data/image").shape == (5, 7)
    assert io.open_signal(f"{given['path']}::/data/second/data").origin["inside"] == "/data/second"
    with pytest.raises(InputError, match="no EMD dataset /data/third"):
        io.open_signal(f"{given['path']}::data/third")


def test_other_hdf5_is_left_to_its_readers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.emd", "w") as file:
        file["a/data"] = ARRAY
    assert io.open_signal(tmp_path / "plain.emd").origin["reader"] == "hdf5"
