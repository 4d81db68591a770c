import os
import stat
from pathlib import Path

import pytest

from exitwave.core.errors import InputError
from exitwave.io.write import check_output, writing


def test_the_file_appears_whole_and_alone(tmp_path: Path) -> None:
    with writing(tmp_path / "out.h5") as partial:
        assert partial.suffix == ".h5"
        assert partial.parent == tmp_path
        partial.write_text("all of it")
        assert not (tmp_path / "out.h5").exists()
    assert (tmp_path / "out.h5").read_text() == "all of it"
    assert os.listdir(tmp_path) == ["out.h5"]
    fresh = tmp_path / "ordinary"
    fresh.touch()
    assert stat.S_IMODE((tmp_path / "out.h5").stat().st_mode) == stat.S_IMODE(fresh.stat().st_mode)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with writing(tmp_path / "out.txt") as partial:
            partial.write_text("half")
            raise error("no")

    with pytest.raises(error):
        fail()
    assert os.listdir(tmp_path) == []


def test_existing_output_needs_force_and_survives_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    for refuse in (check_output, lambda path: writing(path).__enter__()):
        with pytest.raises(InputError, match="exists; pass --force"):
            refuse(target)
    check_output(target, force=True)

    def fail() -> None:
        with writing(target, force=True) as partial:
            partial.write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert target.read_text() == "old"
    with writing(target, force=True) as partial:
        partial.write_text("new")
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"

    def race() -> None:
        with writing(target) as partial:
            partial.write_text("ours")
            target.write_text("theirs")

    with pytest.raises(InputError, match="appeared while"):
        race()
    assert target.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        check_output(tmp_path / "none" / "out.txt")
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path, force=True)
    if Path("/proc/self").exists():  # refuses even root
        with pytest.raises(InputError, match="cannot be written"):
            check_output("/proc/self/out.txt")
