"""Scans on no raster from the command line: positions of every kind of file, CXI's own, the same image again, refusals."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from exitwave.cli.main import run
from exitwave.core.errors import FormatError, InputError
from exitwave.io import read_result
from exitwave.io.positions import positions_beside, read_positions
from exitwave.wave import Pixels, Scan, expected
from tests import weak
from tests.weak import FIELD, LENS, white


@pytest.fixture(scope="module")
def scattered() -> tuple[np.ndarray, np.ndarray]:
    """Counts (n, ky, kx) at positions (n, 2) drawn at random over a field of 10.5 A."""
    rng = np.random.default_rng(3)
    positions = rng.uniform(0, weak.EXTENT_A, (300, 2))
    camera = Pixels(shape=(15, 14), pitch_mrad=weak.DK_MRAD, centre_px=(7, 7))
    x = weak.experiment(0.05 * white(), FIELD, LENS, 4.2, camera, Scan(positions_A=torch.from_numpy(positions)))
    return rng.poisson(expected(x)[0].numpy() * 1e5).astype(np.uint16), positions


def flags(*more: str) -> list[str]:
    known = ["--energy-eV", "300 kV", "--semiangle-mrad", str(4.2 * weak.DK_MRAD), "--detector-mrad", str(weak.DK_MRAD), "--rotation-deg", "0",
             "--no-transpose"]
    return [*known, *(part for name, value in LENS.items() for part in ("--aberration", f"{name}={value}")), *more]


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    status = run([*args, "--json"])
    out = capsys.readouterr()
    assert status == 0, out.err
    tree: dict[str, Any] = json.loads(out.out)
    return tree


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(args) != 0
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err


def test_positions_of_any_file_give_one_image_and_that_again(
    scattered: tuple[np.ndarray, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, positions = scattered
    np.save(tmp_path / "frames.npy", frames)
    np.save(tmp_path / "positions.npy", positions)
    (tmp_path / "positions.csv").write_text("y,x\n" + "\n".join(f"{y!r},{x!r}" for y, x in positions.tolist()))
    with h5py.File(tmp_path / "positions.h5", "w") as file:
        file["scan/yx"] = positions.reshape(20, 15, 2)
    made = []
    for number, name in enumerate(("positions.npy", "positions.csv", "positions.h5::/scan/yx")):
        out = str(tmp_path / f"{number}.h5")
        said = told(["reconstruct", str(tmp_path / "frames.npy"), "--positions", str(tmp_path / name), "-m", "ssb", "-o", out, *flags()], capsys)
        made.append(read_result(out).images["phase"].array)
    assert all(np.array_equal(one, made[0]) for one in made[1:]) and np.ptp(made[0]) > 0
    assert said["metrics"]["electrons_per_position"] == pytest.approx(1e5, rel=0.02)
    assert said["metrics"]["dose_e_per_A2"] == pytest.approx(1e5 * 300 / weak.EXTENT_A**2, rel=0.15)
    assert said["pitch_A"][0] == pytest.approx(1 / (4 * 4.2 * weak.DK), rel=1e-6)
    again = told(["rerun", str(tmp_path / "2.h5"), "-o", str(tmp_path / "again.h5")], capsys)
    assert again["metrics"]["largest_difference_rad"] < 1e-6
    field = told(["reconstruct", str(tmp_path / "frames.npy"), "--positions", str(tmp_path / "positions.npy"), "-m", "wiener", "--pitch-A", "0.35",
                  "--field-A", "10.5,14", "-o", str(tmp_path / "wiener.h5"), *flags()], capsys)
    assert read_result(field["output"]).images["phase"].array.shape == (30, 40)


def test_cxi_brings_its_positions(scattered: tuple[np.ndarray, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames, positions = scattered
    with h5py.File(tmp_path / "scan.cxi", "w") as file:
        file["cxi_version"] = 160
        file["entry_1/instrument_1/detector_1/data"] = frames
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        file["entry_1/sample_1/geometry_1/translation"] = np.c_[positions[:, ::-1], np.zeros(300)] * 1e-10
    np.save(tmp_path / "positions.npy", positions)
    images = []
    for more in ([], ["--positions", str(tmp_path / "positions.npy")]):
        out = str(tmp_path / f"{len(images)}.h5")
        told(["reconstruct", str(tmp_path / "scan.cxi"), "-m", "ssb", "-o", out, *flags(*more)], capsys)
        images.append(read_result(out).images["phase"].array)
    np.testing.assert_allclose(images[0], images[1], atol=1e-5 * np.abs(images[1]).max())


def test_what_cannot_be_is_told(scattered: tuple[np.ndarray, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames, positions = scattered
    np.save(tmp_path / "frames.npy", frames)
    bad = {"few": positions[:-1], "flat": positions * [1, 0], "nan": np.where(np.arange(600).reshape(300, 2) == 77, np.nan, positions),
           "three": np.c_[positions, positions[:, 0]], "text": np.array([["a", "b"]]), "good": positions}
    for name, table in bad.items():
        np.save(tmp_path / f"{name}.npy", table)
    base = ["reconstruct", str(tmp_path / "frames.npy"), "-m", "ssb", "-o", str(tmp_path / "out.h5"), *flags()]
    tables = (("few", "one position"), ("flat", "one line"), ("nan", "position 38"), ("three", "holds no positions"), ("text", "no positions"))
    for name, words in tables:
        assert words in refused([*base, "--positions", str(tmp_path / f"{name}.npy")], capsys)
    good = [*base, "--positions", str(tmp_path / "good.npy")]
    for more, words in ((["--upsample", "2"], "--pitch-A"), (["--calibrate"], "raster"), (["--field-A", "2"], "smaller than the scan"),
                        (["--sections", "0,10,2"], "rasters so far"), (["--pitch-A", "0"], "positive")):
        assert words in refused([*good, *more], capsys), more
    assert "there is no file" in refused([*base, "--positions", "nowhere.npy"], capsys)
    assert "on no raster" in refused([*base, "--pitch-A", "0.4"], capsys)


def test_files_of_positions_are_read_or_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# y x\n1 2\n\n3.5\t-4e0\n")
    assert read_positions(tmp_path / "a.txt").tolist() == [[1, 2], [3.5, -4]]
    np.save(tmp_path / "big.npy", np.array([[1, 2], [3, 4]], ">i2"))
    assert read_positions(tmp_path / "big.npy").tolist() == [[1, 2], [3, 4]]
    for name, text, words in (("b.csv", "1,2\n3\n", "line 2"), ("c.csv", "1,2\nx,y\n", "line 2"), ("d.csv", "", "holds no positions"),
                              ("e.npy", "no array", "cannot be read"), ("f.mat", "1,2", "no file of positions")):
        (tmp_path / name).write_text(text)
        with pytest.raises(FormatError, match=words):
            read_positions(tmp_path / name)
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["yx"] = np.zeros((4, 3))
    with pytest.raises(InputError, match="which dataset"):
        read_positions(tmp_path / "g.h5")
    with pytest.raises(InputError, match="has no dataset"):
        read_positions(f"{tmp_path / 'g.h5'}::/there")
    with pytest.raises(FormatError, match="holds no positions"):
        read_positions(f"{tmp_path / 'g.h5'}::/yx")
    assert positions_beside({"translation_m": [[1e-10, 2e-10, 0]]}) == pytest.approx(np.array([[2.0, 1.0]]))
    assert positions_beside({}) is None
