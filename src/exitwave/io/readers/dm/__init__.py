"""Gatan DigitalMicrograph 3 and 4: images, stacks, spectra, spectrum images and 4D scans with calibrated axes."""

from exitwave.io.readers.card import Card

# The version is a big-endian word, which other formats also begin with, so the reader looks at the words that follow.
CARD = Card(name="dm", description="a DigitalMicrograph file", extensions=(".dm3", ".dm4"), magics=((0, b"\0\0\0\3"), (0, b"\0\0\0\4")), asks=True,
            inside="number of the image, from 0 and without thumbnails", wrote="DigitalMicrograph 3 (EELS); RosettaSciIO reads the same")
