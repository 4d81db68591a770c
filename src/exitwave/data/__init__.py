"""What was measured: frames where they lie, and the calibration that gives them meaning."""

from exitwave.data.calibration import MISSING, Calibration, Quantity, calibration_from_json
from exitwave.data.dataset import ArrayFrames, Dataset4D, FrameSource
from exitwave.data.events import EventChunk, EventStream
from exitwave.data.signal import Axis, ItemSource, Signal, items_of

__all__ = ["MISSING", "ArrayFrames", "Axis", "Calibration", "Dataset4D", "EventChunk", "EventStream", "FrameSource", "ItemSource", "Quantity",
           "Signal", "calibration_from_json", "items_of"]
