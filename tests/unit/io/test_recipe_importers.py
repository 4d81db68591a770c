"""Parameters of PtyRAD, phaser and py4DSTEM: units, the sign of defocus, and flips carried out on pixels to see where they lead."""

import itertools
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exitwave.core import Beam, FormatError, InputError
from exitwave.core.aberrations import aberrations, focus_in_words
from exitwave.data import Calibration
from exitwave.io.recipes.foreign import import_file, import_tree, recognised
from exitwave.optics.chi import chi_rad

FLIPS = list(itertools.product((0, 1), repeat=3))
ANGLES = st.floats(-180, 180)


def ptyrad(**changes: Any) -> Calibration:
    start = {"probe_kv": 300, "probe_conv_angle": 21.4, "pos_scan_step_size": 0.43, "meas_Npix": 128}
    return import_tree({"init_params": {**start, **changes}}, "it").calibration


def to_scan(known: Calibration, k_det: np.ndarray) -> np.ndarray:
    """Our convention, written out: (x, y) of the detector to the scan."""
    k = k_det[::-1] if known.transpose.value else k_det
    angle = np.radians(float(known.rotation_deg.value))
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ k


def seen(flips: tuple[int, int, int], k_det: tuple[int, int], half: int = 5) -> np.ndarray:
    """Where one lit pixel lands when an array is flipped as their loaders do; (x, y) from the middle of an odd frame."""
    frame = np.zeros((2 * half + 1, 2 * half + 1))
    frame[half + k_det[1], half + k_det[0]] = 1
    frame = np.flip(frame, 0) if flips[0] else frame
    frame = np.flip(frame, 1) if flips[1] else frame
    frame = frame.T if flips[2] else frame
    (y,), (x,) = np.nonzero(frame)
    return np.array([x - half, y - half], dtype=float)


def laid(positions_yx: np.ndarray, flips: tuple[int, int, int], angle: float) -> np.ndarray:
    """Scan positions (y, x) on a raster as PtyRAD flips and turns them: which place of the object belongs to raster point (i, j)."""
    moved = np.flip(positions_yx, [axis for axis, flag in enumerate(flips) if flag])
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return moved @ np.array([[c, s], [-s, c]])


@given(flips=st.sampled_from(FLIPS), scan=st.sampled_from(FLIPS), angle=ANGLES)
def test_ptyrad_flips_and_rotation_are_one_angle_and_one_bit(flips: tuple[int, int, int], scan: tuple[int, int, int], angle: float) -> None:
    known = ptyrad(meas_flipT=list(flips), pos_scan_flipT=list(scan), pos_scan_affine=[1, 0, angle, 0])
    raster = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij"), axis=-1)
    place = laid(raster, scan, angle)
    along_x, along_y = (place[0, 1] - place[0, 0])[::-1], (place[1, 0] - place[0, 0])[::-1]  # (x, y) of a step along x and along y
    for k_det in ((3, 0), (0, 2), (-4, 1)):
        in_object = seen(flips, k_det)
        ours = to_scan(known, np.array(k_det, dtype=float))
        assert ours[0] * along_x + ours[1] * along_y == pytest.approx(in_object, abs=1e-9)


