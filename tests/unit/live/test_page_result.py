"""Finished results on the page, one or a folder that fills, and the demo's stream."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.cli.live_page import demo_source
from exitwave.cli.live_source import StreamFlags
from exitwave.cli.main import run
from exitwave.core.errors import InputError
from exitwave.io import Plane, read_result, write_result
from exitwave.live.page import Change, Command
from exitwave.live.page.result import browsed, folder_of, is_result
from tests.unit.live.page_scan import CALIBRATION, Heard, counts, until

KNOWN = "--energy-eV 200e3 --semiangle-mrad 10 --detector-mrad 3 --scan-step-A 0.7,0.8 --rotation-deg 17 --no-transpose --aberration C10_A=-90"


@contextmanager
def shown(page: Any) -> Iterator[Heard]:
    heard = Heard()
    page.listen(heard)
    page.open()
    try:
        yield heard
    finally:
        page.close()


def plane(array: np.ndarray, **more: Any) -> Plane:
    return Plane(**{"name": "phase", "array": array, "pitch": (0.6, 0.7), "unit": "rad", **more})


def written(path: Path, *images: Plane, model: dict[str, Any] | None = None) -> Path:
    write_result(path, images=images, recipe={}, calibration=CALIBRATION, metrics={}, provenance={}, model=model)
    return path


def test_planes_of_a_result_one_by_one(tmp_path: Path) -> None:
    scan, path = tmp_path / "scan.npy", tmp_path / "phase.h5"
    np.save(scan, counts())
    assert run(["reconstruct", str(scan), "--method", "ssb", "-o", str(path), *KNOWN.split()]) == 0
    assert is_result(str(path)) and not is_result(str(scan)) and not is_result(str(tmp_path / "none.h5"))
    page, wanted = browsed(str(path)), read_result(path).images
    with shown(page) as heard:
        until(lambda: "spectrum" in heard.last)
        status, image = heard.header("status"), heard.header("image")
        assert status["plane"] == "phase" and [name for name, _ in status["planes"]] == list(wanted)
        phase = wanted["phase"].array
        assert np.abs(heard.arrays("image")["image"] - phase).max() <= (phase.max() - phase.min()) / 65535
        assert image["pitch_A"] == pytest.approx([0.7, 0.8]) and image["sigma"] > 0 and "frc" in heard.arrays("spectrum")
        page.set(Change(values={"plane": "ctf"}))
        until(lambda: heard.header("image").get("pitch_unit") == "1/A")
        turned = np.fft.fftshift(wanted["ctf"].array)
        assert heard.header("image")["view"] == "wave"
        assert np.abs(heard.arrays("image")["image"] - np.abs(turned)).max() < 1e-4 * np.abs(turned).max()
        for values in ({"plane": "none"}, {"C10_A": 1.0}, {"file": "../secret.h5"}):
            with pytest.raises(InputError):
                page.set(Change(values=values))
        with pytest.raises(InputError, match="cannot save"):
            page.do(Command(name="save"))


def test_layers_of_a_stack_and_the_course_of_a_fit(tmp_path: Path) -> None:
    stack = np.random.default_rng(1).random((3, 5, 7), np.float32)
    depths, turns = (0.0, 4.0, 9.0), {"loss": np.array([3.0, 2.0]), "held_out": np.array([4.0, 3.5])}
    path = written(tmp_path / "fit.h5", plane(stack, depth_A=depths), model={"history": turns})
    page = browsed(str(path))
    with shown(page) as heard:
        until(lambda: "history" in heard.last)
        assert heard.arrays("history")["held_out"] == pytest.approx([4.0, 3.5])
        for layer, at in ((None, 1), (2, 2), (0, 0)):
            page.set(Change(values={"layer": layer} if layer is not None else {"plane": "phase"}))
            until(lambda at=at: abs(heard.arrays("image")["image"] - stack[at]).max() < 1e-4)
            assert heard.header("status")["depth_A"] == depths[at]


def test_a_folder_shows_the_newest_result_until_one_is_chosen(tmp_path: Path) -> None:
    first, second = (np.random.default_rng(n).random((5, 7), np.float32) for n in (1, 2))
    (tmp_path / "notes.txt").write_text("no result")
    page = folder_of(str(tmp_path))
    page.every_s = 0.02
    with shown(page) as heard:
        until(lambda: heard.header("status").get("status") == "folder")
        assert heard.header("status")["files"] == []
        written(tmp_path / "a.h5", plane(first))
        until(lambda: heard.header("status").get("file") == "a.h5")
        os.utime(tmp_path / "a.h5", (1e9, 1e9))
        written(tmp_path / "b.h5", plane(second))
        until(lambda: heard.header("status").get("file") == "b.h5")
        assert [name for name, _ in heard.header("status")["files"]] == ["b.h5", "a.h5"]
        page.set(Change(values={"file": "a.h5"}))
        until(lambda: heard.header("status").get("file") == "a.h5" and abs(heard.arrays("image")["image"] - first).max() < 1e-4)
        written(tmp_path / "c.h5", plane(second))
        until(lambda: len(heard.header("status")["files"]) == 3)
        assert heard.header("status")["file"] == "a.h5"
        for name in ("notes.txt", "../a.h5", str(tmp_path / "a.h5")):
            with pytest.raises(InputError):
                page.set(Change(values={"file": name}))
        (tmp_path / "b.h5").write_bytes((tmp_path / "b.h5").read_bytes()[:3000])
        page.set(Change(values={"file": "b.h5"}))
        until(lambda: heard.header("status")["note"])


def test_the_demo_begins_at_once_and_goes_row_by_row() -> None:
    source = demo_source(StreamFlags(rate=1e9))
    chunk = next(chunk for chunk in source.stream.chunks() if len(chunk))
    assert source.shape[:2] == source.stream.scan and source.calibration.rotation_deg.value is None and not source.calibration.aberrations
    assert chunk.position.min() == 0 and chunk.position.max() < source.shape[0] * source.shape[1] // 8


def test_pixels_without_a_value_are_no_measurement(tmp_path: Path) -> None:
    values = np.random.default_rng(6).normal(size=(5, 7))
    values[1, 2:4], values[4, 6] = np.nan, np.inf
    with shown(browsed(str(written(tmp_path / "holes.h5", plane(values))))) as heard:
        until(lambda: "spectrum" in heard.last)
        seen = np.unpackbits(heard.arrays("image")["seen"])[: values.size].reshape(values.shape)
        assert heard.header("image")["holes"] and np.array_equal(seen, np.isfinite(values))
        assert heard.arrays("spectrum") == {} and not heard.header("status")["note"]


def test_a_result_that_is_written_anew_is_read_again_and_a_folder_may_go(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    first, second = (np.random.default_rng(n).random((4, 6), np.float32) for n in (3, 4))
    written(folder / ".b.h5.1.partial.h5", plane(first))  # another job is still at it
    os.utime(written(folder / "a.h5", plane(first)), (1e9, 1e9))
    page = folder_of(str(folder))
    page.every_s = 0.02
    with shown(page) as heard:
        until(lambda: "image" in heard.last)
        assert heard.header("status")["files"] == [["a.h5", "a.h5"]]
        page.set(Change(values={"layer": 5}))
        written(tmp_path / "a.h5", plane(np.stack([second, first]), depth_A=(0.0, 3.0)))
        os.replace(tmp_path / "a.h5", folder / "a.h5")
        until(lambda: np.allclose(heard.arrays("image")["image"], first, atol=1e-4) and heard.header("status")["layers"] == 2)
        assert heard.header("status")["layer"] == 1
        os.rename(folder, tmp_path / "away")
        until(lambda: "jobs" in heard.header("status")["note"])
        os.rename(tmp_path / "away", folder)
        until(lambda: heard.header("status")["files"])
