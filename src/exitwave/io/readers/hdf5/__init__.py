"""HDF5: a 4D dataset at any path, compressed or not, with attributes that are understood where they are named plainly."""

from exitwave.io.readers.card import Card

MAGIC = b"\x89HDF\r\n\x1a\n"
MAGICS = ((0, MAGIC), (512, MAGIC), (1024, MAGIC), (2048, MAGIC))  # the signature follows a user block of 0 or 512 * 2^n bytes
CARD = Card(name="hdf5", description="an HDF5 file", extensions=(".h5", ".hdf5", ".hdf", ".nxs", ".cxi", ".emd", ".hspy"),
            magics=MAGICS, inside="dataset path")
