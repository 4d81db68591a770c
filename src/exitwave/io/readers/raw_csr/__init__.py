"""Sparse scans of LiberTEM: a TOML file that names three files of bare numbers."""

from exitwave.io.readers.card import Card

CARD = Card(name="raw_csr", description="a sparse scan (raw CSR) of LiberTEM", extensions=(".toml",), asks=True,
            wrote="the layout that LiberTEM documents; LiberTEM reads the same")
