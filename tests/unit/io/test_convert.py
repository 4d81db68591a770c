"""What goes into one format comes out of it again: values, type, axes, calibration, marked pixels; and other programs see it too."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from exitwave import io
from exitwave.core.errors import FormatError, InputError, MemoryBudgetError
from exitwave.data import Axis, Calibration, Quantity, Signal, items_of
from exitwave.io.convert import convert
from exitwave.io.signals import Regrouped
from exitwave.io.writers import writer_cards

EXTENSIONS = {"nexus": ".h5", "zarr": ".zarr", "tiff": ".tif", "mrc": ".mrc", "hspy": ".hspy"}
KNOWN = Calibration(energy_eV=Quantity(value=3e5, sigma=10.0, source="measured"), scan_step_y_A=Quantity(value=2.5, source="given"),
                    scan_step_x_A=Quantity(value=2.25, source="given"), detector_mrad=Quantity(value=0.3, source="file"),
                    transpose=Quantity(value=True, source="measured"), aberrations={"C10_A": Quantity(value=-1.25e4, sigma=3.0, source="measured")})
LENGTHS = (Axis(name="y", size=0, scale=0.8, offset=-3.2, unit="A"), Axis(name="x", size=0, scale=0.75, unit="A"))
ENERGY = Axis(name="energy loss", size=0, scale=0.1, offset=-2.7, unit="eV")
KINDS: dict[str, tuple[tuple[int, ...], int, tuple[Axis, ...]]] = {
    "4D-STEM": ((5, 7, 6, 11), 2, (*LENGTHS, Axis(name="ky", size=0, scale=0.01, unit="1/A"), Axis(name="kx", size=0, scale=0.012, unit="1/A"))),
    "movie": ((9, 13, 8), 2, (Axis(name="time", size=0, scale=0.04, offset=1.0, unit="s"), *LENGTHS)),
    "stack": ((4, 13, 8), 2, (Axis(name="n", size=0), Axis(name="y", size=0), Axis(name="x", size=0, scale=3.0, unit="A"))),
    "image": ((17, 12), 2, LENGTHS),
    "spectrum image": ((5, 3, 23), 1, (*LENGTHS, ENERGY)),
    "line of spectra": ((7, 19), 1, (LENGTHS[1], ENERGY)),
    "spectrum": ((31,), 1, (ENERGY,)),
}


class Held:
    """Items of an array in memory."""

    natural_chunk = 1

    def __init__(self, array: np.ndarray, item_axes: int) -> None:
        self.array, self.item_axes, self.shape, self.dtype = array, item_axes, array.shape, array.dtype

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        items = self.array.reshape(-1, *self.shape[len(self.shape) - self.item_axes :])[start:stop]
        if out is None:
            return items
        out[...] = items
        return out


def made(kind: str, dtype: str = "int16") -> tuple[Signal, np.ndarray]:
    shape, item_axes, axes = KINDS[kind]
    array = (np.random.default_rng(11).integers(0, 110, shape) * (1.37 if np.dtype(dtype).kind == "f" else 1)).astype(dtype)
    sized = tuple(Axis(name=a.name, size=n, scale=a.scale, offset=a.offset, unit=a.unit) for a, n in zip(axes, shape, strict=True))
    origin: dict[str, Any] = {"path": "first.dm4", "inside": "", "reader": "dm", "attributes": {"operator": "Åsa", "tags": [1, 2.5]}}
    if kind == "4D-STEM":
        origin["alive"] = np.random.default_rng(2).random(shape[2:]) > 0.2
    return Signal(frames=Held(array, item_axes), axes=sized, calibration=KNOWN, origin=origin), array


def values(signal: Signal) -> np.ndarray:
    return signal.frames.read(0, items_of(signal.frames)).reshape(signal.shape)


def same(got: Signal, wanted: Signal, array: np.ndarray) -> None:
    assert got.shape == array.shape
    assert got.frames.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(values(got), array)
    assert got.kind == wanted.kind
    assert [tuple(getattr(a, f.name) for f in fields(Axis)) for a in got.axes] == [  # type: ignore[arg-type]
        tuple(getattr(a, f.name) for f in fields(Axis)) for a in wanted.axes]  # type: ignore[arg-type]
    assert got.calibration.as_json() == wanted.calibration.as_json()
    assert ("alive" in got.origin) == ("alive" in wanted.origin)
    if "alive" in got.origin:
        np.testing.assert_array_equal(got.origin["alive"], wanted.origin["alive"])
    assert got.origin["source"]["path"] == "first.dm4"
    assert got.origin["source"]["attributes"] == {"operator": "Åsa", "tags": [1, 2.5]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EXTENSIONS)
def test_every_kind_comes_back_from_every_format(name: str, kind: str, tmp_path: Path) -> None:
    signal, array = made(kind)
    out = tmp_path / f"a{EXTENSIONS[name]}"
    if kind == "spectrum" and name in ("tiff", "mrc"):
        with pytest.raises(FormatError, match="holds images"):
            convert(signal, out)
        return
    convert(signal, out)
    same(io.open_signal(out), signal, array)


@pytest.mark.parametrize("kind", ["4D-STEM", "spectrum image"])
@pytest.mark.parametrize("first", EXTENSIONS)
def test_every_pair_of_formats_gives_back_what_went_in(first: str, kind: str, tmp_path: Path) -> None:
    signal, array = made(kind)
    convert(signal, tmp_path / f"a{EXTENSIONS[first]}")
    between = io.open_signal(tmp_path / f"a{EXTENSIONS[first]}")
    for second, extension in EXTENSIONS.items():
        convert(between, tmp_path / f"b{extension}", to=second)
        same(io.open_signal(tmp_path / f"b{extension}"), signal, array)


@pytest.mark.parametrize("name", EXTENSIONS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", ">u2", "<i2", ">i4", "uint32", "int64", "uint64", "float16", "float32", ">f8"])
def test_a_type_is_kept_or_refused(dtype: str, name: str, tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 2, (3, 4, 5, 7)).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    card = next(card for card in writer_cards() if card.name == name)
    out = tmp_path / f"b{EXTENSIONS[name]}"
    signal = io.open_signal(tmp_path / "a.npy")
    if card.types and np.dtype(dtype).name not in card.types:
        with pytest.raises(FormatError, match="cannot hold"):
            convert(signal, out)
        assert not out.exists()
        return
    convert(signal, out)
    got = io.open_signal(out)
    assert got.frames.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(values(got), array)


@pytest.mark.parametrize("name", EXTENSIONS)
@pytest.mark.parametrize("natural", [1, 5, 1000])
def test_pieces_of_any_size_make_the_same_file(natural: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exitwave.io.writers.tiles.CHUNK_BYTES", 40_000)
    array = np.random.default_rng(4).integers(0, 5000, (6, 23, 50, 41)).astype("uint16")
    frames = Held(array, 2)
    frames.natural_chunk = natural
    axes = tuple(Axis(name=name, size=size) for name, size in zip(("y", "x", "ky", "kx"), array.shape, strict=True))
    told: list[tuple[int, int]] = []
    out = tmp_path / f"b{EXTENSIONS[name]}"
    convert(Signal(frames=frames, axes=axes), out, memory_bytes=500_000, progress=lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(values(io.open_signal(out)), array)
    assert len(told) > 5 and told[-1] == (138, 138)
    with pytest.raises(MemoryBudgetError, match="--memory"):
        convert(Signal(frames=frames, axes=axes), out, memory_bytes=8000, force=True)


@pytest.mark.parametrize("name", ["nexus", "zarr", "hspy", "tiff"])
def test_a_large_image_is_cut_into_chunks(name: str, tmp_path: Path) -> None:
    array = np.random.default_rng(4).integers(0, 5000, (1201, 2050)).astype("uint16")
    out = tmp_path / f"b{EXTENSIONS[name]}"
    convert(Signal(frames=Held(array, 2), axes=(Axis(name="y", size=1201), Axis(name="x", size=2050))), out)
    np.testing.assert_array_equal(values(io.open_signal(out)), array)


def test_other_programs_see_the_values_and_the_pixel_size(tmp_path: Path) -> None:
    signal, array = made("movie")
    for extension in EXTENSIONS.values():
        convert(signal, tmp_path / f"a{extension}")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), array)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff and file.series[0].axes == "TYX"
        pixels, per = file.pages[0].tags["XResolution"].value  # type: ignore[union-attr]
        assert pixels / per == pytest.approx(1e8 / 0.75, rel=1e-6)
    stored = zarr.open_group(tmp_path / "a.zarr", mode="r")["data"]
    assert stored.metadata.zarr_format == 3 and stored.metadata.dimension_names == ("time", "y", "x")
    np.testing.assert_array_equal(stored[...], array)
    header = np.frombuffer((tmp_path / "a.mrc").read_bytes()[:1024], "<i4")
    assert header[:4].tolist() == [8, 13, 9, 1] and header[52] == int.from_bytes(b"MAP ", "little")
    assert header[10:12].view("<f4") == pytest.approx([8 * 0.75, 13 * 0.8])
    assert header[19:22].view("<f4") == pytest.approx([array.min(), array.max(), array.mean()])
    assert header[54:55].view("<f4") == pytest.approx(array.std(), rel=1e-5)
    body = (tmp_path / "a.mrc").read_bytes()[1024 + header[23] :]
    np.testing.assert_array_equal(np.frombuffer(body, "<i2").reshape(array.shape), array)
    with h5py.File(tmp_path / "a.h5") as file:
        group = file[file.attrs["default"]][file["entry"].attrs["default"]]
        assert group.attrs["NX_class"] == "NXdata" and list(group.attrs["axes"]) == ["time", "y", "x"]
        np.testing.assert_array_equal(group[group.attrs["signal"]][...], array)
        np.testing.assert_allclose(group["y"][...], -3.2 + 0.8 * np.arange(13))
        assert group["y"].attrs["units"] == "angstrom" and group["time"].attrs["units"] == "s"
    with h5py.File(tmp_path / "a.hspy") as file:
        (experiment,) = file["Experiments"].values()
        axis = experiment["axis-1"].attrs
        assert (axis["name"], axis["units"], axis["scale"], axis["offset"], bool(axis["navigate"])) == ("y", "Å", 0.8, -3.2, False)
        assert experiment["metadata/Acquisition_instrument/TEM"].attrs["beam_energy"] == 300.0


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    signal, array = made("image")
    for name, word in (("a.xyz", "no format to write"), ("a.tif", "does not end like")):
        with pytest.raises(InputError, match=word):
            convert(signal, tmp_path / name, to="zarr" if name == "a.tif" else None)
    with pytest.raises(InputError, match="unknown format"):
        convert(signal, tmp_path / "a.tif", to="zar")
    np.save(tmp_path / "own.npy", array)
    convert(io.open_signal(tmp_path / "own.npy"), tmp_path / "own.h5")
    with pytest.raises(InputError, match="is the file that is read"):
        convert(io.open_signal(tmp_path / "own.h5"), tmp_path / "own.h5", force=True)
    with pytest.raises(InputError, match="exists"):
        convert(signal, tmp_path / "own.h5")

    class Broken(Held):
        def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
            if start > 0:
                raise FormatError("cut short")
            return super().read(start, stop, out)

    movie, frames = made("movie")
    (tmp_path / "out").mkdir()
    for extension in EXTENSIONS.values():
        with pytest.raises(FormatError, match="cut short"):
            convert(Signal(frames=Broken(frames, 2), axes=movie.axes), tmp_path / "out" / f"a{extension}", memory_bytes=3000)
    assert list((tmp_path / "out").iterdir()) == []


def test_items_taken_apart_and_gathered_are_the_same_in_any_range() -> None:
    array = np.random.default_rng(3).integers(0, 99, (4, 6, 5, 7))
    for stored, shape, item_axes in ((2, (4, 6, 5, 7), 1), (1, (4, 6, 5, 7), 2), (2, (24, 5, 7), 2), (3, (4, 6, 5, 7), 1)):
        seen = Regrouped(source=Held(array, stored), shape=shape, item_axes=item_axes)
        flat = array.reshape(-1, *shape[len(shape) - item_axes :])
        for start, stop in ((0, len(flat)), (0, 1), (3, 3), (1, 2), (3, 9), (7, 23), (len(flat) - 1, len(flat))):
            np.testing.assert_array_equal(seen.read(start, stop), flat[start:stop])
        with pytest.raises(InputError):
            seen.read(0, len(flat) + 1)


def test_another_array_of_the_same_file_keeps_its_own_shape(tmp_path: Path) -> None:
    signal, _ = made("4D-STEM")
    convert(signal, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["other"] = np.ones((3, 9))
    other = io.open_signal(f"{tmp_path / 'a.h5'}::/other")
    assert other.shape == (3, 9) and other.kind == "image"
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["exitwave_signal"] = "{"
    with pytest.raises(FormatError, match="cannot be read"):
        io.open_signal(tmp_path / "a.h5")
