"""DigitalMicrograph: axes, microscope, order of values, several images, damage."""

from pathlib import Path

import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from tests.contracts.cases_dm import Encoder, image, thumbnail, write

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
ARRAY = np.random.default_rng(5).integers(0, 900, (3, 4, 5, 7)).astype("uint16")
SCAN = ((2.0, 0.0, "nm"), (1.5, 1.0, "nm"))
DETECTOR = ((0.25, 2.0, "1/nm"), (0.25, 3.0, "1/nm"))
MICROSCOPE = {"Microscope Info": {"Voltage": np.float64(200e3)}, "EELS": {"Experimental Conditions": {
    "Convergence semi-angle (mrad)": np.float32(24.0), "Collection semi-angle (mrad)": np.float32(40.5)}}, "DataBar": {"Exposure Time (s)": 0.5}}


@pytest.mark.parametrize(("version", "order"), [(3, "<"), (3, ">"), (4, "<"), (4, ">")])
def test_axes_and_calibration(tmp_path: Path, version: int, order: str) -> None:
    path = write(tmp_path / "scan", [thumbnail(), image(ARRAY, SCAN + DETECTOR, MICROSCOPE)], version, order)
    signal = io.open_signal(path)
    assert signal.kind == "4D-STEM"
    assert [(a.name, a.size, a.unit) for a in signal.axes] == [("y", 3, "A"), ("x", 4, "A"), ("ky", 5, "1/A"), ("kx", 7, "1/A")]
    assert np.allclose([(a.scale, a.offset) for a in signal.axes], [(20.0, 0.0), (15.0, -15.0), (0.025, -0.05), (0.025, -0.075)], rtol=1e-12, atol=0)
    c = signal.calibration
    assert (c.energy_eV.value, c.semiangle_mrad.value, c.scan_step_y_A.value, c.scan_step_x_A.value) == (200e3, 24.0, 20.0, 15.0)
    assert c.detector_mrad.value == pytest.approx(25.079 * 0.025, rel=1e-4)  # wavelength at 200 kV 0.025079 A
    assert signal.origin["attributes"]["collection_semiangle_mrad"] == 40.5
    assert signal.origin["attributes"]["exposure_s"] == 0.5
    assert np.array_equal(signal.frames.read(0, 12), ARRAY.reshape(12, 5, 7))


def test_scan_kept_pixel_by_pixel_is_turned_by_its_units(tmp_path: Path) -> None:
    stored = np.ascontiguousarray(ARRAY.transpose(2, 3, 0, 1))
    signal = io.open_signal(write(tmp_path / "turned", [image(stored, DETECTOR + SCAN, MICROSCOPE)], 4, thumbnails=False))
    assert signal.shape == ARRAY.shape
    assert [(a.name, a.unit, a.scale) for a in signal.axes[:2]] == [("y", "A", 20.0), ("x", "A", 15.0)]
    assert np.array_equal(signal.frames.read(5, 9), ARRAY.reshape(12, 5, 7)[5:9])
    assert io.open(tmp_path / "turned", scan_shape=(2, 6)).shape == (2, 6, 5, 7)


def test_spectrum_image_is_an_energy_stack_as_it_is_stored(tmp_path: Path) -> None:
    array = np.arange(33 * 4 * 5, dtype="float32").reshape(33, 4, 5)
    axes = ((0.5, -20.0, "eV"), (3.0, 0.0, "nm"), (2.0, 0.0, "nm"))
    signal = io.open_signal(write(tmp_path / "si", [thumbnail(), image(array, axes, MICROSCOPE)]))
    assert (signal.kind, signal.frames.item_axes) == ("spectrum image", 2)
    assert (signal.axes[0].name, signal.axes[0].scale, signal.axes[0].offset) == ("energy", 0.5, 10.0)
    assert (signal.calibration.scan_step_y_A.value, signal.calibration.scan_step_x_A.value) == (30.0, 20.0)
    assert np.array_equal(signal.frames.read(3, 5), array[3:5])
    spectra = io.open_signal(write(tmp_path / "swapped", [image(np.moveaxis(array, 0, 2).copy(), (*axes[1:], axes[0]))], thumbnails=False))
    assert (spectra.kind, spectra.frames.item_axes, spectra.axes[2].offset) == ("spectrum image", 1, 10.0)


