"""What a reader says about itself before any of its code or libraries are loaded, and what it must offer once they are."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from exitwave.core.records import record
from exitwave.data.dataset import FrameSource


@record
class Card:
    """A file format in words: `magics` are (offset, bytes) pairs of which one must be found; `extensions` are lower case with their dot.

    `inside` says what the part after ``FILE::`` names ("" where a file holds one array). `described` formats say their own shape and type.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    magics: tuple[tuple[int, bytes], ...] = ()
    inside: str = ""
    described: bool = True


@record
class Options:
    """What a person may have to say because the file does not: shape, type and offset of bare bytes, the scan shape of a stack."""

    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    offset: int = 0
    scan_shape: tuple[int, int] | None = None


@record
class Opened:
    """A source of frames and everything that the file says about itself."""

    frames: FrameSource
    attributes: Mapping[str, Any]
    inside: str = ""


@runtime_checkable
class Reader(Protocol):
    """The module ``exitwave.io.readers.<format>.reader``."""

    def open_frames(self, path: str, inside: str, options: Options) -> Opened:
        """Look at the header, check it against the file's size, read no frames.

        Raises:
            FormatError: the file is not what it should be.
            InputError: the options do not fit the file.
        """
        ...
