"""Files: scans opened where they lie, results and scans written whole or not at all.

Nothing here loads h5py or tifffile before a function that needs them is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from exitwave.io.dataset import open_dataset as open
from exitwave.io.dataset import open_signal
from exitwave.io.readers import Card, cards
from exitwave.io.write import check_output, writing

if TYPE_CHECKING:
    from exitwave.io.images import write_tiff
    from exitwave.io.nexus import Plane
    from exitwave.io.results import Result, read_result, write_result
    from exitwave.io.scan4d import read_about, read_truth, write_scan
    from exitwave.io.streams import open_events

_LATER = {"Plane": "nexus", "Result": "results", "open_events": "streams", "read_about": "scan4d", "read_result": "results", "read_truth": "scan4d",
          "write_result": "results", "write_scan": "scan4d", "write_tiff": "images"}

__all__ = ["Card", "Plane", "Result", "cards", "check_output", "open", "open_events", "open_signal",
           "read_about", "read_result", "read_truth", "write_result", "write_scan", "write_tiff", "writing"]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"exitwave.io.{_LATER[name]}"), name)
    raise AttributeError(f"module 'exitwave.io' has no attribute {name!r}")
