"""Plain signal processing that the rooms above share: Fourier rings, signal over noise, tapers."""

from exitwave.signal.rings import RingCorrelation, edge_taper, frc, ring_numbers
from exitwave.signal.ssnr import RingSSNR, ring_ssnr

__all__ = ["RingCorrelation", "RingSSNR", "edge_taper", "frc", "ring_numbers", "ring_ssnr"]
