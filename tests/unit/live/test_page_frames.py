"""A finished scan on the page: detectors and frames are those of the file, and no more of it is read than is looked at."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exitwave.core.errors import FormatError, InputError
from exitwave.data import Dataset4D
from exitwave.live.page import Change, Command
from exitwave.live.page.frames import LARGEST, Frames
from tests.unit.live.page_scan import CALIBRATION, SHAPE, Heard, counts, until


class Disk:
    """Counts that notice how much of them is held at once and which frames were read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.largest, self.reads = array, 0, list[tuple[int, int]]()
        self.natural_chunk, self.dtype, self.fails = 3, array.dtype, False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        ry, rx, ky, kx = self.array.shape
        return ry, rx, ky, kx

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        if self.fails:
            raise FormatError("the disk was pulled out")
        frames = self.array.reshape(-1, *self.array.shape[2:])[start:stop]
        self.reads.append((start, stop))
        self.largest = max(self.largest, frames.nbytes)
        if out is None:
            return frames
        out[...] = frames
        return out


def scan(array: np.ndarray | None = None, **known: Any) -> tuple[Frames, Disk]:
    disk = Disk(counts() if array is None else array)
    data = Dataset4D(frames=disk, calibration=replace(CALIBRATION, **known), origin={})
    alive = np.ones(disk.shape[2:], bool)
    alive[4, 5] = False
    return Frames(data, alive, "a scan", 2**20), disk


def test_virtual_detectors_and_frames_are_those_of_the_scan() -> None:
    page, disk = scan()
    heard = Heard()
    page.listen(heard)
    page.open()
    try:
        until(lambda: heard.header("image").get("reached") == 1.0 and "spectrum" in heard.last)
        np.testing.assert_allclose(heard.arrays("pattern")["image"], counts().mean((0, 1)), atol=1e-4)
        page.set(Change(values={"inner_mrad": 3.0, "outer_mrad": 8.0, "centre_y_mrad": 2.0, "centre_x_mrad": -1.0}))
        y, x = np.indices(SHAPE[2:])
        r = np.hypot(3 * (y - 4.2) - 2, 3 * (x - 4.4) + 1)
        mask = (r >= 3) & (r < 8)
        mask[4, 5] = False
        wanted = counts()[:, :, mask].sum(-1)
        until(lambda: heard.header("image")["title"].endswith("3 to 8 mrad") and heard.header("image")["reached"] == 1.0)
        assert np.abs(heard.arrays("image")["image"] - wanted).max() <= np.ptp(wanted) / 65535
        assert heard.header("image")["sigma"] == "poisson" and heard.header("image")["pitch_A"] == [0.7, 0.8]
        disk.reads.clear()
        page.set(Change(values={"position": (2, 9)}))
        until(lambda: heard.header("pattern")["position"] == [2, 9])
        assert np.abs(heard.arrays("pattern")["image"] - counts()[2, 9]).max() < 1e-3 and disk.reads == [(2 * 14 + 9, 2 * 14 + 10)]
        page.set(Change(values={"position": None}))
        until(lambda: heard.header("pattern")["position"] is None)
        for values in ({"position": (11, 0)}, {"C10_A": 3.0}, {"outer_mrad": 0.5, "centre_y_mrad": 400.0}):
            with pytest.raises(InputError):
                page.set(Change(values=values))
        with pytest.raises(InputError, match="cannot save"):
            page.do(Command(name="save"))
        disk.fails = True
        page.set(Change(values={"position": (1, 1)}))
        until(lambda: "pulled out" in heard.header("status")["note"])
    finally:
        page.close()


def test_a_scan_is_read_in_blocks_and_large_patterns_are_averaged() -> None:
    array = np.random.default_rng(2).poisson(3.0, (5, 6, LARGEST + 100, LARGEST + 31)).astype(np.uint8)
    page, disk = scan(array, counts_per_electron=replace(CALIBRATION.energy_eV, value=2.0))
    page.memory_bytes, page.alive = 2**23, None
    heard = Heard()
    page.listen(heard)
    page.open()
    try:
        until(lambda: heard.header("image").get("reached") == 1.0 or heard.header("status")["note"])
        assert not heard.header("status")["note"]
        page.set(Change(values={"position": (2, 3)}))
        until(lambda: heard.header("pattern")["position"] == [2, 3])
        ny, nx = (n // 2 for n in array.shape[2:])
        small = array[2, 3, : 2 * ny, : 2 * nx].reshape(ny, 2, nx, 2).mean((1, 3))
        assert np.abs(heard.arrays("pattern")["image"] - small).max() < 1e-3
        header = heard.header("pattern")
        assert header["pixel_mrad"] == 6.0 and header["centre_px"] == pytest.approx([(4.2 - 0.5) / 2, (4.4 - 0.5) / 2])
        assert heard.header("image")["unit"] == "counts" and heard.header("image")["sigma"] == 0.0
    finally:
        page.close()
    assert disk.largest <= 2**23 < array.nbytes


def test_positions_without_a_value_are_hatched() -> None:
    array = np.random.default_rng(8).random(SHAPE).astype(np.float32)
    array[2, 1] = np.nan
    page, _ = scan(array)
    heard = Heard()
    page.listen(heard)
    page.open()
    try:
        until(lambda: heard.header("image").get("reached") == 1.0 and "spectrum" in heard.last)
        seen = np.unpackbits(heard.arrays("image")["seen"])[: SHAPE[0] * SHAPE[1]].reshape(SHAPE[:2])
        assert heard.header("image")["holes"] and np.array_equal(np.argwhere(seen == 0), [[2, 1]])
        assert heard.arrays("spectrum") == {} and not heard.header("status")["note"]
    finally:
        page.close()
