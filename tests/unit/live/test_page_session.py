"""The live page without a server: what is rendered is what `reconstruct` makes, and a session outlives its source."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from exitwave.cli import live_page
from exitwave.cli.asked import Known
from exitwave.cli.live_page import doing_of
from exitwave.cli.live_source import Source, StreamFlags, check_apart, known_of, source_of
from exitwave.cli.serving import Serving
from exitwave.cli.told import Making
from exitwave.core.errors import CalibrationError, InputError
from exitwave.data import EventChunk, FrameChunk
from exitwave.io.streams import Packing, Recorder, open_events
from exitwave.io.streams.packed_stream import PackedFile
from exitwave.live.page import Change, Command, Session, scene_of, settings_for
from exitwave.live.page.feed import Switch, whole_rows
from exitwave.live.page.picture import detected, pattern, pictured, spectrum
from exitwave.live.page.scene import calibration_at, detector_mask
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry
from exitwave.recon.live import CubeState, ended
from exitwave.recon.options import ReconstructOptions
from tests.unit.live.page_scan import CALIBRATION, SHAPE, Scan, counts, scene, session, told, until


class Frames:
    """Counts in memory."""

    dtype, natural_chunk, shape = np.dtype(np.uint16), 8, SHAPE

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        return counts().reshape(-1, *SHAPE[2:])[start:stop]


def state_of(rows: int = SHAPE[0]) -> CubeState:
    place = scene()
    many = rows * SHAPE[1]
    chunk = FrameChunk(position=np.arange(many, dtype=np.int32), frames=counts().reshape(-1, *SHAPE[2:])[:many])
    return place.cube.add(place.cube.start(SHAPE), chunk)


@pytest.mark.parametrize(("method", "upsample"), [("ssb", 1), ("parallax", 2), ("obf", 1)])
def test_a_turned_knob_gives_the_image_of_the_dense_method_at_that_setting(method: str, upsample: int) -> None:
    place, state = scene(), ended(state_of())
    turned = replace(settings_for(place, method, upsample), C10_A=35.0, C12_A=12.0, phi12_deg=31.0, C21_A=400.0, rotation_deg=-40.0, transpose=False)
    made = pictured(place, state, turned)
    g = geometry(calibration_at(place, turned), SHAPE)
    dense = reconstruct(Frames(), g, method, upsample=upsample)
    assert made.image is not None
    torch.testing.assert_close(made.image.image, dense.image, rtol=0, atol=2e-5 * float(dense.image.std()))
    assert calibration_at(place, turned).aberrations["C30_A"].value == 1e5  # what has no knob stays
    assert made.header["pitch_A"] == pytest.approx([0.7 / upsample, 0.8 / upsample])
    other = pictured(place, state, replace(turned, C10_A=-90.0)).arrays["image"]
    assert np.abs(other - made.arrays["image"]).max() > 0.05 * made.arrays["image"].std()


def test_a_virtual_detector_counts_its_pixels_and_no_others() -> None:
    place, state = scene(), state_of()
    asked = replace(settings_for(place, "ssb", 1), view="detector", inner_mrad=3.0, outer_mrad=8.0, centre_y_mrad=2.0, centre_x_mrad=-1.0)
    y, x = np.indices(SHAPE[2:])
    r = np.hypot(3 * (y - 4.2) - 2, 3 * (x - 4.4) + 1)
    mask = (r >= 3) & (r < 8)
    assert np.array_equal(detector_mask(place, asked), mask) and 3 < mask.sum() < 30
    assert np.array_equal(detected(place, state, asked), counts()[:, :, mask].sum(-1))
    made = pictured(place, state, asked)
    assert made.header["unit"] == "e" and made.header["sigma"] == "poisson" and made.image is None
    with pytest.raises(InputError, match="no counted pixel"):
        detected(place, state, replace(asked, centre_y_mrad=500.0))


def test_patterns_are_the_mean_of_what_was_seen_or_one_position() -> None:
    place, state = scene(), state_of(rows=4)
    header, arrays = pattern(place, state, settings_for(place, "ssb", 1))
    np.testing.assert_allclose(arrays["image"], counts()[:4].mean((0, 1)))
    assert header["centre_px"] == [4.2, 4.4] and header["pixel_mrad"] == 3.0
    _, one = pattern(place, state, replace(settings_for(place, "ssb", 1), position=(2, 9)))
    assert np.array_equal(one["image"], counts()[2, 9])
    with pytest.raises(InputError, match="outside the scan"):
        pattern(place, state, replace(settings_for(place, "ssb", 1), position=(11, 0)))
    assert whole_rows(state, place) == 4 and whole_rows(ended(state), place) == SHAPE[0]


@pytest.mark.parametrize("rows", [(1, 14), (11, 1), (1, 1)])
def test_scans_of_one_row_or_one_column_have_images_too(rows: tuple[int, int]) -> None:
    shape = (*rows, *SHAPE[2:])
    place, frames = scene_of(CALIBRATION, shape, None, 2**28), counts()[: rows[0], : rows[1]].reshape(-1, *SHAPE[2:])
    state = place.cube.add(place.cube.start(shape), FrameChunk(position=np.arange(len(frames), dtype=np.int32), frames=frames))
    made = pictured(place, ended(state), settings_for(place, "lsq", 1))
    with pytest.raises(InputError, match="transmission"):  # a sentence: these counts are no bright disk
        pictured(place, ended(state), settings_for(place, "wdd", 1))
    assert made.arrays["image"].shape == rows and np.isfinite(made.arrays["image"]).all()


def test_spectra_mark_what_is_not_transferred() -> None:
    place = scene()
    made = pictured(place, ended(state_of()), settings_for(place, "ssb", 1))
    header, arrays = spectrum(made)
    lost = np.unpackbits(arrays["lost"])[: SHAPE[0] * SHAPE[1]].reshape(SHAPE[:2]).astype(bool)
    q = np.hypot(*np.meshgrid(*(np.fft.fftshift(np.fft.fftfreq(n, p)) for n, p in zip(SHAPE[:2], (0.7, 0.8), strict=True)), indexing="ij"))
    assert lost[q > 2 * header["aperture_invA"]].all() and not lost.all()
    assert lost[SHAPE[0] // 2, SHAPE[1] // 2]  # the mean is no phase
    assert arrays["frc"].shape == arrays["q"].shape == arrays["ssnr_sigma"].shape and np.isfinite(arrays["ssnr"]).all()


def test_amplitudes_where_a_method_solves_for_them() -> None:
    place, state = scene(), ended(state_of())
    start = settings_for(place, "lsq", 1)
    assert pictured(place, state, replace(start, view="amplitude")).header["unit"] == "log-amplitude"
    wave = pictured(place, state, replace(start, view="wave")).arrays
    assert wave["angle"].shape == SHAPE[:2] and np.abs(wave["angle"]).max() <= np.float32(np.pi)
    with pytest.raises(InputError, match="phase images only"):
        pictured(place, state, replace(start, method="ssb", view="amplitude"))


def test_a_scan_that_is_too_large_is_counted_in_the_disk_alone() -> None:
    small = scene(memory_bytes=6 * SHAPE[0] * SHAPE[1] * 80)
    assert not small.whole and len(small.cube.pixels) < SHAPE[2] * SHAPE[3]
    with pytest.raises(InputError, match="whole detector"):
        pictured(small, small.cube.start(SHAPE), settings_for(small, "icom", 1))
    with pytest.raises(CalibrationError, match="do not fit"):
        scene(memory_bytes=2000)
    lacking = scene_of(replace(CALIBRATION, energy_eV=type(CALIBRATION.energy_eV)()), SHAPE, None, 2**28)
    assert "--energy-eV" in lacking.lacks and settings_for(lacking, "ssb", 1).view == "detector"


def test_a_session_grows_turns_and_ends() -> None:
    scan = Scan()
    scan.rows = 3
    with session(scan) as (page, heard):
        until(lambda: heard.header("image").get("reached", 0) == pytest.approx(3 / 11))
        assert heard.header("status")["status"] == "running"
        page.set(Change(values={"C10_A": 44.0, "method": "parallax"}))
        until(lambda: heard.header("image").get("C10_A") == 44.0)
        scan.go.set()
        until(lambda: heard.header("status").get("status") == "complete")
        until(lambda: heard.header("image")["reached"] == 1.0)
        whole = pictured(page.scene, ended(state_of()), page.settings).arrays["image"]
        step = (whole.max() - whole.min()) / 65535
        until(lambda: np.abs(heard.arrays("image")["image"] - whole).max() <= step)
        page.set(Change(values={"view": "detector"}))
        until(lambda: heard.header("image").get("view") == "detector")
        with pytest.raises(InputError, match="inner < outer"):
            page.set(Change(values={"inner_mrad": 99.0}))
        assert page.do(Command(name="start")) == ""
        until(lambda: heard.header("status")["status"] == "complete" and heard.header("status")["frames"] == 154)


def test_a_session_outlives_a_source_that_dies_and_one_that_is_stopped() -> None:
    scan = Scan(fails=5)
    scan.go.set()
    with session(scan) as (page, heard):
        until(lambda: heard.header("status").get("status") == "broken")
        assert "switched off" in heard.header("status")["because"]
        until(lambda: heard.header("image").get("reached", 0) == pytest.approx(5 / 11))
        page.set(Change(values={"C10_A": 5.0}))
        until(lambda: heard.header("image").get("C10_A") == 5.0)
    scan = Scan()
    scan.rows = 6
    with session(scan) as (page, heard):
        until(lambda: heard.header("image").get("reached", 0) == pytest.approx(6 / 11))
        with pytest.raises(InputError, match="watched already"):
            page.do(Command(name="start"))
        page.do(Command(name="stop"))
        until(lambda: heard.header("status")["status"] == "stopped")
        assert heard.header("image")["reached"] == pytest.approx(6 / 11)  # not taken for a whole scan


def test_a_fault_of_ours_leaves_the_page_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("nothing to divide by")

    scan = Scan()
    scan.go.set()
    with session(scan, save=fails, calibrate=fails) as (page, heard):
        until(lambda: heard.header("status").get("status") == "complete" and heard.header("image").get("reached") == 1.0)
        with pytest.raises(InputError, match="outside the scan"):
            page.set(Change(values={"position": (SHAPE[0], 0)}))
        for name in ("calibrate", "save"):
            page.do(Command(name=name))  # type: ignore[arg-type]
            until(lambda name=name: heard.header("status")["note"].startswith(f"{name}: a fault of exitwave itself, ZeroDivisionError"))
            until(lambda: not heard.header("status")["busy"])
        with monkeypatch.context() as broken:
            broken.setattr("exitwave.live.page.session.pictured", fails)
            page.set(Change(values={"C10_A": 7.0}))
            until(lambda: heard.header("status")["note"].startswith("a fault of exitwave itself"))
        page.set(Change(values={"C10_A": 8.0}))
        until(lambda: heard.header("image")["C10_A"] == 8.0)
        page.doing = replace(page.doing, reopen=fails)
        page.do(Command(name="start"))
        until(lambda: heard.header("status")["status"] == "broken")


def test_a_phase_is_shown_relative_to_its_mean() -> None:
    place = scene()
    made = pictured(place, ended(state_of()), settings_for(place, "parallax", 1))
    assert made.image is not None and float(made.image.image.mean()) > 0.5  # what is saved keeps it
    assert abs(made.arrays["image"].mean()) < 1e-5
    np.testing.assert_allclose(made.arrays["image"], made.image.image - made.image.image.mean(), atol=1e-5)


def test_a_scan_of_one_row_has_curves() -> None:
    place = scene_of(CALIBRATION, (1, *SHAPE[1:]), None, 2**28)
    chunk = FrameChunk(position=np.arange(SHAPE[1], dtype=np.int32), frames=counts()[0])
    header, arrays = spectrum(pictured(place, place.cube.add(place.cube.start(place.shape), chunk), settings_for(place, "parallax", 1)))
    assert len(arrays["frc"]) == len(arrays["q"]) > 0 and "aperture_invA" in header


def test_saving_tells_where_and_says_what_fails(tmp_path: Path) -> None:
    shots = []

    def save(shot: object) -> str:
        shots.append(shot)
        if len(shots) > 1:
            raise InputError("the disk is full")
        return "there.h5"

    scan = Scan()
    scan.go.set()
    with session(scan, save=save) as (page, heard):
        until(lambda: heard.header("status").get("status") == "complete")
        notes: list[str] = []
        page.listen(lambda kind, message: notes.append(heard.header("status")["note"]) if kind == "status" else None)
        page.do(Command(name="save"))
        until(lambda: "saved as there.h5" in notes)
        until(lambda: not heard.header("status")["busy"])
        page.do(Command(name="save"))
        until(lambda: any("the disk is full" in note for note in notes))
        with pytest.raises(InputError, match="sends frames"):
            page.do(Command(name="record"))


def opening(recorder: Recorder) -> Any:
    return lambda: (recorder, lambda complete: recorder.close() if complete else recorder.end(), recorder.path)


def test_a_recording_is_switched_on_and_off(tmp_path: Path) -> None:
    said: list[str] = []
    switch, path = Switch(said.append), tmp_path / "part.ewe"
    chunks = [EventChunk(position=np.arange(n, n + 5, dtype=np.int32), pixel=np.arange(5, dtype=np.int32)) for n in (0, 10, 20)]
    recorder = Recorder(path, Packing(frame=(3, 4), scan=(6, 7), columns={}))
    switch.write(chunks[0])
    switch.on(opening(recorder))
    switch.write(chunks[1])
    with pytest.raises(InputError, match="already recording"):
        switch.on(lambda: pytest.fail("a second file was opened"))
    assert switch.off(complete=True) == f"recorded to {path}"
    switch.write(chunks[2])
    kept = np.concatenate([chunk.position for chunk in open_events(str(path)).chunks()])
    assert np.array_equal(kept, chunks[1].position)

    switch.on(opening(Recorder(tmp_path / "fails.ewe", Packing(frame=(3, 4), scan=(6, 7), columns={"time_ns": "<i8"}))))
    switch.write(chunks[0])
    switch.flush()  # events without the time that the file promises
    assert len(said) == 1 and "time_ns" in said[0] and switch.where == ""
    again = Recorder(tmp_path / "again.ewe", Packing(frame=(3, 4), scan=(6, 7), columns={}))
    switch.on(opening(again))
    switch.write(chunks[2])
    assert switch.off(complete=False) == f"recorded to {again.path}" and again.events == 5 and len(said) == 1


def test_what_the_page_records_says_what_is_known_and_ends_with_its_scan(tmp_path: Path) -> None:
    columns = {"energy": "<u2"}
    source, taken = tmp_path / "source.ewe", tmp_path / "taken.ewe"
    with Recorder(source, Packing(frame=SHAPE[2:], scan=SHAPE[:2], columns=columns, energy="keV", dead_px=((2, 3),))) as recorder:
        recorder.write(EventChunk(position=np.arange(5, dtype=np.int32), pixel=np.arange(5, dtype=np.int32), energy=np.ones(5, np.uint16)))
    taken.write_bytes(b"something older")
    flags, place = StreamFlags(), replace(scene(), alive=np.arange(90).reshape(9, 10) != 23)
    opened = source_of(str(source), flags, {})
    check_apart(opened, (str(taken),))
    with pytest.raises(InputError, match="is what is read"):
        check_apart(opened, (str(source),))
    doing = doing_of(opened, place, str(source), flags, {}, Serving(recording=str(taken), force=True, folder=str(tmp_path)), 2**28, Making())
    page = Session(place, settings_for(place, "ssb", 1), doing, "events")
    page.do(Command(name="record"))
    page.open()
    try:
        until(lambda: not page._threads["watch"].is_alive())
    finally:
        page.close()
    stream = open_events(str(taken))
    assert isinstance(stream, PackedFile)
    assert sum(map(len, stream.chunks())) == 5 and not stream.rejected  # the mark of a complete one
    assert stream.packing.energy == "keV" and stream.packing.dead_px == ((2, 3),)
    assert stream.packing.calibration["energy_eV"]["value"] == 200e3


def test_calibrate_takes_back_a_coma_that_was_set_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    place, state = scene(), ended(state_of())
    measured = CALIBRATION.updated(aberrations={"C10_A": told(-77.0), "C12_A": told(5.0), "phi12_deg": told(30.0)}, rotation_deg=told(21.0))
    measured = replace(measured, aberrations={name: q for name, q in measured.aberrations.items() if name != "C30_A"})
    monkeypatch.setattr(live_page, "calibrate", lambda data, **more: SimpleNamespace(calibration=measured))
    monkeypatch.setattr(live_page, "LEAST_ROWS", 4)
    turned = replace(settings_for(place, "ssb", 1), C21_A=900.0, phi21_deg=40.0)
    values, words = live_page.calibrated(place, state, turned, 2**28)
    assert values["C10_A"] == -77.0 and values["C21_A"] == 0.0 and values["phi21_deg"] == 0.0 and "underfocus 7.7 nm" in words
    stated = replace(place, calibration=CALIBRATION.updated(aberrations={"C21_A": told(300.0)}))
    assert live_page.calibrated(stated, state, turned, 2**28)[0]["C21_A"] == 300.0


def test_electrons_that_are_counted_are_one_each() -> None:
    frames = Source(stream=Scan(), shape=SHAPE, calibration=CALIBRATION, alive=None, name="a scan", path="", sends_events=True, columns={})
    beside = Known(calibration=CALIBRATION.updated(counts_per_electron=told(50.0)), dead_px=(), what="a recipe")
    optics = dict.fromkeys(("energy_eV", "semiangle_mrad", "scan_step_A", "detector_mrad", "rotation_deg", "transpose")) | {"aberration": ()}
    assert known_of(frames, beside, StreamFlags(electrons=True), optics).counts_per_electron.value == 1.0
    assert known_of(frames, beside, StreamFlags(), optics).counts_per_electron.value == 50.0


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    package = "websockets"
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"(?s)needs {package}.*exitwave\[live\]"):
        live_page.run("demo", ReconstructOptions(method="ssb"), Known(calibration=CALIBRATION, dead_px=(), what=""), StreamFlags(), Serving(),
                      optics={}, file={}, budget=2**28, making=Making())
