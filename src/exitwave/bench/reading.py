"""How quickly frames come from files: each own reader beside RosettaSciIO and LiberTEM on the same file, turn by turn, the file in the cache."""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exitwave.bench import reading_files as files
from exitwave.bench.direct import PEERS, peer_python
from exitwave.bench.process import ProcessDied, Server, largest, middle, seconds, server
from exitwave.bench.registry import Options, Row

PEER = "readers"  # one environment with both
RUNS = 5
MOST_BYTES = 200_000_000  # of a file: the page cache keeps all of them
COUNTED = "from the name of the file to all its frames in memory in the machine's byte order; the file lies in the page cache"
MISSING = "RosettaSciIO and LiberTEM are not installed, ours ran alone: `make peers PEERS=readers`, or name the folder of peers in EXITWAVE_PEERS"

# what is written, and the peers that read it
FORMATS: Mapping[str, tuple[files.Write, tuple[str, ...]]] = MappingProxyType({
    "mib 16 bit": (files.mib, ("rosettasciio", "libertem")), "mib raw 12 bit": (files.mib_raw, ("libertem",)),
    "mrc": (files.mrc, ("rosettasciio", "libertem")), "empad": (files.empad, ("rosettasciio", "libertem")), "hdf5": (files.hdf5, ("libertem",)),
    "dm4": (files.dm4, ("rosettasciio",)), "ser": (files.ser, ("rosettasciio", "libertem")), "tiff": (files.tiff, ("rosettasciio",)),
    "hspy, gzip": (files.hspy, ("rosettasciio",)), "zspy, zlib": (files.zspy, ("rosettasciio",)),
    "dectris, bitshuffle lz4": (files.dectris, ("rosettasciio", "libertem")),
})


def rows(options: Options) -> list[Row]:
    """One row a format and peer: seconds from the file's name to its frames in memory."""
    frames = min(options.size_bytes, MOST_BYTES) // (2 * files.CHIP**2)
    scan = (max(2, frames // 48), 48)
    python = peer_python(PEER)
    found: list[Row] = []
    with ExitStack() as stack:
        ours = stack.enter_context(server([sys.executable, str(PEERS / "exitwave_reading.py"), str(options.threads)], options.threads))
        theirs: Server | None = None
        note = MISSING
        if python is not None:
            try:
                theirs = stack.enter_context(server([str(python), str(PEERS / "peers_reading.py"), str(options.threads)], options.threads))
            except ProcessDied as error:
                note = f"the peers did not run, ours ran alone: {error}"
        for name, (write, peers) in FORMATS.items():
            with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as folder:
                path = write(Path(folder), scan)
                if theirs is None:
                    found.append(_ours(name, path, [ours.ask("frames", {"path": str(path)}) for _ in range(options.runs or RUNS)]) | {"note": note})
                else:
                    found += compared(name, path, scan, peers, ours, theirs, options.runs or RUNS)
    return found


def compared(name: str, path: Path, scan: tuple[int, int], peers: tuple[str, ...], ours: Server, theirs: Server, runs: int) -> list[Row]:
    """Rows of one file, ours and the peers in turn after one warm-up each."""
    asked = {"path": str(path), "scan": scan}
    mine: list[Mapping[str, Any]] = []
    answers: dict[str, list[Mapping[str, Any]]] = {peer: [] for peer in peers}
    for run in range(runs + 1):
        given = ours.ask("frames", asked)
        mine += [given] if run else []
        for peer in peers:
            said = theirs.ask(peer, asked)
            if said["result"] != given["result"]:
                raise ProcessDied(f"{peer} reads other frames from {path.name}: {said['result']}, ours {given['result']}")
            answers[peer] += [said] if run else []
    base = _ours(name, path, mine) | {"versions": {"exitwave": ours.about, PEER: theirs.about}}
    return [base | {"peer": f"{peer} {theirs.about[peer]}", "peer_s": middle(said), "peer_peak_bytes": largest(said), "peer_s_all": seconds(said),
                    "ratio_of_quickest": min(seconds(said)) / min(seconds(mine))} for peer, said in answers.items()]


def _ours(name: str, path: Path, mine: list[Mapping[str, Any]]) -> Row:
    return {"case": f"read {name}", "ours_s": middle(mine), "ours_peak_bytes": largest(mine), "ours_s_all": seconds(mine),
            "file_bytes": size_of(path), "ours_GB_per_s": size_of(path) / middle(mine) / 1e9, "counted": COUNTED}


def size_of(path: Path) -> int:
    """Bytes of the frames' files, all that lies beside or in the one that is named."""
    return sum(p.stat().st_size for p in path.parent.rglob("*") if p.is_file())
