"""The files of the reading benchmark are of the formats that they are named after, and hold the same counts."""

from pathlib import Path

import numpy as np
import pytest

from exitwave import io
from exitwave.bench import reading_files
from exitwave.bench.reading import FORMATS
from exitwave.data import items_of

SCAN = (3, 16)
READERS = {"mib 16 bit": "mib",
           "mib raw 12 bit": "mib", "dm4": "dm", "hspy, gzip": "hspy", "zspy, zlib": "zspy", "dectris, bitshuffle lz4": "dectris"}


@pytest.mark.parametrize("name", FORMATS)
def test_own_readers_read_them(name: str, tmp_path: Path) -> None:
    signal = io.open_signal(FORMATS[name][0](tmp_path, SCAN))
    assert signal.origin["reader"] == READERS.get(name, name)
    read = signal.frames.read(0, items_of(signal.frames))
    wanted = reading_files.counts((3, 32), 128) if name == "empad" else reading_files.counts(SCAN)
    assert read.dtype == ("float32" if name == "empad" else "uint16")
    if name == "mib raw 12 bit":  # the encoder turns words, not pixels: every value is there in another place
        np.testing.assert_array_equal(np.sort(read, axis=None), np.sort(wanted, axis=None))
    else:
        np.testing.assert_array_equal(read, wanted)
