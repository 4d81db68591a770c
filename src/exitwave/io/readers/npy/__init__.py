"""NumPy's .npy: one array in C order."""

from exitwave.io.readers.card import Card

CARD = Card(name="npy", description="a NumPy array", extensions=(".npy",), magics=((0, b"\x93NUMPY"),))
