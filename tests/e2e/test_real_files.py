"""Every file of the folder of real data opens as what its README says it is, or says in one sentence what to do (skipped without the folder)."""

import json
import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import ExitwaveError
from exitwave.data import items_of

ENERGY = ("energy", "eV")
# What the README states, or the files' makers: path -> (kind, shape, type, energy of the beam in eV, (name, unit) of the last axis)
STATED = {
    "rotavirus_bin4_u16.h5": ("4D-STEM", (127, 127, 64, 64), "uint16", 300e3, None),
    "PETRAIII_P25_Near_Field_Ptycho.cxi": ("stack", (200, 100, 100), "int32", 12658.0, ("kx", "")),
    "bcdi_scan54_201x256x256.npz": ("stack", (201, 256, 256), "int32", None, None),
    "temseg_Au750C_194x369x369.npz::frames": ("stack", (194, 369, 369), "uint8", None, None),
    "temseg_Au750C_194x369x369.npz::masks": ("stack", (10, 369, 369), "bool", None, None),
    "PtNp2-S3_5_240slc_1024x1024_6nmDefocus.tif": ("image", (876, 927), "float32", None, None),
    "PtNp2-S5_5_240slc_1024x1024_6nmDefocus.tif": ("image", (876, 927), "float32", None, None),
    "uhcs_spheroidite_labels_16.npz::800C-24H-Q-1": ("image", (475, 645), "bool", None, None),
    "hrtem_bto110_270x256.npz::image": ("image", (270, 256), "float32", None, None),
    "hrtem_bto110_270x256.npz::h3": ("image", (45, 64), "float32", None, None),
    "EELS_STO.dm3": ("spectrum", (2048,), "float32", 200e3, ENERGY),
    "AL-DFoffset0.00.dm3": ("spectrum", (2048,), "float32", 200e3, ENERGY),
    "testU.hspy": ("spectrum", (3436,), "float32", 300e3, ("energy loss", "eV")),
}


@pytest.mark.parametrize("name", STATED)
def test_a_file_is_what_its_readme_says(real_data: Path, name: str) -> None:
    kind, shape, dtype, energy, last = STATED[name]
    signal = io.open_signal(f"{real_data}/{name}")
    assert (signal.kind, signal.shape, signal.frames.dtype.name) == (kind, shape, dtype)
    assert tuple(axis.size for axis in signal.axes) == shape
    assert (signal.calibration.energy_eV.value or 0) == pytest.approx(energy or 0, rel=1e-4)
    if last is not None:
        assert (signal.axes[-1].name.lower(), signal.axes[-1].unit) == last
    count = items_of(signal.frames)
    item = signal.frames.read(count - 1, count)
    assert item.shape[1:] == shape[len(shape) - signal.frames.item_axes :]
    assert item.any() and np.isfinite(item).all()
    assert len(pickle.dumps(signal.frames)) < 2048
    json.dumps(signal.origin["attributes"])


def test_spectra_cover_the_energies_that_are_stated(real_data: Path) -> None:
    axis = io.open_signal(real_data / "EELS_STO.dm3").axes[0]  # 350 to 862 eV
    assert (axis.offset, axis.offset + axis.size * (axis.scale or 0)) == pytest.approx((350, 862), abs=0.5)
    low_loss = io.open_signal(real_data / "AL-DFoffset0.00.dm3")
    axis = low_loss.axes[0]
    peak = axis.offset + (axis.scale or 0) * int(low_loss.frames.read(0, 1)[0].argmax())
    assert abs(peak) < 0.5  # the zero-loss peak stands at zero


def test_the_rotavirus_scan_and_the_near_field_stack_know_their_geometry(real_data: Path) -> None:
    scan = io.open_signal(real_data / "rotavirus_bin4_u16.h5").calibration
    assert scan.semiangle_mrad.value == pytest.approx(1.03)
    assert (scan.scan_step_y_A.value, scan.scan_step_x_A.value) == (31.25, 31.25)
    assert scan.detector_mrad.value == pytest.approx(1e3 * 0.019687 / (64 * 4.65), rel=1e-3)  # the wavelength of 300 kV over 64 object pixels
    stack = io.open_signal(real_data / "PETRAIII_P25_Near_Field_Ptycho.cxi")
    positions = np.array(stack.origin["attributes"]["translation_m"])
    assert positions.shape == (200, 3)
    assert 1e-6 < np.ptp(positions[:, 0]) < 1e-4
    assert np.count_nonzero(~stack.origin["alive"]) == 5
    assert stack.calibration.detector_mrad.value == pytest.approx(0.055 / 1.12, rel=1e-6)


def test_the_siemens_star_holds_its_patterns(real_data: Path) -> None:
    signal = io.open_signal(real_data / "xray_siemens_516x128x128.npz")
    assert items_of(signal.frames) == 516
    assert signal.shape[-2:] == (128, 128)


@pytest.mark.skipif(find_spec("rsciio") is None, reason="RosettaSciIO is not installed (pip install 'exitwave[formats]')")
def test_velox_spectra_open_through_rosettasciio(real_data: Path) -> None:
    signal = io.open_signal(f"{real_data / 'EDS-STO.emd'}::0")
    assert (signal.kind, signal.shape, signal.axes[0].unit) == ("spectrum", (4096,), "eV")


def test_every_file_opens_or_says_in_one_sentence_what_to_do(real_data: Path) -> None:
    said: list[str] = []
    for path in sorted(real_data.iterdir()):
        try:
            assert items_of(io.open_signal(path).frames) >= 1
        except ExitwaveError as error:
            said.append(str(error))
    for sentence in said:
        assert "\n" not in sentence
        assert any(remedy in sentence for remedy in ("name one", "pip install", "open_events", "reader=")), sentence
