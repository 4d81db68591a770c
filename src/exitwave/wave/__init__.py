"""The forward model: an experiment is a value, and `expected` says what it measures on average."""

from exitwave.wave.counts import POISSON, Noise, counts
from exitwave.wave.detectors import Annulus, Bucket, Detector, Image, Pixels, Segments
from exitwave.wave.experiment import Experiment, expected, expected_mixture
from exitwave.wave.multislice import multislice
from exitwave.wave.scan import Illumination, Scan, plane_wave, raster_scan, spiral_scan
from exitwave.wave.specimen import Specimen, at, transmission
from exitwave.wave.transfer import Drift, FarField, Lens, Transfer

__all__ = [
    "POISSON", "Annulus", "Bucket", "Detector", "Drift", "Experiment", "FarField", "Illumination", "Image", "Lens", "Noise", "Pixels", "Scan",
    "Segments", "Specimen", "Transfer", "at", "counts", "expected", "expected_mixture", "multislice", "plane_wave", "raster_scan", "spiral_scan",
    "transmission",
]
