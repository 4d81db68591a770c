"""CXI: positions, energy, geometry and mask as files give them."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from tests.contracts.cases_cxi import cxi

FRAMES = np.random.default_rng(6).integers(0, 300, (7, 5, 9)).astype("int32")


@pytest.mark.parametrize(("written", "eV"), [(12.5e3 * 1.602176634e-19, 12.5e3), (8100.0, 8100.0)])
def test_energy_is_read_in_joule_or_electronvolt(tmp_path: Path, written: float, eV: float) -> None:
    signal = io.open_signal(cxi(tmp_path / "a", FRAMES, energy=written)["path"])
    assert signal.calibration.energy_eV.value == pytest.approx(eV, rel=1e-6)
    assert signal.calibration.detector_mrad.value == pytest.approx(0.055 / 1.12, rel=1e-6)


def test_positions_and_mask_are_kept(tmp_path: Path) -> None:
    positions = np.random.default_rng(1).normal(size=(7, 3)) * 1e-6
    mask = np.zeros((5, 9), "uint32")
    mask[1, 2], mask[3, 4], mask[4, 8] = 0x1, 0x1000, 0x1008
    signal = io.open_signal(cxi(tmp_path / "a", FRAMES, entry_1__sample_1__geometry_1__translation=positions,
                                entry_1__instrument_1__detector_1__mask=mask)["path"])
    assert signal.kind == "stack"
    assert [axis.name for axis in signal.axes] == ["position", "ky", "kx"]
    assert np.array_equal(signal.origin["attributes"]["translation_m"], positions)
    assert np.array_equal(np.argwhere(~signal.origin["alive"]), [[1, 2], [4, 8]])


def test_one_of_several_is_named(tmp_path: Path) -> None:
    path = cxi(tmp_path / "a", FRAMES, entry_1__data_2__data=FRAMES[:3])["path"]
    with pytest.raises(InputError, match=r"2 stacks.*/entry_1/data_1, /entry_1/data_2"):
        io.open_signal(path)
    assert io.open_signal(f"{path}::entry_1/data_2").shape == (3, 5, 9)
    assert io.open_signal(f"{path}::/entry_1/instrument_1/detector_1/data").shape == (7, 5, 9)
    with pytest.raises(InputError, match="no frames at /entry_9"):
        io.open_signal(f"{path}::entry_9")


def test_a_file_without_frames_says_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["cxi_version"] = 160
    with pytest.raises(FormatError, match="holds no frames"):
        io.open_signal(tmp_path / "a.cxi")
    with pytest.raises(FormatError, match="complex"):
        io.open_signal(cxi(tmp_path / "b", FRAMES.astype("complex64"))["path"])
