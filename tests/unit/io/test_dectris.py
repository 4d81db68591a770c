"""Dectris master files: what they say beside the frames, and data files that are missing or damaged."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError
from tests.contracts.cases_dectris import dectris


def counts(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 99, shape).astype("uint16")


def test_what_the_master_file_says_is_kept(tmp_path: Path) -> None:
    frames = counts(4, 7, 6, 11)
    mask = np.zeros((6, 11))
    mask[2, 9], mask[5, 0] = 1, 16
    signal = io.open_signal(dectris(tmp_path / "a", frames, mask=mask)["path"])
    assert signal.kind == "4D-STEM"
    assert signal.shape == frames.shape
    assert signal.calibration.energy_eV.value == 200e3
    assert np.array_equal(signal.origin["alive"], mask == 0)
    said = signal.origin["attributes"]
    assert said["bad_value"] == 65535
    assert said["frames_ordered"] == said["frames"] == 28
    assert said["entry/instrument/detector/count_time@units"] == "s"
    assert "scan_shape_assumed" not in said


def test_one_trigger_is_a_square_scan_where_that_fits_and_else_a_stack(tmp_path: Path) -> None:
    square = io.open_signal(dectris(tmp_path / "a", counts(25, 6, 11), triggers=1)["path"])
    assert square.shape == (5, 5, 6, 11)
    assert square.origin["attributes"]["scan_shape_assumed"] == "square"
    path = dectris(tmp_path / "b", counts(24, 6, 11), triggers=1)["path"]
    assert io.open_signal(path).shape == (24, 6, 11)
    assert io.open_signal(path, scan_shape=(4, 6)).shape == (4, 6, 6, 11)


def test_links_written_on_another_machine_are_found_beside_the_master_file(tmp_path: Path) -> None:
    frames = counts(5, 6, 4, 3)
    source = io.open_signal(dectris(tmp_path / "a", frames, absolute=True)["path"]).frames
    assert np.array_equal(source.read(8, 25), frames.reshape(-1, 4, 3)[8:25])


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    path = dectris(tmp_path / "a", counts(5, 7, 6, 11))["path"]
    source = io.open_signal(path).frames
    (tmp_path / "a_data_000003.h5").unlink()
    with pytest.raises(FormatError, match=r"a_data_000003\.h5, which is missing.*copy it into"):
        io.open_signal(path)
    with pytest.raises(FormatError, match="a_data_000003"):
        source.read(0, 35)


@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_a_data_file_that_was_cut_is_named(tmp_path: Path, part: float) -> None:
    path = dectris(tmp_path / "a", counts(5, 7, 60, 41))["path"]
    data = tmp_path / "a_data_000002.h5"
    data.write_bytes(data.read_bytes()[: int(part * data.stat().st_size)])
    with pytest.raises(FormatError, match="a_data_000002"):
        io.open_signal(path).frames.read(0, 35)


def test_data_files_of_other_frames_are_refused(tmp_path: Path) -> None:
    path = dectris(tmp_path / "a", counts(5, 7, 6, 11))["path"]
    with h5py.File(tmp_path / "a_data_000002.h5", "w") as file:
        file["entry/data/data"] = counts(11, 6, 12)
    with pytest.raises(FormatError, match=r"a_data_000002.*does not hold the same frames"):
        io.open_signal(path)