@given(flips=st.sampled_from(FLIPS), scan=st.sampled_from(FLIPS), angle=ANGLES, phi=st.floats(-45, 45), value=st.floats(10, 1e4))
def test_ptyrad_astigmatism_is_carried_into_the_scan_frame(
    flips: tuple[int, int, int], scan: tuple[int, int, int], angle: float, phi: float, value: float
) -> None:
    """The phase at a scattering direction is the same, in whichever frame it is written."""
    shape = {"meas_flipT": list(flips), "pos_scan_flipT": list(scan), "pos_scan_affine": [1, 0, angle, 0]}
    known = ptyrad(**shape, probe_aberrations={"C10": -55.0, "C12": value, "phi12": phi, "C21a": 40.0, "C21b": -25.0})
    ours = aberrations({name: float(q.value) for name, q in known.aberrations.items()})
    theirs = aberrations({"C10_A": -55.0, "C12_A": value, "phi12_deg": phi, "C21_A": np.hypot(40, 25), "phi21_deg": np.degrees(np.arctan2(-25, 40))})
    beam = Beam.electron(300e3)
    for k_det in ((3, 0), (0, 2), (-4, 1)):
        chi = []
        for terms, (kx, ky) in ((theirs, 0.1 * seen(flips, k_det)), (ours, 0.1 * to_scan(known, np.array(k_det, dtype=float)))):
            at = np.array([[ky]]), np.array([[kx]])
            chi.append(float(chi_rad(terms, beam, *(torch.from_numpy(part) for part in at))))
        assert chi[1] == pytest.approx(chi[0], rel=1e-8, abs=1e-8)


def test_ptyrad_kilovolts_degrees_and_the_sign_of_defocus() -> None:
    known = ptyrad(probe_aberrations={"defocus": 200, "A1": 50, "A1phi": 25, "B2": 30, "S3": 2, "Cs": 5000})
    assert known.energy_eV.as_json() == {"value": 300e3, "sigma": None, "source": "file"}
    assert known.semiangle_mrad.value == 21.4 and known.scan_step_y_A.value == known.scan_step_x_A.value == 0.43
    values = {name: q.value for name, q in known.aberrations.items()}
    assert values == pytest.approx(
        {"C10_A": -200, "C12_A": 50, "phi12_deg": 25, "C21_A": 90, "phi21_deg": 0, "C32_A": 8, "phi32_deg": 0, "C30_A": 5000}
    )
    assert focus_in_words(float(values["C10_A"])) == "underfocus 20 nm"
    assert ptyrad(probe_aberrations={"C10": 200}).aberrations["C10_A"].value == 200
    old = ptyrad(probe_defocus=-100, probe_c3=7, probe_aberrations={"Cs": 9}).aberrations
    assert old["C10_A"].value == 100 and old["C30_A"].value == 9
    assert not known.rotation_deg.known and not known.transpose.known  # nothing is said about them


def test_ptyrad_scan_scale_and_asymmetry() -> None:
    known = ptyrad(pos_scan_affine=[1.1, 0.02, 3, 0])
    assert known.scan_step_y_A.value == pytest.approx(0.43 * 1.1 * 1.01) and known.scan_step_x_A.value == pytest.approx(0.43 * 1.1 * 0.99)
    assert known.rotation_deg.value == pytest.approx(3) and known.transpose.value is False
    sheared = import_tree({"init_params": {"probe_kv": 80, "pos_scan_affine": [1, 0, 3, 2]}}, "it")
    assert any("pos_scan_affine" in name and "shear" in name for name in sheared.left)


@pytest.mark.parametrize(
    ("mode", "of_pixel"),
    [
        ("da", lambda mrad, wave: mrad),
        ("dk", lambda mrad, wave: mrad / 1e3 / wave),
        ("dx", lambda mrad, wave: wave / (mrad / 1e3 * 128)),
        ("kMax", lambda mrad, wave: mrad / 1e3 / wave * 64),
        ("angleMax", lambda mrad, wave: mrad * 64),
        ("n_alpha", lambda mrad, wave: mrad * 64 / 21.4),
        ("RBF", lambda mrad, wave: 21.4 / mrad),
    ],
)
def test_ptyrad_says_the_pixel_in_seven_ways(mode: str, of_pixel: Any) -> None:
    value = of_pixel(0.9, Beam.electron(300e3).wavelength_A)
    assert ptyrad(meas_calibration={"mode": mode, "value": value}).detector_mrad.value == pytest.approx(0.9)
    assert not ptyrad(meas_calibration={"mode": "fitRBF", "value": None}).detector_mrad.known


