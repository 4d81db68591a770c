"""Zarr v3, to write."""

from exitwave.io.writers.card import WriterCard

CARD = WriterCard(name="zarr", description="Zarr v3", extensions=(".zarr",))
