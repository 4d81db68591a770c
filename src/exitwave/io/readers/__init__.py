"""The formats that can be read, one folder each: a card to choose by and a `reader` module that is loaded only when it is chosen."""

from exitwave.io.readers.card import Card, Opened, Options, Reader
from exitwave.io.readers.registry import cards, choose, load

__all__ = ["Card", "Opened", "Options", "Reader", "cards", "choose", "load"]
