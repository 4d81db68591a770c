"""What files of other software and damaged ones taught the readers, each on a file made for it."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from tests.contracts import cases_dm, cases_mrc, cases_ser
from tests.contracts.cases_hspy import hspy

STACK = np.arange(5 * 6 * 11, dtype="<i2").reshape(5, 6, 11)


def damaged_heap(path: Path, size: int) -> None:
    """The first object after another in the first global heap becomes free space of that size."""
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL\x01")
    held = struct.unpack_from("<Q", content, heap + 24)[0]
    struct.pack_into("<HH4xQ", content, heap + 32 + -(-held // 8) * 8, 0, 0, size)
    path.write_bytes(bytes(content))


@pytest.mark.timeout(60, method="thread")  # a signal would not end a loop inside the library
def test_texts_whose_heap_lost_its_sizes_are_told_and_not_searched_for_ever(tmp_path: Path) -> None:
    path = Path(hspy(tmp_path / "a", np.ones((3, 5, 6, 11), "uint16"))["path"])
    assert io.open_signal(path).shape == (3, 5, 6, 11)
    damaged_heap(path, 0)
    with pytest.raises(FormatError, match="a heap"):
        io.open_signal(path)


def test_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=STACK).attrs["energy_name"] = 5.0
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content.replace(b"energy_name", b"energy\xff\xfe\xfdme"))
    assert io.open_signal(tmp_path / "a.h5").shape == STACK.shape


def test_stacks_that_a_plugin_of_digitalmicrograph_built_keep_their_pixel(tmp_path: Path) -> None:
    made = cases_dm.image(STACK, [(0.5, 0.0, "nm"), (0.25, 0.0, "nm")])
    axes = io.open_signal(cases_dm.write(tmp_path / "a.dm3", [made], thumbnails=False)).axes
    assert [axis.scale for axis in axes] == [None, 5.0, 2.5]


@pytest.mark.parametrize("order", ["<", ">"])
def test_mrc_without_the_mark_is_known_by_its_numbers(tmp_path: Path, order: str) -> None:
    content = cases_mrc.encoded(STACK.astype(order + "i2"), cell_A=(22.0, 12.0, 5.0))
    old = content[:104] + bytes(4) + content[108:208] + bytes(8) + content[216:]
    (tmp_path / "a.mrc").write_bytes(old)
    signal = io.open_signal(tmp_path / "a.mrc")
    assert np.array_equal(signal.frames.read(0, 5), STACK)
    assert [axis.scale for axis in signal.axes] == [None, 2.0, 2.0]
    (tmp_path / "b.mrc").write_bytes(old[:-7])
    with pytest.raises(FormatError):
        io.open_signal(tmp_path / "b.mrc")


def test_pixel_of_fei_tomograms_comes_from_their_sections(tmp_path: Path) -> None:
    sections = bytearray(1024 * 128)
    struct.pack_into("<f", sections, 44, 3.36e-9)
    content = cases_mrc.encoded(STACK, cell_A=(11.0, 6.0, 5.0), extended=bytes(sections))
    (tmp_path / "a.mrc").write_bytes(content[:104] + bytes(4) + content[108:])
    assert [axis.scale for axis in io.open_signal(tmp_path / "a.mrc").axes] == [None, pytest.approx(33.6), pytest.approx(33.6)]


def test_ser_patterns_are_in_reciprocal_units(tmp_path: Path) -> None:
    content = cases_ser.encoded(STACK, 2)
    image = struct.pack("<ddiddi", 1e-9, 2e-10, 0, 5e-9, 3e-10, 0)
    assert content.count(image) == 5
    (tmp_path / "a.ser").write_bytes(content.replace(image, struct.pack("<ddiddi", -3e9, 2e7, 0, -5e9, 3e7, 0)))
    _, ky, kx = io.open_signal(tmp_path / "a.ser").axes
    assert (ky.name, ky.scale, ky.unit) == ("ky", pytest.approx(3e-3), "1/A")
    assert (kx.name, kx.scale, kx.offset) == ("kx", pytest.approx(2e-3), pytest.approx(-0.3))


def test_tiff_that_digitalmicrograph_wrote_keeps_units_scales_and_offsets(tmp_path: Path) -> None:
    words = {65003: "nm", 65004: "nm", 65005: "s"}
    numbers = {65006: 3.0, 65007: -4.0, 65008: 0.0, 65009: 0.5, 65010: 0.25, 65011: 2.5}
    tags = [(code, 2, 0, word, True) for code, word in words.items()] + [(code, 12, 1, value, True) for code, value in numbers.items()]
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", extratags=tags)
    n, y, x = io.open_signal(tmp_path / "a.tif").axes
    assert [(axis.scale, axis.offset, axis.unit) for axis in (n, y, x)] == [(2.5, 0.0, "s"), (2.5, -40.0, "A"), (5.0, 30.0, "A")]


def test_bare_bytes_beside_their_description_name_it(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(STACK.tobytes())
    (tmp_path / "a.rpl").write_text("key\tvalue\n")
    with pytest.raises(InputError, match=r"open .*a\.rpl"):
        io.open_signal(tmp_path / "a.raw")


def test_maps_of_jeol_are_no_mrc(tmp_path: Path) -> None:
    (tmp_path / "a.map").write_bytes(b"4\0\0\0JED-2200:" + bytes(5000))
    with pytest.raises((InputError, FormatError), match="RosettaSciIO"):
        io.open_signal(tmp_path / "a.map")
