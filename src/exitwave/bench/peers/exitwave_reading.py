"""exitwave's side of the reading benchmark: `exitwave_reading.py THREADS`, jobs by `serve`."""

import sys
from importlib.metadata import version

from serve import serve

from exitwave import __version__, io
from exitwave.core.threads import set_threads
from exitwave.data import items_of

set_threads(int(sys.argv[1]))
held = {}


def frames(asked: dict) -> list:
    """All frames of a file in memory; their count and some of their values."""
    held.clear()
    source = io.open_signal(asked["path"]).frames
    held["frames"] = got = source.read(0, items_of(source))
    return [len(got), float(got[0].sum()), float(got[len(got) // 2].sum()), float(got[-1].sum())]


if __name__ == "__main__":
    serve({"frames": frames}, {"exitwave": __version__, "numpy": version("numpy")})