def test_nothing_is_invented(tmp_path: Path) -> None:
    signal = io.open_signal(write(tmp_path / "bare", [image(ARRAY[0, 0], ((1.0, 0.0, ""), (1.0, 0.0, "")))], thumbnails=False))
    assert [a.scale for a in signal.axes] == [None, None]
    assert not any(getattr(signal.calibration, name).known for name in ("energy_eV", "semiangle_mrad", "scan_step_y_A", "detector_mrad"))


def test_several_images_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "two", [thumbnail(), image(ARRAY[0, 0], name="survey"), image(ARRAY, SCAN + DETECTOR, name="scan")])
    with pytest.raises(InputError, match=r"2 images.*0 survey \(5, 7\), 1 scan \(3, 4, 5, 7\)"):
        io.open_signal(path)
    assert io.open_signal(f"{path}::0").shape == (5, 7)
    assert io.open(f"{path}::1").shape == ARRAY.shape
    with pytest.raises(InputError, match="no image '2'"):
        io.open_signal(f"{path}::2")


@pytest.mark.parametrize(("change", "words"), [
    ({"DataType": np.uint32(3)}, "complex numbers"), ({"DataType": np.uint32(99)}, "type 99"), ({"DataType": np.uint32(11)}, "damaged"),
    ({"Dimensions": [np.uint32(0)]}, "no image"), ({"Dimensions": []}, "no image"), ({"Data": np.uint16(3)}, "no image"),
])
def test_contradictions_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    made = image(ARRAY)
    made["ImageData"].update(change)
    with pytest.raises(FormatError, match=words):
        io.open_signal(write(tmp_path / "bad.dm3", [thumbnail(), made]))


def test_deep_groups_and_foreign_words_are_refused(tmp_path: Path) -> None:
    tree: dict[str, object] = {}
    for _ in range(80):
        tree = {"inner": tree}
    (tmp_path / "deep.dm3").write_bytes(Encoder(3, "<").file(tree))
    with pytest.raises(FormatError, match="deeper"):
        io.open_signal(tmp_path / "deep.dm3")
    (tmp_path / "other.dm3").write_bytes(b"\0\0\0\3" + bytes(4) + b"\0\0\0\7" + bytes(40))
    with pytest.raises(FormatError, match="not a DigitalMicrograph file"):
        io.open_signal(tmp_path / "other.dm3")


def test_any_flipped_byte_gives_data_or_a_sentence(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.dm3", [thumbnail(), image(ARRAY[0], SCAN[:1] + DETECTOR, MICROSCOPE)]).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        (tmp_path / "y.dm3").write_bytes(damaged)
        try:
            io.open_signal(tmp_path / "y.dm3").frames.read(0, 1)
        except (FormatError, InputError):
            continue


@pytest.mark.parametrize(("name", "scale", "offset", "total"), [
    ("EELS_STO.dm3", 0.25, 350.0, 162759720.0), ("AL-DFoffset0.00.dm3", 0.0201262179762125, -3.6092472976966974, 4875544752.183624),
])
def test_files_of_digital_micrograph(name: str, scale: float, offset: float, total: float) -> None:
    """Values that RosettaSciIO reads from the same files."""
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside the checkout")
    signal = io.open_signal(SHARED / name)
    assert (signal.kind, signal.shape, signal.axes[0].unit) == ("spectrum", (2048,), "eV")
    assert (signal.axes[0].scale, signal.axes[0].offset) == (pytest.approx(scale, rel=1e-12), pytest.approx(offset, rel=1e-12))
    assert signal.frames.read(0, 1).sum(dtype=float) == total
    assert signal.calibration.energy_eV.value == pytest.approx(200e3, rel=1e-4)
