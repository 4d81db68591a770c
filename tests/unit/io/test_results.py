import gzip
import hashlib
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from exitwave.data.calibration import Calibration, Quantity
from exitwave.io.nexus import Plane
from exitwave.io.nxem import REQUIRED
from exitwave.io.provenance import BLOCK_BYTES, InputFile, find_input, hash_of
from exitwave.io.results import read_result, write_result
from tests.unit.io.test_records import same

FIXTURES = Path(__file__).parents[2] / "fixtures"
RNG = np.random.default_rng(4)
PHASE = Plane(name="phase", array=RNG.normal(size=(5, 8)).astype(np.float32), pitch=(0.5, 0.25), unit="rad", title="Phase (SSB)", origin=(-1.0, 3.5))
WAVE = Plane(name="object", array=RNG.normal(size=(4, 3)) + 1j * RNG.normal(size=(4, 3)), pitch=(2.0, 2.0))
CTF = Plane(name="ctf", array=RNG.normal(size=(5, 8)), pitch=(0.01, 0.02), pitch_unit="1/A", unit="1")
KNOWN = Calibration(energy_eV=Quantity(value=300e3, source="given"), transpose=Quantity(value=True, sigma=None, source="measured"),
                    twin=Quantity(value="undetermined", source="measured"),
                    aberrations={"C10_A": Quantity(value=-1.35e5, sigma=210.0, source="measured")})
RECIPE = {"method": "ssb", "options": {"upsampling": 2, "phase_flip": False, "bands": (1, 2)}, "none": None}


def written(path: Path, **changes: object) -> Path:
    given = {"images": [PHASE, WAVE, CTF], "recipe": RECIPE, "calibration": KNOWN, "metrics": {"frc": np.linspace(0, 1, 5), "snr": np.float32(2.5)},
             "provenance": {"file": path, "seed": torch.tensor(7)}, **changes}
    write_result(path, **given)  # type: ignore[arg-type]
    return path


def test_round_trip(tmp_path: Path) -> None:
    path = written(tmp_path / "r.h5")
    result = read_result(path)
    assert list(result.images) == ["phase", "object", "ctf"]
    assert (result.default, result.schema, result.nexus_missing) == ("phase", 2, tuple(REQUIRED.values()))
    for plane in (PHASE, WAVE, CTF):
        got = result.images[plane.name]
        np.testing.assert_array_equal(got.array, plane.array)
        assert got.array.dtype == plane.array.dtype
        assert (got.pitch, got.pitch_unit, got.unit, got.title, got.origin) == (plane.pitch, plane.pitch_unit, plane.unit, plane.title, plane.origin)
    assert result.recipe == RECIPE
    assert result.calibration.as_json() == KNOWN.as_json()
    np.testing.assert_array_equal(result.metrics["frc"], np.linspace(0, 1, 5))
    assert result.metrics["snr"] == np.float32(2.5) and type(result.metrics["snr"]) is np.float32
    assert result.provenance["file"] == tmp_path / "r.h5"
    assert torch.equal(result.provenance["seed"], torch.tensor(7))


def test_results_of_the_first_schema_are_read(tmp_path: Path) -> None:
    """The file was written by exitwave 0.1 of schema 1; every later version reads it."""
    path = tmp_path / "r.h5"
    path.write_bytes(gzip.decompress((FIXTURES / "result_schema1.h5.gz").read_bytes()))
    result = read_result(path)
    values = np.arange(15, dtype=np.float32).reshape(3, 5) / 8
    assert (list(result.images), result.default, result.schema) == (["phase", "ctf"], "phase", 1)
    phase, ctf = result.images["phase"], result.images["ctf"]
    np.testing.assert_array_equal(phase.array, values)
    assert (phase.pitch, phase.unit, phase.title, phase.origin) == ((0.5, 0.25), "rad", "SSB phase", (-1.0, 3.5))
    np.testing.assert_array_equal(ctf.array, (values + 1j * values[::-1]).astype(np.complex64))
    assert (ctf.pitch, ctf.pitch_unit) == ((2 / 3, 0.8), "1/A")
    assert result.recipe == {"verb": "reconstruct", "method": "ssb", "upsample": 1, "memory_bytes": 2**28}
    assert (result.calibration.energy_eV.value, result.calibration.energy_eV.source) == (300e3, "given")
    assert result.calibration.aberrations["C10_A"].as_json() == {"value": -1.35e5, "sigma": 210.0, "source": "measured"}
    assert result.metrics == {"frc": [0.5, 0.25], "dose_e_per_A2": 100.0}
    assert result.provenance["input"] == "scan.h5"


