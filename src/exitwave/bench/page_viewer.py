"""A viewer of the live page as a program of its own: `python page_viewer.py PORT TOKEN REST_S SECONDS`. It loads nothing of the package, and is
there at once. It says "ready", and at the end one line of JSON: when images came, s, and their C10, A."""

import json
import struct
import sys
from time import monotonic, sleep
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def seen(port: int, token: str, rest_s: float, seconds: float) -> list[tuple[float, float]]:
    """Take what comes, rest, say that it is drawn."""
    made: list[tuple[float, float]] = []
    end = None
    with connect(f"ws://127.0.0.1:{port}/ws", additional_headers={"Authorization": f"Bearer {token}"}, compression=None, max_size=2**25) as link:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while end is None or monotonic() < end:
            got: Any = link.recv(timeout=120.0)
            if isinstance(got, str):
                sleep(rest_s)
                link.send('{"type":"shown"}')
                continue
            header = json.loads(got[4 : 4 + struct.unpack_from("<I", got)[0]])
            if header["kind"] == "image":
                end = end or monotonic() + seconds
                made.append((monotonic(), float(header.get("C10_A", 0.0))))
    return made


if __name__ == "__main__":
    found: list[tuple[float, float]] = []
    try:
        found = seen(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    except (ConnectionClosed, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
    sys.stdout.write(json.dumps(found) + "\n")
