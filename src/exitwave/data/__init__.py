"""What was measured: frames where they lie, and the calibration that gives them meaning."""

from exitwave.data.calibration import MISSING, Calibration, Quantity, calibration_from_json
from exitwave.data.dataset import ArrayFrames, Dataset4D, FrameSource
from exitwave.data.events import Chunk, EventChunk, EventStream, FrameChunk, LiveStream
from exitwave.data.signal import Axis, ItemSource, Signal, items_of
from exitwave.data.spectra import ArraySpectra, EnergyAxis, SpectrumImage, spectrum_image

__all__ = ["MISSING", "ArrayFrames", "ArraySpectra", "Axis", "Calibration", "Chunk", "Dataset4D", "EnergyAxis", "EventChunk", "EventStream",
           "FrameChunk", "FrameSource", "ItemSource", "LiveStream", "Quantity", "Signal", "SpectrumImage", "calibration_from_json", "items_of",
           "spectrum_image"]
