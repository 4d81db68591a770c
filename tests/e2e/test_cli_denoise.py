"""exitwave denoise: files in, files out, promised keys, one sentence on bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from exitwave.cli.main import run
from exitwave.images import range_psnr_dB
from exitwave.io import open_signal
from tests.unit.images.movies import counted, lattice

TRUTH = lattice(7, (74, 83))
NOISY = counted(TRUTH)
QUICK = ["--time", "1", "--space", "4", "--steps", "3", "--threads", "1"]


@pytest.fixture
def movie(tmp_path: Path) -> str:
    tifffile.imwrite(tmp_path / "movie.tif", NOISY, photometric="minisblack")
    return str(tmp_path / "movie.tif")


def test_a_movie_its_picture_and_its_model(movie: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, picture, model, again = (str(tmp_path / name) for name in ("clean.h5", "clean.png", "model.h5", "again.h5"))
    assert run(["denoise", movie, "-o", clean, "--png", picture, "--save-model", model, "--low-pass", "--pixel-A", "0.3", "--align",
                "--json", *QUICK]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {"schema", "output", "method", "seconds", "peak_bytes", "pitch_A", "metrics"} <= set(said)
    assert (said["method"], said["pitch_A"], said["metrics"]["frames"]) == ("linear", [0.3, 0.3], 7)
    assert len(said["metrics"]["drift_px"]) == 7
    assert Path(picture).read_bytes()[:4] == b"\x89PNG"
    assert run(["denoise", movie, "-o", again, "--model", model, "--memory", "40MB", *QUICK]) == 0
    assert "mean squared error" in capsys.readouterr().out
    made = open_signal(again)
    assert made.frames.dtype == np.float32 and made.shape == NOISY.shape
    assert range_psnr_dB(made.frames.read(0, 7), TRUTH) > range_psnr_dB(NOISY, TRUTH) + 12
    kept = made.origin["source"]["corrections"][0]
    assert kept["kind"] == "denoise" and kept["model"] == model
    assert open_signal(clean).axes[1].scale == 0.3


@pytest.mark.parametrize(("change", "words"), [
    (lambda m: m[:1], "is no movie"),
    (lambda m: np.zeros_like(m), "same value everywhere"),
    (lambda m: np.where(m > 2, np.nan, m).astype(np.float32), "NaN"),
    (lambda m: m.astype(np.float32) - 1, "negative"),
    (lambda m: np.where(m > 1, 255, m).astype(np.uint8), "saturated"),
    (lambda m: m[:, :20, :20], "too small"),
])
def test_bad_movies_end_in_one_sentence(change: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "bad.tif", change(NOISY), photometric="minisblack")  # type: ignore[operator]
    assert run(["denoise", str(tmp_path / "bad.tif"), "-o", str(tmp_path / "out.h5"), "--threads", "1"]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and "\n" not in said
    assert not (tmp_path / "out.h5").exists()


def test_frames_of_changing_size_and_wrong_names(movie: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tifffile.TiffWriter(tmp_path / "sizes.tif") as file:
        for shape in ((40, 40), (40, 44)):
            file.write(NOISY[0, : shape[0], : shape[1]], photometric="minisblack", contiguous=False)
    out = str(tmp_path / "out.h5")
    for words in (["denoise", str(tmp_path / "sizes.tif"), "-o", out], ["denoise", movie, "-o", out, "--method", "linar"],
                  ["denoise", movie, "-o", out, "--model", movie], ["denoise", movie, "-o", str(tmp_path / "out.xyz")]):
        assert run(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
