"""Synthetic Timepix3 measurements for tests of readers: electrons to lit pixels to packets of several chips."""

from exitwave.io.streams.synthetic import Edges, LitPixels, chip_pixels, edge_words, global_words, hit_words, lit_pixels, tpx3_bytes

__all__ = ["Edges", "LitPixels", "chip_pixels", "edge_words", "global_words", "hit_words", "lit_pixels", "tpx3_bytes"]
