"""CXI: coherent X-ray imaging, HDF5 with one layout."""

from exitwave.io.readers.card import Card
from exitwave.io.readers.hdf5 import MAGICS

CARD = Card(name="cxi", description="a CXI file", extensions=(".cxi",), magics=MAGICS, inside="group or dataset path", asks=True,
            wrote="cdtools (PETRA III P25)")