def test_results_of_the_second_schema_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    path.write_bytes(gzip.decompress((FIXTURES / "result_schema2.h5.gz").read_bytes()))
    result = read_result(path)
    assert (list(result.images), result.default, result.schema) == (["phase", "ctf"], "phase", 2)
    np.testing.assert_array_equal(result.images["phase"].array, np.arange(15, dtype=np.float32).reshape(3, 5) / 8)
    assert result.images["ctf"].array.dtype == np.complex64
    assert result.recipe == {"method": "ssb", "bands": (1, 2)}
    assert result.calibration.aberrations["C10_A"].sigma == 210.0
    assert result.provenance["input"].sha256 == 64 * "a"
    assert (result.facts.atom_types, result.nexus_missing) == ("Au,C", ("start_time", "sample/preparation_date"))


def test_any_nexus_reader_is_led_to_the_main_image(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "r.h5")) as file:
        entry = file[file.attrs["default"]]
        group = entry[entry.attrs["default"]]
        assert [x.attrs["NX_class"] for x in (file, entry, group)] == ["NXroot", "NXentry", "NXdata"]
        signal = group[group.attrs["signal"]]
        np.testing.assert_array_equal(signal[()], PHASE.array)
        assert signal.attrs["units"] == "rad"
        y, x = (group[name] for name in group.attrs["axes"])
        np.testing.assert_allclose(y[()], -1.0 + 0.5 * np.arange(5))
        np.testing.assert_allclose(x[()], 3.5 + 0.25 * np.arange(8))
        assert y.attrs["units"] == x.attrs["units"] == "angstrom"
        assert [group.attrs[f"{name}_indices"] for name in group.attrs["axes"]] == [0, 1]
        assert entry["exitwave/recipe/options"].attrs["upsampling"] == 2
        assert entry["exitwave/calibration/aberrations/C10_A"].attrs["value"] == -1.35e5
        assert group["data"] == entry["exitwave/images/phase/array"]  # one dataset, two names
        np.testing.assert_allclose(entry["object/data"][()], abs(WAVE.array))  # NXdata has no complex numbers


def test_zarr_holds_the_same_tree(tmp_path: Path) -> None:
    written(tmp_path / "r.h5")
    written(tmp_path / "r.zarr")
    one, other = read_result(tmp_path / "r.h5"), read_result(tmp_path / "r.zarr")
    for name, plane in one.images.items():
        assert same(plane, other.images[name])
    for field in ("recipe", "metrics", "facts", "calibration", "nexus_missing"):
        assert same(getattr(one, field), getattr(other, field)), field
    names: list[str] = []
    with h5py.File(tmp_path / "r.h5") as file:
        visited(file, "", names)
        root = zarr.open_group(tmp_path / "r.zarr", mode="r")
        assert sorted(["", *(name for name, _ in root.members(max_depth=None))]) == sorted(names)
        for name in names:
            assert set(file[name or "/"].attrs) == set((root[name] if name else root).attrs), name
        assert root["entry/phase"].attrs["axes"] == ["y", "x"]
    with pytest.raises(InputError, match="--force"):
        written(tmp_path / "r.zarr")
    written(tmp_path / "r.zarr", force=True, images=[CTF])
    assert list(read_result(tmp_path / "r.zarr").images) == ["ctf"]
    assert sorted(os.listdir(tmp_path)) == ["r.h5", "r.zarr"]


def visited(group: h5py.Group, path: str, names: list[str]) -> None:
    names.append(path)
    for name, node in group.items():
        if isinstance(node, h5py.Group):
            visited(node, f"{path}/{name}".strip("/"), names)
        else:
            names.append(f"{path}/{name}".strip("/"))


def test_folders_that_are_no_store_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "r.zarr").mkdir()
    (tmp_path / "r.zarr" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="is a folder"):
        written(tmp_path / "r.zarr", force=True)
    assert (tmp_path / "r.zarr" / "thesis.txt").read_text() == "years"


