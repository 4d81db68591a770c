"""A finished result on the page, and the demo's stream."""

from pathlib import Path

import numpy as np
import pytest

from exitwave.cli.live_page import demo_source
from exitwave.cli.live_source import StreamFlags
from exitwave.cli.main import run
from exitwave.core.errors import InputError
from exitwave.io import read_result
from exitwave.live.page import Change, Command
from exitwave.live.page.result import browsed, is_result
from tests.unit.live.page_scan import Heard

SCAN = "--energy-eV 200e3 --semiangle-mrad 20 --aberration C10_A=-100 --scan-shape 12,15 --detector-px 16,16 --detector-mrad 3.2 --scan-step-A 0.6"


def test_planes_of_a_result_one_by_one(tmp_path: Path) -> None:
    scan, path = tmp_path / "scan.h5", tmp_path / "phase.h5"
    assert run(["simulate", "MoS2", "-o", str(scan), *SCAN.split()]) == 0
    assert run(["reconstruct", str(scan), "--method", "ssb", "-o", str(path)]) == 0
    assert is_result(str(path)) and not is_result(str(scan)) and not is_result(str(tmp_path / "none.h5"))
    page, heard, wanted = browsed(str(path)), Heard(), read_result(path).images
    page.listen(heard)
    status, image = heard.header("status"), heard.header("image")
    assert status["plane"] == "phase" and [name for name, _ in status["planes"]] == list(wanted)
    phase = wanted["phase"].array
    assert np.abs(heard.arrays("image")["image"] - phase).max() <= (phase.max() - phase.min()) / 65535
    assert image["pitch_A"] == pytest.approx([0.6, 0.6]) and image["sigma"] > 0 and "frc" in heard.arrays("spectrum")
    page.set(Change(values={"plane": "ctf"}))
    turned = np.fft.fftshift(wanted["ctf"].array)
    assert heard.header("image")["pitch_unit"] == "1/A" and heard.header("image")["view"] == "wave"
    assert np.abs(heard.arrays("image")["image"] - np.abs(turned)).max() < 1e-4 * np.abs(turned).max()
    for values in ({"plane": "none"}, {"C10_A": 1.0}):
        with pytest.raises(InputError):
            page.set(Change(values=values))
    with pytest.raises(InputError, match="cannot save"):
        page.do(Command(name="save"))


def test_the_demo_begins_at_once_and_goes_row_by_row() -> None:
    source = demo_source(StreamFlags(rate=1e9))
    chunk = next(chunk for chunk in source.stream.chunks() if len(chunk))
    assert source.shape[:2] == source.stream.scan and source.calibration.rotation_deg.value is None and not source.calibration.aberrations
    assert chunk.position.min() == 0 and chunk.position.max() < source.shape[0] * source.shape[1] // 8
