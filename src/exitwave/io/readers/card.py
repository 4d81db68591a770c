"""What a reader says about itself before any of its code or libraries are loaded, and what it must offer once they are."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from exitwave.core.records import record
from exitwave.data.signal import Axis, ItemSource


@record
class Card:
    """A file format in words: `magics` are (offset, bytes) pairs of which one must be found; `extensions` are lower case with their dot.

    `inside` says what the part after ``FILE::`` names ("" where a file holds one array). `described` formats say their own shape and type.
    A card that `asks` shares its magic or extension with others: its reader's ``recognises(path) -> bool`` looks closer and never raises.
    `folder` formats are folders. `extra` is what ``pip install 'exitwave[extra]'`` must add. A `fallback` is asked when nobody else knows the file.
    `package` is where ``reader`` lies ("": the folder of this name here); `wrote` says whose files it was tested on.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    magics: tuple[tuple[int, bytes], ...] = ()
    inside: str = ""
    described: bool = True
    asks: bool = False
    folder: bool = False
    extra: str = ""
    fallback: bool = False
    package: str = ""
    wrote: str = ""


@record
class Options:
    """What a person may have to say because the file does not: shape, type and offset of bare bytes, the scan shape of a stack."""

    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    offset: int = 0
    scan_shape: tuple[int, int] | None = None


@record
class Opened:
    """A source of items and everything that the file says about itself.

    `axes` has one entry for each dimension, or none where the file tells nothing. `told` are calibration fields that the reader itself
    understood, by field name and in the field's unit (energy_eV, semiangle_mrad, scan_step_y_A, detector_mrad, rotation_deg ...; aberrations as
    C10_A ...); they come before what `attributes` say by name. `alive` (ky, kx) is False where the file marks a detector pixel as not to be used.
    """

    frames: ItemSource
    attributes: Mapping[str, Any]
    inside: str = ""
    axes: tuple[Axis, ...] = ()
    told: Mapping[str, float | bool] = field(default_factory=dict)
    alive: np.ndarray | None = None


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


@runtime_checkable
class AskingReader(Reader, Protocol):
    """The reader of a card that `asks`."""

    def recognises(self, path: str) -> bool:
        """Whether a file is of this format, by a quick look at its structure. Never raises: a damaged file is not recognised."""
        ...
