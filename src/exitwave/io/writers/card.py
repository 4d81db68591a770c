"""What a writer says about itself before any of its code is loaded, and what it must offer once it is."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from exitwave.core.errors import FormatError
from exitwave.core.records import record
from exitwave.data.signal import Signal

Progress = Callable[[int, int], None]


@record
class WriterCard:
    """A format to write. `extensions` are lower case with their dot, the first is the usual one; `types` are numpy names (none: any number).

    `spectra` is False where the format has no place for a spectrum that stands alone.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    types: tuple[str, ...] = ()
    spectra: bool = True


@record
class Job:
    """What a writer may use: the most bytes of items to hold at once, whether to replace, whom to tell how far it is."""

    block_bytes: int
    force: bool
    progress: Progress


@runtime_checkable
class Writer(Protocol):
    """The module ``exitwave.io.writers.<format>.writer``."""

    def write(self, path: str, signal: Signal, job: Job) -> None:
        """Write all items as they are. The file appears whole or not at all."""
        ...


def check_holds(card: WriterCard, signal: Signal) -> None:
    """Refuse what a format has no place for.

    Raises:
        FormatError: a type that it cannot hold exactly, or a spectrum alone in a format of images.
    """
    dtype = str(signal.frames.dtype)
    if card.types and dtype not in card.types:
        raise FormatError(f"{card.description} cannot hold {dtype}", expected=", ".join(card.types),
                          remedy="nothing is rounded or widened on the way: choose another format, e.g. zarr or nexus")
    if not card.spectra and len(signal.shape) < 2:
        raise FormatError(f"{card.description} holds images", got=f"a {signal.kind}", remedy="choose another format, e.g. hspy or nexus")
