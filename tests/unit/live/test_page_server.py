"""The page's server, asked over real connections: who is let in, what is refused, viewers that are slow."""

import http.client
import json
import socket
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra `live` is not installed")
pytest.importorskip("uvicorn", reason="the extra `live` is not installed")
pytest.importorskip("websockets", reason="the extra `live` is not installed")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from exitwave.cli.serving import Serving, _listening, _opened
from exitwave.core.errors import InputError
from exitwave.live.page import Change, Command
from exitwave.live.page.guard import TICKET_S, Ticket, guard_of
from exitwave.live.page.server import IDLE, LINKS, VIEWERS
from exitwave.live.page.wire import packed, unpacked
from tests.unit.live.page_scan import TOKEN, Scan, served, session, until

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def asked(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, dict[str, str]]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    link.request("GET", path, headers=headers or {})
    answer = link.getresponse()
    got = answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    link.close()
    return got


def linked(port: int, **headers: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers or BEARER, compression=None, max_size=2**24)


class Reader:
    """What a browser would do: take messages, and say when they are drawn."""

    def __init__(self, link: ClientConnection) -> None:
        self.link, self.last = link, dict[str, dict[str, Any]]()

    def step(self) -> None:
        got = self.link.recv(timeout=10)
        if isinstance(got, str):
            self.link.send('{"type":"shown"}')
        else:
            header, _ = unpacked(got)
            self.last[header["kind"]] = header

    def until(self, true: Any) -> None:
        for _ in range(2000):
            if true(self.last):
                return
            self.step()
        raise TimeoutError("what was waited for did not come")


def test_the_page_opens_with_its_token_alone() -> None:
    scan = Scan()
    scan.go.set()
    with session(scan) as (page, _), served(page) as port:
        status, _, headers = asked(port, f"/?token={TOKEN}")
        assert status == 303 and headers["location"] == "/" and "HttpOnly" in headers["set-cookie"]
        cookie = {"Cookie": headers["set-cookie"].partition(";")[0]}
        status, body, headers = asked(port, "/", cookie)
        assert status == 200 and b"<canvas" in body and "default-src 'none'" in headers["content-security-policy"]
        for name, kind in (("page.js", "text/javascript"), ("page.css", "text/css"), ("maps.bin", "application/octet-stream")):
            status, body, headers = asked(port, f"/{name}", cookie)
            assert status == 200 and headers["content-type"].startswith(kind) and headers["x-content-type-options"] == "nosniff"
        assert len(body) == 6 * 768
        for path in ("/", "/page.js", "/maps.bin", "/?token=", f"/?token={TOKEN}x", "/?token=" + "%ff" * 9):
            assert asked(port, path)[0] == 403
        assert asked(port, "/", {**cookie, "Host": f"evil.example:{port}"})[0] == 403
        assert asked(port, f"/?token={TOKEN}", {"Host": "evil.example"})[0] == 403
        for path in ("/server.py", "/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/assets/page.js", "//etc/passwd", "/page.js/", "/ws"):
            status, body, _ = asked(port, path, cookie)
            assert status in (400, 403, 404, 307) and b"import" not in body and b"root:" not in body


def test_websockets_from_elsewhere_are_refused_and_the_server_lives() -> None:
    scan = Scan()
    scan.go.set()
    with session(scan) as (page, _), served(page) as port:
        ours = f"exitwave-{port}={TOKEN}"
        for headers in ({"Cookie": ours}, {"Cookie": ours, "Origin": "http://evil.example"}, {"Authorization": "Bearer wrong"},
                        {"Cookie": f"exitwave-{port}=wrong", "Origin": f"http://127.0.0.1:{port}"}, {**BEARER, "Origin": "https://evil.example"}):
            with pytest.raises(InvalidStatus):
                linked(port, **headers)
        with linked(port, Cookie=ours, Origin=f"http://127.0.0.1:{port}") as link:
            Reader(link).until(lambda last: "image" in last)


def shown_the_door(link: ClientConnection, text: str, times: int) -> None:
    """Send so much, and read until the server has had enough."""
    for _ in range(times):
        link.send(text)
    for _ in range(5000):
        link.recv(timeout=10)


def test_bad_messages_get_a_sentence_floods_get_less_and_huge_ones_the_door() -> None:
    scan = Scan()
    scan.go.set()
    with session(scan) as (page, _), served(page) as port:
        with linked(port) as link:
            reader = Reader(link)
            for text in ("{", '{"type": "set", "settings": {"method": "rm -rf"}}', b"\1\2", '{"type": "start", "path": "x"}'):
                reader.last.pop("word", None)
                link.send(text)
                reader.until(lambda last: last.get("word", {}).get("refused"))
            link.send(json.dumps({"type": "set", "settings": {"C10_A": 17.0}}))
            reader.until(lambda last: last.get("image", {}).get("C10_A") == 17.0)
        for text, times in (("flood", 5000), ("x" * 10**6, 1)):
            with linked(port) as link, pytest.raises(ConnectionClosed):
                shown_the_door(link, text, times)
        with linked(port) as link:
            Reader(link).until(lambda last: last.get("status", {}).get("status") == "complete")


