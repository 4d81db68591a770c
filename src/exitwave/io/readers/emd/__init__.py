"""Electron Microscopy Datasets in HDF5: Berkeley EMD 0.x and EMD 1.0 as emdfile and py4DSTEM write it. Velox' .emd is another format."""

from exitwave.io.readers.card import Card
from exitwave.io.readers.hdf5 import MAGICS

CARD = Card(name="emd", description="a Berkeley EMD or py4DSTEM file", extensions=(".emd", ".h5", ".hdf5"), magics=MAGICS, asks=True,
            inside="path of an EMD group", wrote="emdfile 0.0.16 (EMD 1.0); RosettaSciIO 0.15 (EMD 0.2)")
