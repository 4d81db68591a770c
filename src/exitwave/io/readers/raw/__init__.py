"""Bare bytes: frames one after another, shape and type told by whoever reads them."""

from exitwave.io.readers.card import Card

CARD = Card(name="raw", description="bare bytes", extensions=(".raw", ".bin", ".dat"), described=False)
