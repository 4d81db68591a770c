"""HyperSpy HDF5, to write."""

from exitwave.io.writers.card import WriterCard

CARD = WriterCard(name="hspy", description="HyperSpy HDF5", extensions=(".hspy",))
