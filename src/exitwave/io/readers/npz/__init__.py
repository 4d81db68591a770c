"""NumPy's .npz: a zip archive of arrays, compressed or not."""

from exitwave.io.readers.card import Card

CARD = Card(name="npz", description="a NumPy archive", extensions=(".npz",), magics=((0, b"PK\x03\x04"), (0, b"PK\x05\x06")), inside="array name")
