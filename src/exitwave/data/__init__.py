"""What was measured: frames where they lie, and the calibration that gives them meaning."""

from exitwave.data.calibration import MISSING, Calibration, Quantity, calibration_from_json
from exitwave.data.dataset import ArrayFrames, Dataset4D, FrameSource

__all__ = ["MISSING", "ArrayFrames", "Calibration", "Dataset4D", "FrameSource", "Quantity", "calibration_from_json"]