def test_what_was_not_understood_is_named() -> None:
    tree = {"init_params": {"probe_kv": 80, "probe_conv_angle": "wide", "pos_scan_step_size": -1, "meas_pad": {"mode": None}, "probe_permute": None,
                            "probe_aberrations": {"C10": 5, "Q3": 1}, "obj_Nlayer": 6}, "loss_params": {}}
    found = import_tree(tree, "it")
    assert set(found.left) == {
        "loss_params", "init_params.probe_conv_angle (no number)", "init_params.pos_scan_step_size (not positive)", "init_params.meas_pad",
        "init_params.probe_aberrations.Q3 (an unknown aberration)", "init_params.obj_Nlayer",
    }
    assert dict(found.understood) == {"energy_eV": "probe_kv", "C10_A": "probe_aberrations"}


PLAN: dict[str, Any] = {
    "name": "a plan",
    "raw_data": {"type": "manual", "path": "scan.h5", "diff_step": 0.87, "kv": 200, "adu": 6.5, "det_flips": [False, True, False]},
    "init": {
        "probe": {
            "type": "focused", "conv_angle": 25.0, "defocus": 150.0, "aberrations": [{"a1": {"mag": 20, "angle": 90}}, {"n": 3, "m": 0, "a": 1e4}],
        },
        "scan": {"type": "raster", "shape": [5, 7], "step_size": [0.8, 0.6], "rotation": 12.0},
    },
    "engines": [],
}


def test_phaser_defocus_is_overfocus() -> None:
    known = import_tree(PLAN, "it").calibration
    assert known.energy_eV.value == 200e3 and known.semiangle_mrad.value == 25 and known.detector_mrad.value == 0.87
    assert known.scan_step_y_A.value == 0.8 and known.scan_step_x_A.value == 0.6 and known.counts_per_electron.value == 6.5
    assert known.aberrations["C10_A"].value == 150 and known.aberrations["C30_A"].value == 1e4
    assert focus_in_words(150.0).startswith("overfocus")
    # the complex coefficient 20i of (1, 2) is 20 A at 45 degrees, seen from the scan 12 degrees further
    assert known.aberrations["C12_A"].value == pytest.approx(20) and known.aberrations["phi12_deg"].value == pytest.approx(57)
    assert known.transpose.value is True


@given(flips=st.sampled_from(FLIPS), angle=ANGLES)
def test_phaser_flips_and_rotation(flips: tuple[int, int, int], angle: float) -> None:
    tree = {**PLAN, "raw_data": {**PLAN["raw_data"], "det_flips": list(flips)}, "init": {"scan": {"step_size": 1.0, "rotation": angle}}}
    known = import_tree(tree, "it").calibration
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along_x, along_y = ((np.array(step) @ np.array([[c, -s], [s, c]]).T)[::-1] for step in ((0.0, 1.0), (1.0, 0.0)))
    for k_det in ((3, 0), (0, 2), (-4, 1)):
        ours = to_scan(known, np.array(k_det, dtype=float))
        assert ours[0] * along_x + ours[1] * along_y == pytest.approx(seen(flips, k_det), abs=1e-9)


def test_phaser_reads_empad_frames_upside_down() -> None:
    tree = {"raw_data": {"type": "empad", "path": "a.raw", "kv": 80}, "init": {"scan": {"rotation": 0.0}}, "engines": []}
    known = import_tree(tree, "it").calibration
    assert known.transpose.value is True and to_scan(known, np.array([3.0, 2.0])) == pytest.approx([3, -2])
    other = import_tree({**tree, "raw_data": {"type": "gatan", "path": "a.dm4", "kv": 80}}, "it")
    assert not other.calibration.rotation_deg.known and any("rotation" in name for name in other.left)


def test_phaser_wavelength_is_an_energy() -> None:
    tree = {**PLAN, "wavelength": Beam.electron(120e3).wavelength_A, "raw_data": {"type": "manual", "diff_step": 1.0}}
    assert import_tree(tree, "it").calibration.energy_eV.value == pytest.approx(120e3, rel=1e-12)


