"""Stacks of images at depths: kept in results with their z axis, shown to NeXus readers, written as TIFF for ImageJ."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from exitwave import io
from exitwave.core.errors import InputError
from exitwave.data.calibration import Calibration
from exitwave.io.nexus import Plane

DEPTHS = (-12.5, 0.0, 30.0)
VALUES = np.random.default_rng(3).normal(size=(3, 5, 8)).astype(np.float32)
STACK = Plane(name="sections", array=VALUES, pitch=(0.5, 0.25), unit="rad", depth_A=DEPTHS)


@pytest.mark.parametrize("name", ["r.h5", "r.zarr"])
def test_a_stack_comes_back_with_its_depths(tmp_path: Path, name: str) -> None:
    io.write_result(tmp_path / name, images=[STACK], recipe={}, calibration=Calibration(), metrics={}, provenance={})
    back = io.read_result(tmp_path / name).images["sections"]
    np.testing.assert_array_equal(back.array, STACK.array)
    assert back.depth_A == DEPTHS and back.pitch == STACK.pitch


def test_nexus_readers_see_z(tmp_path: Path) -> None:
    io.write_result(tmp_path / "r.h5", images=[STACK], recipe={}, calibration=Calibration(), metrics={}, provenance={})
    with h5py.File(tmp_path / "r.h5") as file:
        group = file["entry/sections"]
        assert list(group.attrs["axes"]) == ["z", "y", "x"]
        np.testing.assert_array_equal(group["z"], DEPTHS)
        assert group["z"].attrs["units"] == "angstrom" and group[group.attrs["signal"]].shape == (3, 5, 8)
        assert [group.attrs[f"{axis}_indices"] for axis in "zyx"] == [0, 1, 2]


def test_tiff_stacks_are_labelled(tmp_path: Path) -> None:
    io.write_tiff(tmp_path / "s.tif", STACK.array, (0.5, 0.25), depth_A=DEPTHS)
    io.write_tiff(tmp_path / "even.tif", STACK.array, (0.5, 0.25), depth_A=(0.0, 15.0, 30.0))
    with tifffile.TiffFile(tmp_path / "s.tif") as file, tifffile.TiffFile(tmp_path / "even.tif") as even:
        np.testing.assert_array_equal(file.asarray(), STACK.array)
        assert file.series[0].axes == "ZYX"
        assert file.imagej_metadata is not None and even.imagej_metadata is not None
        assert file.imagej_metadata["Labels"] == ["z = -12.5 A", "z = 0 A", "z = 30 A"]
        assert "spacing" not in file.imagej_metadata and even.imagej_metadata["spacing"] == pytest.approx(1.5)


@pytest.mark.parametrize("bad", [{"depth_A": (0.0, 1.0)}, {"depth_A": (0.0, 2.0, 1.0)}, {"depth_A": ()}, {"pitch_unit": "1/A"}])
def test_stacks_that_mean_nothing(bad: dict) -> None:
    with pytest.raises(InputError, match="is no"):
        Plane(**{"name": "x", "array": STACK.array, "pitch": (1.0, 1.0), "depth_A": DEPTHS, **bad})
    with pytest.raises(InputError, match="one for each depth"):
        io.write_tiff("x.tif", STACK.array, (1.0, 1.0), depth_A=(0.0, 1.0))
