"""An event stream holds no frames: say so, and how its events are read."""

from exitwave.core.errors import InputError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.streams.recognise import recognises

__all__ = ["open_frames", "recognises"]


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """No frames.

    Raises:
        InputError: always.
    """
    raise InputError(f"{path} is a Timepix3 event stream: it holds hits, no frames", remedy=f"exitwave.io.open_events({path!r})")