def test_phaser_metadata_is_in_metres_and_x_first(tmp_path: Path) -> None:
    path = tmp_path / "scan.json"
    tree = {"file_type": "empad_metadata", "name": "x", "version": "2.0", "raw_filename": "scan.raw", "voltage": 80000.0, "conv_angle": 21.0,
            "defocus": -15e-9, "diff_step": 1.1, "scan_rotation": 30.0, "scan_shape": [7, 5], "scan_step": [0.6e-10, 0.8e-10], "author": "me"}
    path.write_text(json.dumps(tree))
    found = import_file(path)
    known = found.calibration
    assert known.energy_eV.value == 80e3 and known.aberrations["C10_A"].value == pytest.approx(-150)
    assert known.scan_step_x_A.value == pytest.approx(0.6) and known.scan_step_y_A.value == pytest.approx(0.8)
    assert not known.rotation_deg.known and any(name.startswith("scan_rotation") for name in found.left) and "author" in found.left
    path.write_text(json.dumps({**tree, "det_rotation": 75.0, "det_flips": [False, False, False]}))
    assert import_file(path).calibration.rotation_deg.value == pytest.approx(45)


PY4D = {"Q_pixel_size": 0.02, "Q_pixel_units": "A^-1", "R_pixel_size": 0.5, "R_pixel_units": "nm", "QR_rotation": np.radians(-17.0),
        "QR_rotation_degrees": -17.0, "QR_flip": True, "qx0_mean": 61.5, "qy0_mean": 64.25, "probe_semiangle": 20.5, "a": 1.1, "b": 1.0, "theta": 0.3}


def test_py4dstem_axes_are_the_other_way_round() -> None:
    found = import_tree(PY4D, "it", energy_eV=80e3)
    known = found.calibration
    assert known.energy_eV.source == "given" and known.detector_mrad.value == pytest.approx(0.02e3 * Beam.electron(80e3).wavelength_A)
    assert known.scan_step_y_A.value == known.scan_step_x_A.value == 5
    assert known.centre_y_px.value == 61.5 and known.centre_x_px.value == 64.25 and known.semiangle_px.value == 20.5
    assert known.ellipticity.value == pytest.approx(0.1) and known.ellipticity_deg.value == pytest.approx(90 - np.degrees(0.3))
    assert found.left == ()
    # their (x, y) are rows and columns, and (x, y)_R = R(angle) (y, x)_Q with the flip
    c, s = np.cos(np.radians(-17)), np.sin(np.radians(-17))
    for row, column in ((3.0, 0.0), (-1.0, 2.0)):
        real_row, real_column = np.array([[c, -s], [s, c]]) @ np.array([column, row])
        assert to_scan(known, np.array([column, row])) == pytest.approx([real_column, real_row])


def test_py4dstem_without_an_energy_says_what_it_needs() -> None:
    found = import_tree(PY4D, "it")
    assert not found.calibration.detector_mrad.known and any("--energy-eV" in name for name in found.left)
    mrad = import_tree({**PY4D, "Q_pixel_units": "mrad"}, "it").calibration
    assert mrad.detector_mrad.value == 0.02
    assert not import_tree({**PY4D, "R_pixel_units": "pixels"}, "it").calibration.scan_step_x_A.known


def test_py4dstem_ptychography_settings() -> None:
    tree = {"energy": 80e3, "semiangle_cutoff": 21.4, "defocus": 120.0, "rotation_angle_rad": 0.5, "data_transpose": False,
            "polar_parameters": {"C12": 10.0, "phi12": 0.3, "C30": 5.0}}
    found = import_tree(tree, "it")
    assert found.calibration.aberrations["C10_A"].value == -120 and found.calibration.aberrations["C30_A"].value == 5
    assert found.calibration.rotation_deg.value == pytest.approx(-np.degrees(0.5)) and found.calibration.transpose.value is False
    assert set(found.left) == {"polar_parameters.C12", "polar_parameters.phi12"}


