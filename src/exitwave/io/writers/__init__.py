"""Writers by format: a folder each, with a card that says what it can hold. Listing them imports none."""

from exitwave.io.writers.card import WriterCard
from exitwave.io.writers.registry import load, writer_cards, writer_for

__all__ = ["WriterCard", "load", "writer_cards", "writer_for"]
