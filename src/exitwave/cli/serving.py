"""A page that is served from the command line: until Ctrl-C, or beside the work that it shows."""

import errno
import os
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from time import monotonic, sleep
from typing import Any

import click

from exitwave.core import InputError, record

LAST_S = 1.0  # for viewers to take what came last before the program ends
BEGIN_S = 10.0
TEXT_BROWSERS = ("www-browser", "links", "elinks", "lynx", "w3m")


@record
class Serving:
    """Where the page is served, whether a browser is opened, the folder that its buttons save to, and a recording from the beginning on
    (which replaces a file with `force`)."""

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    browser: bool = True
    folder: str = "."
    recording: str | None = None
    force: bool = False


@record
class _Bound:
    """A server with its socket, the address for people, and one that is good once."""

    server: Any
    socket: Any
    address: str
    once: str


def ready(serving: Serving) -> None:
    """Refuse what could not be served, before any work is done.

    Raises:
        InputError: a package is missing, a host that needs a token, a token that is too short.
    """
    _server()
    from exitwave.live.page.guard import guard_of

    guard_of(serving.host, 0, serving.token)


def serve(shows: Any, serving: Serving) -> int:
    """Serve a page until Ctrl-C; the exit status."""
    with _made(shows, serving) as made:
        click.echo(f"the live page is at {made.address}  (Ctrl-C ends it)")
        shows.open()
        try:
            _browse(serving, made)
            with suppress(KeyboardInterrupt):
                made.server.run(sockets=[made.socket])
        finally:
            shows.close()
    return 0


@contextmanager
def beside(shows: Any, serving: Serving) -> Iterator[None]:
    """Serve a page in a thread of its own, as long as the block runs. Viewers get what came last before it ends."""
    with _made(shows, serving) as made:
        click.echo(f"the live page is at {made.address}", err=True)
        shows.open()
        server = made.server
        thread = threading.Thread(target=server.run, kwargs={"sockets": [made.socket]}, name="exitwave-page-server", daemon=True)
        thread.start()
        end = monotonic() + BEGIN_S
        while not server.started and thread.is_alive() and monotonic() < end:
            sleep(0.01)
        try:
            _browse(serving, made)
            yield
        finally:
            shows.close()
            sleep(LAST_S if server.server_state.connections else 0.0)
            server.should_exit = True
            thread.join(timeout=5.0)


def _browse(serving: Serving, made: _Bound) -> None:
    """Open a browser with an address that is good once: others can read command lines. Nothing waits for it."""
    if serving.browser:
        threading.Thread(target=_opened, args=(made.once,), name="exitwave-page-browser", daemon=True).start()


def _opened(address: str) -> None:
    """Open an address in a window. A browser that draws text would take the terminal away, and cannot draw the page."""
    with suppress(webbrowser.Error):
        if os.path.basename(getattr(webbrowser.get(), "name", "")) not in TEXT_BROWSERS:
            webbrowser.open(address)


@contextmanager
def _made(shows: Any, serving: Serving) -> Iterator[_Bound]:
    server_of = _server()
    from exitwave.live.page.guard import Ticket, guard_of

    with _listening(serving) as (bound, port):
        guard, ticket = guard_of(serving.host, port, serving.token), Ticket(monotonic())
        base = f"http://{_shown(serving.host)}:{port}/"
        yield _Bound(server=server_of(shows, guard, serving.host, port, ticket), socket=bound, address=f"{base}?token={guard.token}",
                     once=f"{base}?once={ticket.code}")


def _shown(host: str) -> str:
    """The host as an address has it: for all addresses of the machine its name."""
    from exitwave.live.page.guard import is_every

    if is_every(host):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


@contextmanager
def _listening(serving: Serving) -> Iterator[tuple[socket.socket, int]]:
    """A socket that listens, so that the port is known, and is nobody else's, before anybody is told.

    Raises:
        InputError: the port is taken, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it lets another program take the port over
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((serving.host, serving.port))
        made.listen()  # two programs may be bound to a port that neither listens at
        port = int(made.getsockname()[1])
    except OSError as error:
        made.close()
        elsewhere = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        raise InputError(f"{serving.host}:{serving.port} cannot be listened at", got=error.strerror or str(error),
                         remedy="--host is an address of this machine" if elsewhere else "name another --port, or leave it out") from error
    try:
        yield made, port
    finally:
        made.close()


def _server() -> Callable[..., Any]:
    """The server, where its packages are there.

    Raises:
        InputError: they are not.
    """
    try:
        import_module("websockets")  # the server looks for it only when it begins

        from exitwave.live.page.server import server_of
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("starlette", "uvicorn", "websockets", "anyio"):
            raise
        raise InputError(f"the live page needs {error.name}", remedy='pip install "exitwave[live]", or leave the page out') from error
    return server_of
