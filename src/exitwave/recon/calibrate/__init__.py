"""What a scan says about its own instrument: detector, aperture, rotation, handedness, aberrations, each with an uncertainty."""

from exitwave.recon.calibrate.blind import Calibrated, calibrate
from exitwave.recon.calibrate.detector import fit_detector, pattern_noise
from exitwave.recon.calibrate.disk import DiskFit, fit_disk
from exitwave.recon.calibrate.twin import Prior

__all__ = ["Calibrated", "DiskFit", "Prior", "calibrate", "fit_detector", "fit_disk", "pattern_noise"]
