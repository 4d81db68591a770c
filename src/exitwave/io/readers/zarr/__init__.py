"""Zarr of versions 2 and 3: arrays and groups in folders or .zip files, chunked or sharded."""

from exitwave.io.readers.card import Card

ZIP = ((0, b"PK\x03\x04"),)
# A folder, or a .zip file, which shares its first bytes with .npz: the reader looks inside.
CARD = Card(name="zarr", description="a Zarr store", extensions=(".zarr", ".zip"), magics=ZIP, asks=True, folder=True, inside="array path",
            wrote="zarr-python 2.18 and 3.1")