def test_a_viewer_that_never_draws_holds_up_nobody_and_skips_to_the_newest() -> None:
    scan = Scan()
    scan.rows = 1
    with session(scan) as (page, heard), served(page) as port, linked(port) as slow, linked(port) as quick:
        reader = Reader(quick)
        reader.until(lambda last: "image" in last)
        scan.go.set()
        reader.until(lambda last: last.get("image", {}).get("reached") == 1.0)
        for value in range(1, 8):
            quick.send(json.dumps({"type": "set", "settings": {"C10_A": float(value)}}))
            reader.until(lambda last, value=value: last["image"].get("C10_A") == value)
        late = Reader(slow)
        seen: list[float] = []
        for _ in range(400):
            late.step()
            if late.last.get("image", {}).get("C10_A") not in (None, *seen):
                seen.append(late.last["image"]["C10_A"])
            if seen and seen[-1] == 7.0:
                break
        assert seen[-1] == 7.0 and len(seen) <= 3  # what it had been sent at first, then the newest
        until(lambda: heard.header("status")["status"] == "complete")
        sleep(0.01)


def test_an_address_that_is_good_once_opens_the_page_once() -> None:
    scan = Scan()
    scan.go.set()
    ticket = Ticket(monotonic())
    with session(scan) as (page, _), served(page, ticket) as port:
        assert asked(port, "/?once=")[0] == asked(port, f"/?once={ticket.code}x")[0] == 403
        assert asked(port, f"/?once={ticket.code}", {"Host": "evil.example"})[0] == 403  # which does not spend it
        status, _, headers = asked(port, f"/?once={ticket.code}")
        assert status == 303 and ticket.code not in str(headers) and headers["location"] == "/"
        cookie = {"Cookie": headers["set-cookie"].partition(";")[0]}
        status, body, closed = asked(port, f"/?once={ticket.code}")
        assert status == 403 and b"<canvas" not in body and closed["connection"] == "close"
        assert asked(port, "/", cookie)[0] == asked(port, "/", cookie)[0] == 200  # loaded again
        assert asked(port, f"/?once={ticket.code}", cookie)[0] == 303  # a browser that opens its last tabs again
        assert asked(port, f"/?token={TOKEN}")[0] == 303  # a second viewer, with the address that was printed
    assert not Ticket(0.0).takes(ticket.code, 0.0)
    late = Ticket(10.0)
    assert not late.takes(late.code, 10.0 + TICKET_S + 1) and late.takes(late.code, 10.0) and not late.takes(late.code, 10.0)


def gone(link: socket.socket) -> bool:
    """Whether the server has closed a connection."""
    try:
        while link.recv(100):
            pass
    except ConnectionError:
        return True
    return True


def test_connections_that_ask_nothing_keep_nobody_out() -> None:
    scan = Scan()
    scan.go.set()
    with session(scan) as (page, _), served(page) as port, ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(3 * LINKS)]
        for link in held[::2]:
            link.sendall(b"GET / HTTP/1.1\r\nHost: ")  # and no more of it
        assert asked(port, f"/?token={TOKEN}")[0] == 303
        with linked(port) as viewer:
            Reader(viewer).until(lambda last: "image" in last)
            for _ in range(2 * IDLE):
                held.append(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
            Reader(viewer).until(lambda last: "status" in last)
            assert asked(port, f"/?token={TOKEN}")[0] == 303
        held[0].settimeout(5)
        assert gone(held[0])


class Full:
    """Nothing can be saved: the disk is full."""

    def listen(self, listener: Callable[[str, bytes], None]) -> None:
        listener("status", packed("status", {}, {}))

    def set(self, change: Change) -> None:
        raise RuntimeError("a bug")

    def do(self, command: Command) -> str:
        raise OSError("no space left")


def test_what_fails_is_told_to_the_one_who_asked_and_a_full_house_at_the_door() -> None:
    with served(Full()) as port, ExitStack() as stack:
        links = [stack.enter_context(linked(port)) for _ in range(VIEWERS)]
        reader = Reader(links[0])
        for text, words in (('{"type":"save"}', "no space left"), ('{"type":"set","settings":{"layer":1}}', "please report")):
            reader.link.send(text)
            while words not in reader.last.get("word", {}).get("words", ""):
                reader.step()
        late = stack.enter_context(linked(port))
        with pytest.raises(ConnectionClosed) as refused:
            late.recv(timeout=10)
        assert refused.value.rcvd is not None and "look already" in refused.value.rcvd.reason


def test_a_port_is_one_program_s_and_a_host_is_answered_by_its_name() -> None:
    with _listening(Serving()) as (_, port), pytest.raises(InputError, match="name another --port"), _listening(Serving(port=port)):
        pass
    with pytest.raises(InputError, match="an address of this machine"), _listening(Serving(host="192.0.2.1")):
        pass
    for host in ("127.0.0.2", "LOCALHOST", "::1"):
        shown = f"[{host}]" if ":" in host else host
        assert guard_of(host, 8000, None).answers({"host": f"{shown}:8000"}) and not guard_of(host, 8000, None).answers({"host": "elsewhere:8000"})
    assert guard_of("0::0", 8000, TOKEN).any_address
    with pytest.raises(InputError, match="empty"):
        guard_of("", 8000, TOKEN)


@pytest.mark.parametrize(("name", "opens"), [("/usr/bin/w3m", False), ("firefox", True)])
def test_a_browser_of_text_is_not_given_the_terminal(name: str, opens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.get", lambda: webbrowser.GenericBrowser(name))
    monkeypatch.setattr("webbrowser.open", opened.append)
    _opened("http://127.0.0.1:1/?once=x")
    assert bool(opened) is opens
