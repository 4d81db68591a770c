"""NeXus HDF5 (NXdata, NXem), to write."""

from exitwave.io.writers.card import WriterCard

CARD = WriterCard(name="nexus", description="NeXus HDF5 (NXdata, NXem)", extensions=(".h5", ".hdf5", ".nxs"))
