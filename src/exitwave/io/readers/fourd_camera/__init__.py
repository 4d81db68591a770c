"""4D Camera: electrons counted one by one, kept as lists of pixels."""

from exitwave.io.readers.card import Card
from exitwave.io.readers.hdf5 import MAGICS

CARD = Card(name="fourd_camera", description="counted electrons of the 4D Camera (stempy, distiller)", extensions=(".h5", ".hdf5"),
            magics=MAGICS, asks=True)
