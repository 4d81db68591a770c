"""The fallback through RosettaSciIO: what it says where it is missing, and what is made of the signals it returns."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from tests.contracts.cases_rosettasciio import NEEDS, msa

THERE = find_spec("rsciio") is not None
needs = pytest.mark.skipif(not THERE, reason=NEEDS)


@pytest.mark.skipif(THERE, reason="RosettaSciIO is installed")
@pytest.mark.parametrize("name", ["a.blo", "a.msa", "a.bcf", "a.tvips"])
def test_without_it_one_sentence_says_what_to_install(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"something else" * 20)
    with pytest.raises(InputError, match=r"RosettaSciIO.*pip install 'exitwave\[formats\]'"):
        io.open_signal(tmp_path / name)


def test_velox_is_told_from_other_hdf5_by_its_content(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file["Application/Velox/x"] = 1
    with pytest.raises((InputError, FormatError), match="RosettaSciIO"):
        io.open_signal(tmp_path / "a.emd")
    with h5py.File(tmp_path / "b.emd", "w") as file:
        file["x"] = np.zeros((3, 4), "uint16")
    assert io.open_signal(tmp_path / "b.emd").origin["reader"] != "rosettasciio"


def fake(monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any]) -> None:
    """RosettaSciIO with one reader, for files named .fake."""
    package, plugin = ModuleType("rsciio"), ModuleType("fake_plugin")
    package.IO_PLUGINS = [{"api": "fake_plugin", "file_extensions": ["FAKE"]}]  # type: ignore[attr-defined]
    plugin.file_reader = read  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rsciio", package)
    monkeypatch.setitem(sys.modules, "fake_plugin", plugin)


def test_a_library_that_it_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read(path: str, lazy: bool) -> list[dict[str, Any]]:
        raise ModuleNotFoundError("The 'sparse' library was not found. To load spectrum images, 'sparse' must be installed.")

    fake(monkeypatch, read)
    (tmp_path / "a.fake").write_bytes(b"12345678")
    with pytest.raises(InputError, match=r"needs sparse to read.*pip install sparse"):
        io.open_signal(tmp_path / "a.fake", reader="rosettasciio")


def test_signals_are_turned_to_navigation_first_and_their_units_to_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = np.arange(4 * 3 * 5 * 6).reshape(4, 3, 5, 6).astype(">u2")
    axes = [{"name": "ky", "size": 4, "navigate": False, "scale": 0.2, "units": "1/nm", "offset": 0},
            {"name": "x", "size": 3, "navigate": True, "scale": 1.5, "units": "nm", "offset": 2},
            {"name": "y", "size": 5, "navigate": True, "scale": 0.5, "units": "nm", "offset": 0},
            {"name": "kx", "size": 6, "navigate": False, "scale": 0.2, "units": "1/nm", "offset": 0}]
    metadata = {"Acquisition_instrument": {"TEM": {"beam_energy": 80, "convergence_angle": 21.5}}}

    def read(path: str, lazy: bool) -> list[dict[str, Any]]:
        if lazy:
            raise NotImplementedError
        return [{"data": values, "axes": axes, "metadata": metadata, "original_metadata": {}}]

    fake(monkeypatch, read)
    (tmp_path / "a.fake").write_bytes(b"12345678")
    signal = io.open_signal(tmp_path / "a.fake", reader="rosettasciio")
    assert [(axis.name, axis.unit) for axis in signal.axes] == [("x", "A"), ("y", "A"), ("ky", "1/A"), ("kx", "1/A")]
    assert [axis.scale for axis in signal.axes] == pytest.approx([15, 5, 0.02, 0.02])
    assert signal.frames.dtype == np.dtype("uint16")
    assert np.array_equal(signal.frames.read(2, 13), values.transpose(1, 2, 0, 3).reshape(15, 4, 6)[2:13])
    assert signal.calibration.energy_eV.value == 80e3
    assert signal.calibration.semiangle_mrad.value == 21.5


@needs
def test_axes_and_beam_come_in_the_units_of_the_conventions(tmp_path: Path) -> None:
    signal = io.open_signal(msa(tmp_path / "a", np.arange(40, dtype="float32"))["path"])
    (axis,) = signal.axes
    assert signal.kind == "spectrum"
    assert (axis.unit, axis.size) == ("eV", 40)
    assert axis.scale == pytest.approx(10)
    assert axis.offset == pytest.approx(-200)
    assert signal.calibration.energy_eV.value == pytest.approx(200e3)
    assert signal.origin["attributes"]["metadata.General.title"] == "a spectrum"


@needs
def test_what_it_cannot_read_is_one_sentence(tmp_path: Path) -> None:
    for name in ("a.blo", "a.bcf", "a.tvips", "a.rpl", "a.spc", "a.wdf"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(700))
        with pytest.raises((FormatError, InputError)) as caught:
            io.open_signal(tmp_path / name)
        assert "\n" not in str(caught.value)


@needs
def test_one_of_several_signals_is_named_by_number_or_title(real_data: Path) -> None:
    path = real_data / "EDS-STO.emd"
    with pytest.raises(InputError, match=r"holds 5 signals.*0: EDS \(4096,\).*::0"):
        io.open_signal(path)
    signal = io.open_signal(f"{path}::3")
    assert (signal.kind, signal.shape, signal.origin["inside"]) == ("spectrum", (4096,), "3")
    assert signal.axes[0].unit == "eV" and signal.axes[0].scale == pytest.approx(5)
    with h5py.File(path) as file:
        stored = {name: node["Data"][:, 0] for name, node in file["Data/Spectrum"].items()}
    assert any(np.array_equal(signal.frames.read(0, 1)[0], values) for values in stored.values())
    with pytest.raises(InputError, match="several signals 'EDS'"):
        io.open_signal(f"{path}::EDS")
    with pytest.raises(InputError, match="no signal '9'"):
        io.open_signal(f"{path}::9")
