"""Counted electrons: what is summed, what is missing, and lists that make no frames."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError
from tests.contracts.cases_fourd_camera import lists_of, write

FRAMES = np.random.default_rng(6).integers(0, 3, (6, 4, 7)).astype("uint8")


def test_frames_of_a_position_are_summed_and_a_position_without_is_zero(tmp_path: Path) -> None:
    signal = io.open_signal(write(tmp_path / "a", lists_of(FRAMES), np.array([5, 0, 5, 1, 3, 0], "int16"), (2, 3), (4, 7), 1)["path"])
    expected = np.zeros((6, 4, 7), "uint8")
    np.add.at(expected, [5, 0, 5, 1, 3, 0], FRAMES)
    assert signal.kind == "4D-STEM"
    assert signal.shape == (2, 3, 4, 7)
    assert signal.frames.dtype == np.uint8
    assert np.array_equal(signal.frames.read(0, 6), expected)
    assert np.array_equal(signal.frames.read(4, 6), expected[4:])
    assert signal.origin["attributes"]["positions_without_frames"] == 2


def test_an_electron_outside_the_frame_is_told(tmp_path: Path) -> None:
    lists = lists_of(FRAMES)
    lists[2] = np.array([3, 28], "uint32")
    source = io.open_signal(write(tmp_path / "a", lists, np.arange(6), (2, 3), (4, 7), 3)["path"]).frames
    assert np.array_equal(source.read(0, 2), FRAMES[:2])
    with pytest.raises(FormatError, match=r"outside the frame of position 2.*28"):
        source.read(2, 3)


def test_a_pixel_that_counts_more_than_the_type_holds_is_told(tmp_path: Path) -> None:
    lists = lists_of(FRAMES)
    lists[5] = np.full(256, 9, "uint32")
    source = io.open_signal(write(tmp_path / "a", lists, np.arange(6), (2, 3), (4, 7), 3)["path"]).frames
    with pytest.raises(FormatError, match="position 5 256 times"):
        source.read(0, 6)


@pytest.mark.parametrize(("positions", "says"), [(np.arange(1, 7), "outside its scan"), (np.arange(4), "where its frames belong")])
def test_positions_that_do_not_fit_are_told(tmp_path: Path, positions: np.ndarray, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        io.open_signal(write(tmp_path / "a", lists_of(FRAMES), positions, (2, 3), (4, 7), 3)["path"])


def test_a_list_longer_than_the_file_is_told_before_it_is_looked_for(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a", lists_of(FRAMES), np.arange(6), (2, 3), (4, 7), 3)["path"])
    with h5py.File(path) as file:
        place = file["electron_events/frames"].id.get_offset() + 16 * 4
    whole = bytearray(path.read_bytes())
    whole[place : place + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(whole)
    source = io.open_signal(path).frames
    assert np.array_equal(source.read(0, 4), FRAMES[:4])
    with pytest.raises(FormatError, match="8589934592 bytes"):
        source.read(4, 5)
