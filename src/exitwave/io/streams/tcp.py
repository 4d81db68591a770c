"""Bytes of a stream over TCP: connect to a sender, or wait for one."""

import contextlib
import socket
import time

from exitwave.core.errors import InputError

TICK_S = 0.1  # how long one look may wait
RECEIVE_BYTES = 2**22


class SocketBytes:
    """What a connected peer sends; a source of bytes (`exitwave.io.streams.sources.ByteSource`).

    The end is the peer closing (or dying). With `idle_s` a peer that is silent for so long is taken to have ended.
    """

    def __init__(self, connection: socket.socket, idle_s: float | None = None) -> None:
        self._socket, self.idle_s = connection, idle_s
        self.name = "tcp://{}:{}".format(*connection.getpeername()[:2])
        connection.settimeout(TICK_S)
        self._since = time.monotonic()

    def readinto(self, buffer: memoryview) -> int | None:
        try:
            got = self._socket.recv_into(buffer)
        except TimeoutError:
            silent = time.monotonic() - self._since
            return 0 if self.idle_s is not None and silent >= self.idle_s else None
        except OSError:  # the peer died, or we closed: the stream is over, and its decoder says what lacks
            return 0
        self._since = time.monotonic()
        return got

    def close(self) -> None:
        self._socket.close()


class Listener:
    """A port on which senders are waited for; a context manager. Port 0 takes a free one; `address` says which.

    Raises:
        InputError: the address is none, or is taken.
    """

    def __init__(self, address: str) -> None:
        host, port = parse_address(address)
        try:
            self._socket = socket.create_server((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"{address} cannot be listened at", got=_reason(error), remedy="choose a free port, or 0 for any") from error
        self.address = "tcp://{}:{}".format(*self._socket.getsockname()[:2])

    def accept(self, wait_s: float = 60.0, idle_s: float | None = None) -> SocketBytes:
        """The next peer that connects.

        Raises:
            InputError: none does within `wait_s`.
        """
        self._socket.settimeout(wait_s)
        try:
            connection, _ = self._socket.accept()
        except TimeoutError as error:
            raise InputError(f"nobody connected to {self.address}", expected=f"a sender within {wait_s:g} s", remedy="start the sender") from error
        except OSError as error:
            raise InputError(f"{self.address} cannot be listened at", got=_reason(error)) from error
        return SocketBytes(connection, idle_s)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(address: str, wait_s: float = 5.0, idle_s: float | None = None) -> SocketBytes:
    """Connect to a sender; one that is not there yet is tried again until `wait_s` have passed.

    Raises:
        InputError: no address, or nobody answers there.
    """
    host, port = parse_address(address)
    until = time.monotonic() + wait_s
    while True:
        connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            connection.settimeout(max(0.05, min(1.0, until - time.monotonic())))
            connection.connect((host, port))
            return SocketBytes(connection, idle_s)
        except (OSError, OverflowError) as error:
            connection.close()
            if time.monotonic() > until or not isinstance(error, TimeoutError | ConnectionError):
                raise InputError(f"nobody answers at tcp://{host}:{port}", got=_reason(error),
                                 remedy="start the sender first, or check the address and its port") from error
        time.sleep(min(TICK_S, max(0.0, until - time.monotonic())))


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of "tcp://HOST:PORT", "HOST:PORT" or ":PORT" (this machine); a host of IPv6 in brackets.

    Raises:
        InputError: no port from 0 to 65535.
    """
    host, colon, port = address.removeprefix("tcp://").rstrip("/").rpartition(":")
    number = -1
    with contextlib.suppress(ValueError):
        number = int(port)
    if not colon or not 0 <= number <= 65535:
        raise InputError("an address of a stream", expected="tcp://HOST:PORT", got=address)
    return host.strip("[]") or "127.0.0.1", number


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
