"""Event streams of files: hits one by one instead of frames."""

import os
from typing import TYPE_CHECKING

from exitwave.core.errors import FormatError, InputError

if TYPE_CHECKING:
    from exitwave.io.events.tpx3 import Tpx3Stream


def open_events(path: str | os.PathLike[str]) -> "Tpx3Stream":
    """The events of a raw Timepix3 file, whatever it is named; only its beginning is looked at.

    Returns:
        a stream: `chunks()` gives `EventChunk`s, `blocks()` hits and triggers in the detector's own clock; each starts at the beginning again.

    Raises:
        InputError: no such file, or a folder.
        FormatError: no event stream, an empty file, or one that ends inside a packet.
    """
    from exitwave.io.events.packets import recognises
    from exitwave.io.events.tpx3 import open_tpx3

    file = os.path.abspath(os.fspath(path))
    if not os.path.isfile(file):
        raise InputError(f"there is no file {file}", got="a folder" if os.path.isdir(file) else None)
    if not os.path.getsize(file):
        raise FormatError(f"{file} is empty", expected="packets of 8 bytes", got="0 bytes")
    if not recognises(file):
        raise FormatError(f"{file} is no event stream that is known here", expected="raw Timepix3 packets, with or without TPX3 chunk headers",
                          remedy="frames are opened by exitwave.io.open_signal")
    return open_tpx3(file)

