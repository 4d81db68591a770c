"""TIFF: one image or a stack of pages, with the calibrations that ImageJ, OME and FEI write."""

from exitwave.io.readers.card import Card

CARD = Card(name="tiff", description="a TIFF file", extensions=(".tif", ".tiff", ".btf", ".tf8"),
            magics=((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")), inside="number of a series, from 0", wrote="tifffile")