def test_py4dstem_hdf5_as_emdfile_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "calibration.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("py4DSTEM_root/metadatabundle/calibration")
        group.attrs["emd_group_type"], group.attrs["python_class"] = "metadata", "Calibration"
        for name, value in {**PY4D, "qx0": np.ones((5, 7)), "nothing": None}.items():
            kind = "None" if value is None else "string" if isinstance(value, str) else "array" if isinstance(value, np.ndarray) else "number"
            node = group.create_dataset(name, data=b"_None" if value is None else value.encode() if isinstance(value, str) else value)
            node.attrs["type"] = kind.encode()
    found = import_file(path, 80e3)
    assert found.program == "py4DSTEM" and found.calibration.as_json() == import_tree(PY4D, "it", 80e3).calibration.as_json() and found.left == ()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.ones(3)
    with pytest.raises(FormatError, match="no calibration of py4DSTEM"):
        import_file(tmp_path / "other.h5")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.py", "import os\nos.abort()\ninit_params = {\n 'probe_kv': 80, 'probe_conv_angle': 24.9}\nx = init_params['probe_kv'] * 2\n"),
        ("p.toml", "[init_params]\nprobe_kv = 80\nprobe_conv_angle = 24.9\n"),
        ("p.json", '{"init_params": {"probe_kv": 80, "probe_conv_angle": 24.9}}'),
        ("p.yml", "init_params : {\n    'probe_kv' : 80, # kV\n    'probe_conv_angle': 24.9,\n}\n"),
    ],
)
def test_ptyrad_files_of_every_kind(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = import_file(path)
    assert found.program == "PtyRAD" and found.calibration.energy_eV.value == 80e3 and found.calibration.semiangle_mrad.value == 24.9


@pytest.mark.parametrize("name", ["a.py", "a.toml", "a.json", "a.yaml"])
@pytest.mark.parametrize("text", ["{[", "a = ", "\x00", "[1]", "", "\udcff"])
def test_files_that_are_none_are_refused(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError):
        import_file(path)


def test_importing_what_is_not_there() -> None:
    with pytest.raises(InputError, match="there is no file"):
        import_file("nothing.yaml")
    with pytest.raises(FormatError, match="no electron beam"):
        import_tree({"init_params": {"probe_illum_type": "xray", "beam_kev": 6.2}}, "it")
    with pytest.raises(FormatError, match="say nothing about the instrument"):
        import_tree({"raw_data": {"type": "empad", "path": "a.json"}, "engines": []}, "it")
    assert recognised({"kind": "simulate", "energy_eV": 3}) is None


NAMES = ["init", "probe", "scan", "mode", "value", "aberrations", "C10", "a1", "n", "m", "val", "mag", "rotation", "type"]
SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4)
RUBBISH = st.recursive(SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(NAMES), part, max_size=4), max_leaves=8)
OURS = ["probe_kv", "meas_flipT", "pos_scan_affine", "probe_aberrations", "meas_calibration", "meas_params", "pos_scan_step_size"]


PLANS = ["raw_data", "init", "wavelength", "engines"]


@given(tree=RUBBISH, key=st.sampled_from(OURS), plan=st.sampled_from(PLANS), other=st.sampled_from(sorted(PY4D)))
def test_rubbish_is_left_or_refused_but_never_a_bug(tree: Any, key: str, plan: str, other: str) -> None:
    nested = {**PLAN, "init": {"probe": tree, "scan": tree}}
    for mapping in ({"init_params": {"probe_kv": 80, key: tree}}, {**PLAN, plan: tree}, {**PY4D, other: tree}, nested):
        try:
            known = import_tree(mapping, "it").calibration
        except FormatError:
            continue
        numbers = [q.value for q in (*known.aberrations.values(), known.energy_eV, known.detector_mrad, known.rotation_deg) if q.known]
        assert all(np.isfinite(float(number)) for number in numbers)
