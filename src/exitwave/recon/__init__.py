"""Inverse problems: direct phase images from one weight w(k, q), and the calibration that they need."""