def test_spectra_are_shifted_in_the_file_with_axes_that_say_so(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "r.h5")) as file:
        group = file["entry/ctf"]
        ky, kx = (group[name][()] for name in group.attrs["axes"])
        fy, fx = np.fft.fftfreq(5, 1 / (5 * 0.01)), np.fft.fftfreq(8, 1 / (8 * 0.02))
        for i, j in [(0, 0), (2, 3), (4, 7), (1, 4)]:
            at = np.argmin(abs(ky - fy[i])), np.argmin(abs(kx - fx[j]))
            assert (ky[at[0]], kx[at[1]]) == (pytest.approx(fy[i]), pytest.approx(fx[j]))
            assert group["data"][at] == CTF.array[i, j]
        assert group["ky"].attrs["units"] == "1/angstrom"


def test_bad_results_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    for changes in ({"images": []}, {"images": [PHASE, PHASE]}, {"recipe": {"f": object()}}):
        with pytest.raises(InputError):
            written(path, **changes)
    assert list(tmp_path.iterdir()) == []
    written(path)
    with pytest.raises(InputError, match="--force"):
        written(path)
    written(path, force=True)


@pytest.mark.parametrize("bad", [{"array": np.zeros((2, 3, 4))}, {"array": np.zeros((2, 2), int)}, {"name": "a/b"}, {"pitch": (0.0, 1.0)},
                                 {"pitch_unit": "1/A", "origin": (1.0, 0.0)}])
def test_planes_that_mean_nothing(bad: dict) -> None:
    with pytest.raises(InputError):
        Plane(**{"name": "x", "array": np.zeros((2, 3)), "pitch": (1.0, 1.0), **bad})


def test_other_files_are_no_results(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_result(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(FormatError, match="no result of exitwave"):
        read_result(tmp_path / "other.h5")
    path = written(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        file.attrs["exitwave_schema"] = 99
    with pytest.raises(FormatError, match="later version"):
        read_result(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(FormatError, match="truncated"):
        read_result(path)


def test_imagej_reads_the_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "phase.tif"
    io.write_tiff(path, PHASE.array, (0.5, 0.371))
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), PHASE.array)
        assert page.dtype == np.float32
        assert file.imagej_metadata["unit"] == "nm"
        per_nm = [page.tags[tag].value[0] / page.tags[tag].value[1] for tag in ("XResolution", "YResolution")]
        np.testing.assert_allclose(per_nm, [10 / 0.371, 10 / 0.5], rtol=1e-6)
    for bad, pitch in [(WAVE.array, (1.0, 1.0)), (np.zeros((2, 2, 2)), (1.0, 1.0)), (PHASE.array, (0.0, 1.0))]:
        with pytest.raises(InputError):
            io.write_tiff(tmp_path / "bad.tif", bad, pitch)


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    """Longer than one block; a folder by names and contents; a file that is told apart only by one byte."""
    content = np.random.default_rng(0).integers(0, 256, 2 * BLOCK_BYTES + 7, np.uint8).tobytes()
    (tmp_path / "a.raw").write_bytes(content)
    assert hash_of(tmp_path / "a.raw") == hashlib.sha256(content).hexdigest()
    (tmp_path / "s.zarr" / "c").mkdir(parents=True)
    (tmp_path / "s.zarr" / "c" / "0").write_bytes(b"12")
    first = hash_of(tmp_path / "s.zarr")
    os.rename(tmp_path / "s.zarr" / "c" / "0", tmp_path / "s.zarr" / "c" / "1")
    assert hash_of(tmp_path / "s.zarr") != first
    told = InputFile(path=str(tmp_path / "gone" / "a.raw"), bytes=len(content), sha256=hash_of(tmp_path / "a.raw"), options={})
    assert find_input(told, tmp_path / "result.h5") == str(tmp_path / "a.raw")
    (tmp_path / "a.raw").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="is not what this result was made from"):
        find_input(told, tmp_path / "result.h5")
    unhashed = InputFile(path=str(tmp_path / "a.raw"), bytes=len(content), unhashed="asked to leave it out", options={})
    assert find_input(unhashed, tmp_path / "result.h5") == str(tmp_path / "a.raw")  # only its size is known
    with pytest.raises(InputError, match="there is no file"):
        hash_of(tmp_path / "none")
