"""Corrections of frames as they are read, against the same thing done on the whole array."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, ItemSource
from exitwave.data.corrections import Corrected, Corrections, Descan, mean_frame

SHAPE = (4, 5, 9, 14)


def scan(dtype: str = "uint16", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(7).integers(1, 120, shape).astype(dtype)


def source(tmp_path: Path, name: str, array: np.ndarray) -> ItemSource:
    np.save(tmp_path / f"{name}.npy", array)
    return io.open_signal(tmp_path / f"{name}.npy").frames


def whole(frames: ItemSource) -> np.ndarray:
    return frames.read(0, int(np.prod(frames.shape[:-2]))).reshape(frames.shape)


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int32", "float32", "float64"])
def test_dark_and_gain_make_float32(dtype: str, tmp_path: Path) -> None:
    raw, dark = scan(dtype), np.random.default_rng(1).random((6, 9, 14)).astype("float32")
    gain = (1 + np.random.default_rng(2).random((9, 14))).astype("float32")
    seen = Corrected(source(tmp_path, "raw", raw), Corrections(dark=source(tmp_path, "dark", dark), gain=source(tmp_path, "gain", gain)))
    assert seen.dtype == np.float32
    assert seen.shape == SHAPE
    wanted = (raw.astype(float) - dark.mean(axis=0, dtype=float)) * gain
    np.testing.assert_allclose(whole(seen), wanted, rtol=2e-6, atol=2e-5)


def test_large_counts_lose_nothing_before_the_dark_is_taken_off(tmp_path: Path) -> None:
    raw = np.full((1, 2, 3, 4), 2**24 + 5, "uint32")
    dark = np.full((3, 4), 2**24, "float32")
    assert (whole(Corrected(source(tmp_path, "raw", raw), Corrections(dark=source(tmp_path, "dark", dark)))) == 5).all()


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int32", "float64"])
def test_dead_pixels_keep_the_type_and_are_marked(dtype: str) -> None:
    raw = scan(dtype)
    dead = np.zeros(SHAPE[2:], bool)
    dead[:, 6:8] = dead[2, 3] = True
    zero = Corrected(ArrayFrames(array=raw), Corrections(dead=dead))
    assert zero.dtype == raw.dtype
    np.testing.assert_array_equal(whole(zero), np.where(dead, 0, raw))
    np.testing.assert_array_equal(zero.live_pixels(), ~dead)
    mean = whole(Corrected(ArrayFrames(array=raw), Corrections(dead=dead, fill="mean")))
    assert (mean[..., ~dead] == raw[..., ~dead]).all()
    around = raw[:, :, 1:4, 2:5].astype(float).sum(axis=(2, 3)) - raw[:, :, 2, 3]
    np.testing.assert_array_equal(mean[:, :, 2, 3], np.rint(around / 8) if raw.dtype.kind in "ui" else around / 8)
    np.testing.assert_allclose(mean[:, :, 0, 6], np.rint(raw[:, :, :2, 5].mean(axis=2)) if raw.dtype.kind in "ui" else raw[:, :, :2, 5].mean(axis=2))


def test_whole_pixel_descan_keeps_counts(tmp_path: Path) -> None:
    still = np.zeros(SHAPE, "uint16")
    still[..., 3:6, 5:9] = scan()[0, 0, 3:6, 5:9]
    table = np.random.default_rng(3).integers(-2, 3, (*SHAPE[:2], 2)).astype("int16")
    moved = np.stack([[np.roll(still[y, x], tuple(table[y, x]), (0, 1)) for x in range(SHAPE[1])] for y in range(SHAPE[0])])
    back = Corrected(source(tmp_path, "scan", moved), Corrections(descan=Descan(table=source(tmp_path, "table", table))))
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(whole(back), still)
    alive = back.live_pixels()
    assert alive[3:6, 5:9].all()
    assert not alive[[0, -1]].any() and not alive[:, [0, -1]].any()


def test_a_plane_counts_from_the_middle_of_the_scan_and_dead_pixels_move_along() -> None:
    raw = scan()
    plane = (1.0, 0.0, 0.0, -1.0)
    dead = np.zeros(SHAPE[2:], bool)
    dead[4, 7] = True
    seen = Corrected(ArrayFrames(array=raw), Corrections(dead=dead, descan=Descan(plane=plane)))
    got = whole(seen)
    assert np.array_equal(got[3, 2, :-2], np.where(dead, 0, raw[3, 2])[2:])  # row 3 is 1.5 from the middle: rounded to 2
    assert np.array_equal(got[3, 0, 0:7, 12:], np.zeros((7, 2)))  # column 0 lies at x = +2: what came in from outside is zero
    for y in range(4):
        for x in range(5):
            shift = -np.rint(plane[0] * (y - 1.5)), -np.rint(plane[3] * (x - 2.0))
            assert not seen.live_pixels()[int(4 + shift[0]), int(7 + shift[1])]
    assert seen.live_pixels().any()


def test_subpixel_descan_is_exact_on_a_smooth_pattern() -> None:
    ky, kx = np.indices(SHAPE[2:])

    def pattern(dy: float, dx: float) -> np.ndarray:
        return 5 + np.cos(2 * np.pi * (ky - dy) / 9) * np.cos(2 * np.pi * 2 * (kx - dx) / 14)

    plane = (0.3, 0.1, -0.2, 0.4)
    shifts = [[(0.3 * (y - 1.5) + 0.1 * (x - 2), -0.2 * (y - 1.5) + 0.4 * (x - 2)) for x in range(5)] for y in range(4)]
    raw = np.array([[pattern(*s) for s in row] for row in shifts]).astype("float32")
    seen = Corrected(ArrayFrames(array=raw), Corrections(descan=Descan(plane=plane, subpixel=True)))
    assert seen.dtype == np.float32
    np.testing.assert_allclose(whole(seen), np.broadcast_to(pattern(0, 0), SHAPE), atol=2e-6)


def test_any_range_the_callers_buffer_and_another_process_see_the_same(tmp_path: Path) -> None:
    dead = np.random.default_rng(5).random((64, 65)) < 0.001
    dead[31:33] = True
    raw = scan(shape=(3, 40, 64, 65))
    corrections = Corrections(dark=source(tmp_path, "dark", raw[0, :4]), dead=dead, fill="mean", descan=Descan(plane=(0.1, 0, 0, 0.1)))
    seen = Corrected(source(tmp_path, "raw", raw), corrections)
    every = whole(seen).reshape(-1, 64, 65)
    out = np.empty((100, 64, 65), "float32")
    assert seen.read(13, 113, out) is out
    np.testing.assert_array_equal(out, every[13:113])
    text = pickle.dumps(seen)
    assert len(text) < 2048
    again = pickle.loads(text)
    np.testing.assert_array_equal(again.read(119, 120), every[119:])
    np.testing.assert_array_equal(again.live_pixels(), seen.live_pixels())
    with pytest.raises(InputError):
        seen.read(0, 2, np.empty((2, 64, 65), "uint16"))
    with pytest.raises(InputError):
        seen.read(0, 121)


@pytest.mark.parametrize(("make", "word"), [
    (lambda f: Corrections(dark=f(np.zeros((9, 13), "uint8"))), "dark does not fit"),
    (lambda f: Corrections(gain=f(np.full((9, 14), np.inf))), "finite"),
    (lambda f: Corrections(dead=np.zeros((9, 13), bool)), "dead pixels does not fit"),
    (lambda f: Corrections(dead=np.ones((9, 14), bool), fill="mean"), "every detector pixel is dead"),
    (lambda f: Corrections(descan=Descan(table=f(np.zeros((4, 4, 2))))), "table does not fit"),
    (lambda f: Corrections(descan=Descan(plane=(90.0, 0, 0, 0))), "off the detector"),
    (lambda f: Corrections(descan=Descan()), "plane or a table"),
])
def test_what_does_not_fit_is_refused(make: Any, word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word):
        Corrected(ArrayFrames(array=scan()), make(lambda array: source(tmp_path, "table", array))).read(0, 1)


def test_a_mean_is_taken_over_every_frame(tmp_path: Path) -> None:
    dark = scan("uint16", (3000, 40, 30))
    np.testing.assert_allclose(mean_frame(source(tmp_path, "dark", dark)), dark.mean(axis=0), rtol=1e-12)


def test_what_was_applied_is_told() -> None:
    dead = np.zeros(SHAPE[2:], bool)
    dead[1, 1] = True
    told = Corrections(dead=dead, descan=Descan(plane=(0.5, 0, 0, 0)), files={"dead": "mask.npy"}).as_json()
    assert told == {"dark": None, "gain": None, "dead": "mask.npy", "dead_pixels": 1, "fill": "zero",
                    "descan": {"plane": [0.5, 0, 0, 0], "table": None, "subpixel": False}}
