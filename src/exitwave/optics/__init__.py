"""What the column does to a wave: aberrations, apertures, probes, free space, imaging lenses."""

from exitwave.optics.chi import chi_rad, rotated, shift_A
from exitwave.optics.ctf import envelope, lens_transfer, phase_contrast
from exitwave.optics.probe import aperture, probe, soft_disk
from exitwave.optics.propagate import band, exact, fresnel

__all__ = [
    "aperture", "band", "chi_rad", "envelope", "exact", "fresnel", "lens_transfer", "phase_contrast", "probe", "rotated", "shift_A", "soft_disk",
]
