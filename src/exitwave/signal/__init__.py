"""Plain signal processing that the rooms above share: Fourier rings, tapers."""

from exitwave.signal.rings import RingCorrelation, edge_taper, frc

__all__ = ["RingCorrelation", "edge_taper", "frc"]
