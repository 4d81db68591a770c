"""HyperSpy's files, HDF5 and Zarr: axes, microscope, several signals, ragged ones refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from tests.contracts.cases_hspy import fill, uniform

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
ARRAY = np.random.default_rng(2).integers(0, 900, (3, 4, 5, 7)).astype("uint16")
SCAN = [uniform("y", 3, 2.5, 1.0, "nm", True), uniform("x", 4, 2000.0, -3.0, "pm", True)]
DETECTOR = [uniform("ky", 5, 0.1, -0.2, "nm^-1", False), uniform("kx", 7, 0.1, -0.3, "1 / nm", False)]
MICROSCOPE = {"Acquisition_instrument/TEM": {"beam_energy": 200.0, "convergence_angle": 8.0, "microscope": "_None_"},
              "Acquisition_instrument/TEM/Detector/EELS": {"collection_angle": 30.5}, "General": {"title": "a/b"}}


def hspy(folder: Path, build: Callable[[Any], None]) -> str:
    with h5py.File(folder / "made.hspy", "w") as file:
        build(file)
    return str(folder / "made.hspy")


def zspy(folder: Path, build: Callable[[Any], None]) -> str:
    root = zarr.open_group(str(folder / "made.zspy"), mode="w", zarr_format=2)
    build(root)
    return str(folder / "made.zspy")


BOTH = pytest.mark.parametrize("make", [hspy, zspy])


@BOTH
def test_axes_and_calibration_in_our_units(tmp_path: Path, make: Callable[..., str]) -> None:
    signal = io.open_signal(make(tmp_path, lambda root: fill(root, "scan", ARRAY, SCAN + DETECTOR, MICROSCOPE)))
    assert (signal.origin["reader"], signal.origin["inside"], signal.kind) == (make.__name__, "scan", "4D-STEM")
    assert [(a.name, a.size, a.unit) for a in signal.axes] == [("y", 3, "A"), ("x", 4, "A"), ("ky", 5, "1/A"), ("kx", 7, "1/A")]
    assert np.allclose([(a.scale, a.offset) for a in signal.axes], [(25, 10), (20, -0.03), (0.01, -0.02), (0.01, -0.03)], rtol=1e-12, atol=0)
    c = signal.calibration
    assert (c.energy_eV.value, c.semiangle_mrad.value, c.scan_step_y_A.value, c.scan_step_x_A.value) == (200e3, 8.0, 25.0, 20.0)
    assert c.detector_mrad.value == pytest.approx(25.079 * 0.01, rel=1e-4)  # wavelength at 200 kV 0.025079 A
    attributes = signal.origin["attributes"]
    assert (attributes["collection_semiangle_mrad"], attributes["General.title"]) == (30.5, "a/b")
    assert not any("_None_" in str(value) for value in attributes.values())
    assert np.array_equal(signal.frames.read(3, 9), ARRAY.reshape(12, 5, 7)[3:9])


@BOTH
def test_spectra_and_uneven_axes(tmp_path: Path, make: Callable[..., str]) -> None:
    def build(root: Any) -> None:
        energy = {"_type": "DataAxis", "name": "E", "units": "keV", "navigate": False}
        group = fill(root, "si", ARRAY[0].astype("float32"), [*SCAN[:1], SCAN[1], energy], {})
        (group["axis-2"].create_dataset if isinstance(root, h5py.Group) else group["axis-2"].create_array)("axis", data=np.arange(7.0) ** 2)
        even = {**energy, "_type": "UniformDataAxis", "scale": 0.01, "offset": 0.2, "size": 7}
        fill(root, "line", ARRAY[0, 0], [SCAN[0], even], {})
        fill(root, "function", ARRAY[0, 0, 0], [{**energy, "_type": "FunctionalDataAxis", "expression": "a*x"}], {})

    path = make(tmp_path, build)
    with pytest.raises(InputError, match="3 signals"):
        io.open_signal(path)
    si, line, function = (io.open_signal(f"{path}::{title}") for title in ("si", "line", "function"))
    assert (si.kind, si.frames.item_axes, si.axes[2].scale, si.axes[2].unit) == ("spectrum image", 1, None, "eV")
    assert (line.kind, line.axes[1].scale, line.axes[1].offset) == ("line of spectra", 10.0, 200.0)
    assert (function.kind, function.axes[0].scale) == ("spectrum", None)
    with pytest.raises(InputError, match="no signal 'sj'"):
        io.open_signal(f"{path}::sj")


@BOTH
def test_ragged_signals_are_refused_in_a_sentence(tmp_path: Path, make: Callable[..., str]) -> None:
    def build(root: Any) -> None:
        fill(root, "odd", ARRAY[0, 0], DETECTOR, {})["attributes"].attrs["ragged"] = True

    with pytest.raises(FormatError, match="ragged: expected items of one shape"):
        io.open_signal(make(tmp_path, build))


def test_old_files_say_what_a_record_is(tmp_path: Path) -> None:
    axes = [{key: value for key, value in axis.items() if key not in ("navigate", "_type")} for axis in SCAN + DETECTOR[1:]]
    signal = io.open_signal(hspy(tmp_path, lambda root: fill(root, "old", ARRAY[..., 0, :], axes, {"Signal": {"record_by": "spectrum"}})))
    assert signal.frames.item_axes == 1
    assert io.open_signal(hspy(tmp_path, lambda root: fill(root, "old", ARRAY[..., 0, :], axes, {}))).frames.item_axes == 2


def test_nothing_is_invented(tmp_path: Path) -> None:
    axes = [uniform("_None_", n, 1.0, 0.0, "_None_", i < 2) for i, n in enumerate(ARRAY.shape)]
    signal = io.open_signal(hspy(tmp_path, lambda root: fill(root, "bare", ARRAY, axes, {})))
    assert {(a.scale, a.unit) for a in signal.axes} == {(None, "")}
    assert not any(getattr(signal.calibration, name).known for name in ("energy_eV", "semiangle_mrad", "scan_step_y_A", "detector_mrad"))


def test_a_file_of_hyperspy() -> None:
    """Values that RosettaSciIO reads from the same file."""
    if not (SHARED / "testU.hspy").exists():
        pytest.skip("testU.hspy is not beside the checkout")
    signal = io.open_signal(SHARED / "testU.hspy")
    axis = signal.axes[0]
    assert (signal.kind, axis.name, axis.size, axis.unit) == ("spectrum", "Energy loss", 3436, "eV")
    assert (axis.scale, axis.offset) == (pytest.approx(0.18000000715255737, rel=1e-12), pytest.approx(265.800003237724, rel=1e-12))
    assert (signal.calibration.energy_eV.value, signal.calibration.semiangle_mrad.value) == (300e3, 20.0)
