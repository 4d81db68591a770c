"""Damaged sizes in bitshuffled chunks are told; the filter itself would end the process."""

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError


@pytest.mark.parametrize("cname", ["lz4", "zstd"])
@pytest.mark.parametrize(("dtype", "shape", "chunks"), [("uint16", (7, 6, 5), (1, 6, 5)), ("uint8", (5, 91, 103), (2, 91, 103)),
                                                        ("uint32", (3, 3, 40, 70), (1, 2, 33, 70)),
                                                        ("uint16", (2, 64, 128), (1, 64, 128)), ("float32", (3, 1, 7), (1, 1, 7))])
def test_whole_chunks_pass(tmp_path: Path, cname: str, dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=chunks, **hdf5plugin.Bitshuffle(cname=cname))
    source = io.open_signal(f"{tmp_path / 'a.h5'}::/x").frames
    flat = values.reshape(-1, *shape[-2:])
    assert np.array_equal(source.read(0, len(flat)), flat)
    assert np.array_equal(source.read(1, 2), flat[1:2])


@pytest.mark.parametrize(("at", "value"), [(0, 1), (4, 10), (7, 200), (8, 255), (11, 3), (12, 90), (15, 1)])
def test_a_damaged_size_is_told(tmp_path: Path, at: int, value: int) -> None:
    values = np.random.default_rng(0).integers(0, 900, (3, 64, 127)).astype("uint16")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        node = file.create_dataset("x", data=values, chunks=(1, 64, 127), **hdf5plugin.Bitshuffle(cname="lz4"))
        file.flush()
        place = node.id.get_chunk_info_by_coord((1, 0, 0)).byte_offset
    whole = bytearray((tmp_path / "a.h5").read_bytes())
    whole[place + at] ^= value
    (tmp_path / "a.h5").write_bytes(whole)
    source = io.open_signal(tmp_path / "a.h5").frames
    assert np.array_equal(source.read(0, 1), values[:1])
    with pytest.raises(FormatError, match=r"a chunk of /x at \(1, 0, 0\)"):
        source.read(1, 2)
