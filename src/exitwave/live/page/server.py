"""The page and its websocket: starlette and uvicorn, on this machine alone unless a person says otherwise."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from time import monotonic
from typing import Any, Protocol, runtime_checkable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from exitwave.core.errors import ExitwaveError, InputError
from exitwave.live.page.guard import Bucket, Guard, Ticket
from exitwave.live.page.settings import LONGEST, Change, Command, Shown, message_of
from exitwave.live.page.wire import packed
from exitwave.live.watch import in_words
from exitwave.plot.maps import tables

SCRIPT = "text/javascript; charset=utf-8"
SCRIPTS = ("main.js", "page.js", "panels.js", "charts.js", "draw.js")
ASSETS = {"page.html": "text/html; charset=utf-8", "page.css": "text/css; charset=utf-8", **dict.fromkeys(SCRIPTS, SCRIPT)}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
                               "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
}
CLOSED = {"Connection": "close"}  # strangers keep no connection
VIEWERS, LINKS = 16, 96
IDLE, IDLE_S = 24, 5.0
PER_SECOND, BURST, MOST_REFUSED = 60.0, 240, 400
SIGN_IN = "This page needs the address that exitwave printed, its token included. The one that a browser was started with is good once, and spent.\n"
REFUSED, FULL = 1008, 1013
DRAWN, SHOWN = "drawn?", '{"type":"shown"}'


@runtime_checkable
class Shows(Protocol):
    """What a page shows: `exitwave.live.page.session.Session`, or anything like it."""

    def listen(self, listener: Callable[[str, bytes], None]) -> None: ...
    def set(self, change: Change) -> None: ...
    def do(self, command: Command) -> str: ...


class Viewer:
    """One slot for each kind of message: what is not sent when the next comes is never sent."""

    def __init__(self) -> None:
        self.slots: dict[str, bytes] = {}
        self.ready = asyncio.Event()
        self.shown = asyncio.Event()
        self.shown.set()

    def offer(self, kind: str, message: bytes) -> None:
        """Put a message into its slot."""
        self.slots[kind] = message
        self.ready.set()

    async def taken(self) -> list[bytes]:
        """What waits, once there is something and the browser has drawn what it got before."""
        await self.shown.wait()
        await self.ready.wait()
        self.ready.clear()
        self.shown.clear()
        messages = list(self.slots.values())
        self.slots.clear()
        return messages


class Hub:
    """The viewers of what is shown; messages come from other threads and go to each viewer's slots in the server's."""

    def __init__(self, shows: Shows) -> None:
        self.shows, self.viewers = shows, set[Viewer]()
        self.latest: dict[str, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """As long as the server runs."""
        self._loop = asyncio.get_running_loop()
        self.shows.listen(self._hear)
        yield
        self._loop = None

    def _hear(self, kind: str, message: bytes) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._spread, kind, message)

    def _spread(self, kind: str, message: bytes) -> None:
        self.latest[kind] = message
        for viewer in self.viewers:
            viewer.offer(kind, message)

    @asynccontextmanager
    async def viewing(self) -> AsyncIterator[Viewer]:
        """A viewer that has been given what there is."""
        viewer = Viewer()
        for kind, message in self.latest.items():
            viewer.offer(kind, message)
        self.viewers.add(viewer)
        try:
            yield viewer
        finally:
            self.viewers.discard(viewer)


def application(shows: Shows, guard: Guard, ticket: Ticket | None = None) -> Starlette:
    """The page, its parts and its websocket, for those whom `guard` lets in; the first who brings the `ticket` is one of them."""
    hub = Hub(shows)
    contents = {name: files("exitwave.live.page").joinpath("assets", name).read_bytes() for name in ASSETS} | {"maps.bin": tables()}
    types = {**ASSETS, "maps.bin": "application/octet-stream"}

    def known(request: Request) -> bool:
        return guard.answers(request.headers) and guard.knows(request.cookies.get(guard.cookie))

    def signs_in(request: Request) -> bool:
        asked = request.query_params
        if not guard.answers(request.headers):
            return False
        if "once" in asked:  # a browser that opens its last tabs again brings an old one
            return known(request) or (ticket is not None and ticket.takes(asked["once"], monotonic()))
        return "token" in asked and guard.knows(asked["token"])

    async def first(request: Request) -> Response:
        if signs_in(request):
            made = RedirectResponse("/", 303, headers=HEADERS)
            made.set_cookie(guard.cookie, guard.token, httponly=True, samesite="lax", path="/")
            return made
        if not known(request):
            return PlainTextResponse(SIGN_IN, 403, headers=HEADERS | CLOSED)
        return Response(contents["page.html"], media_type=types["page.html"], headers=HEADERS)

    async def asset(request: Request) -> Response:
        if not known(request):
            return PlainTextResponse(SIGN_IN, 403, headers=HEADERS | CLOSED)
        name = request.path_params["name"]
        if name not in contents:
            return PlainTextResponse("there is nothing of this name\n", 404, headers=HEADERS)
        return Response(contents[name], media_type=types[name], headers=HEADERS)

    async def socket(websocket: WebSocket) -> None:
        if not guard.admits(websocket.headers, websocket.cookies.get(guard.cookie)):
            await websocket.close(REFUSED)
            return
        if len(hub.viewers) >= VIEWERS:
            await websocket.accept()
            await websocket.close(FULL, f"{VIEWERS} look already, one of them has to leave first")
            return
        async with hub.viewing() as viewer:  # before anything is waited for: those who come at once are counted
            await websocket.accept()
            await _served(websocket, viewer, shows)

    return Starlette(routes=[Route("/", first), WebSocketRoute("/ws", socket), Route("/{name}", asset)], lifespan=hub.lifespan)


async def _served(websocket: WebSocket, viewer: Viewer, shows: Shows) -> None:
    sending, hearing = asyncio.create_task(_send(websocket, viewer)), asyncio.create_task(_hear(websocket, viewer, shows))
    _, rest = await asyncio.wait((sending, hearing), return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(sending, hearing, return_exceptions=True)


async def _send(websocket: WebSocket, viewer: Viewer) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            for message in await viewer.taken():
                await websocket.send_bytes(message)
            await websocket.send_text(DRAWN)


async def _hear(websocket: WebSocket, viewer: Viewer, shows: Shows) -> None:
    bucket, refused = Bucket(PER_SECOND, BURST), 0
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            got = await websocket.receive()
            if got["type"] == "websocket.disconnect":
                return
            text = got.get("text")
            if text == SHOWN and not viewer.shown.is_set():  # an answer to what was sent: no more of them than messages
                viewer.shown.set()
                continue
            try:
                if not bucket.take(monotonic()):
                    raise InputError("too many messages at once: some were left out")
                words = await _done(message_of(text if text is not None else got.get("bytes") or b""), viewer, shows)
                refused = max(0, refused - 1)
                if words:
                    viewer.offer("word", packed("word", {"words": words, "refused": False}, {}))
                continue
            except ExitwaveError as error:
                viewer.offer("word", packed("word", {"words": str(error), "refused": True}, {}))
            except Exception as error:  # noqa: BLE001 - a full disk, or whatever else, is told to the one who asked
                viewer.offer("word", packed("word", {"words": in_words(error), "refused": True}, {}))
                continue
            refused += 1
            if refused > MOST_REFUSED:
                await websocket.close(REFUSED)
                return


async def _done(message: Change | Command | Shown, viewer: Viewer, shows: Shows) -> str:
    if isinstance(message, Shown):
        viewer.shown.set()
        return ""
    if isinstance(message, Change):
        shows.set(message)
        return ""
    return await asyncio.to_thread(shows.do, message)


def prompt() -> type[H11Protocol]:
    """HTTP for one server and those who ask at once: of connections that were opened and ask nothing at most `IDLE` are kept, the newest, and none
    for longer than `IDLE_S`. Otherwise whoever opens many of them keeps all others out, without a token."""
    idle: dict[Any, None] = {}

    class Prompt(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(idle) >= IDLE:
                oldest = next(iter(idle))
                del idle[oldest]
                oldest.transport.abort()
            idle[self] = None
            self.loop.call_later(IDLE_S, self._too_late)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None or self not in self.connections:  # it has asked, or has become a websocket
                idle.pop(self, None)

        def connection_lost(self, exc: Exception | None) -> None:
            idle.pop(self, None)
            super().connection_lost(exc)

        def _too_late(self) -> None:
            if self in idle:
                self.transport.abort()

    return Prompt


def server_of(shows: Shows, guard: Guard, host: str, port: int, ticket: Ticket | None = None) -> uvicorn.Server:
    """A server that is ready to `run`. Messages from browsers are small, and compressing noisy images would only take time."""
    config = uvicorn.Config(application(shows, guard, ticket), host=host, port=port, log_level="critical", access_log=False, http=prompt(),
                            ws="websockets-sansio", ws_max_size=4 * LONGEST, ws_per_message_deflate=False, server_header=False, date_header=False,
                            timeout_graceful_shutdown=1, limit_concurrency=LINKS)
    return uvicorn.Server(config)

