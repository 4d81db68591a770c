"""Who may look and who may turn the knobs: tokens, tickets, origins, hosts, rates. Pure functions and two small counters."""

import hmac
import ipaddress
from collections.abc import Mapping
from secrets import token_urlsafe
from socket import gethostname

from exitwave.core import record
from exitwave.core.errors import InputError

SHORTEST = 16  # characters of a token that a person chooses
TICKET_S = 60.0
LOCAL = ("127.0.0.1", "localhost", "[::1]")


@record
class Guard:
    """`token` opens the page; `hosts` are the values of the Host header that are answered, the port included: a page elsewhere whose name was
    turned to this machine (DNS rebinding) sends another one. `any_address`: an address in numbers with the same port is answered too, which no
    name can be turned to."""

    token: str
    hosts: tuple[str, ...]
    any_address: bool = False

    @property
    def cookie(self) -> str:
        """Its name. Cookies know no ports, so the port is in it: two pages on one machine do not sign each other out."""
        return f"exitwave-{self.hosts[0].rpartition(':')[2]}"

    def knows(self, token: str | None) -> bool:
        """Whether this is the token; the time that it takes does not tell how much of it is right."""
        return token is not None and hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def answers(self, headers: Mapping[str, str]) -> bool:
        """Whether a request is for this server by a name of its own."""
        host = headers.get("host", "").lower()
        host = host if ":" in host.rpartition("]")[2] else f"{host}:80"  # browsers leave the port of http out
        name, _, port = host.rpartition(":")
        return host in self.hosts or (self.any_address and port == self.hosts[0].rpartition(":")[2] and _is_address(name.strip("[]")))

    def same_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether the page that asks is this server's. Browsers always send an Origin with a websocket; programs without one need the token itself
        (`admits`)."""
        origin = headers.get("origin", "").lower()
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and host == headers.get("host", "").lower()

    def admits(self, headers: Mapping[str, str], cookie: str | None) -> bool:
        """Whether a websocket may be opened: with the cookie from this server's own page, or with "Authorization: Bearer TOKEN" and no Origin or the
        same one."""
        if not self.answers(headers):
            return False
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if "origin" in headers:
            return self.same_origin(headers) and (self.knows(cookie) or (kind.lower() == "bearer" and self.knows(bearer)))
        return kind.lower() == "bearer" and self.knows(bearer)


def guard_of(host: str, port: int, token: str | None) -> Guard:
    """The guard of a server; a random token where none is given.

    Raises:
        InputError: no host, one that others reach without a token of its own, a token that is short or has characters that do not fit into an
            address.
    """
    if not host.strip():
        raise InputError("--host is empty, which would be every address of this machine", expected="127.0.0.1, or 0.0.0.0 for every address")
    if token is None:
        if not loopback(host):
            raise InputError(f"others can reach {host}, so it needs a token", expected=f"--token with at least {SHORTEST} characters",
                             remedy="or leave out --host: the page is then for this machine alone (ssh -L reaches it from elsewhere)")
        token = token_urlsafe(24)
    elif len(token) < SHORTEST or not all(c.isascii() and (c.isalnum() or c in "-_.~") for c in token):
        raise InputError("this token is too easy to guess or does not fit into an address", expected=f"{SHORTEST} or more letters, digits, - _ . ~",
                         got=f"{len(token)} characters")
    every = is_every(host)
    own = gethostname().lower() if every else host.lower() if ":" not in host else f"[{host.lower()}]"
    return Guard(token=token, hosts=tuple(f"{name}:{port}" for name in dict.fromkeys((*LOCAL, own))), any_address=every)


def is_every(host: str) -> bool:
    """Whether a host stands for all addresses of a machine, none of which a browser is given."""
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Ticket:
    """A code that opens the page once, within `TICKET_S` of being made. It stands on the browser's command line, where others on the machine can
    read it: by then it is spent."""

    def __init__(self, now: float) -> None:
        self.code = token_urlsafe(24)
        self._until = now + TICKET_S

    def takes(self, code: str, now: float) -> bool:
        """Whether this is the code, for the first time and in time."""
        right = hmac.compare_digest(code.encode("utf-8", "replace"), self.code.encode()) and now <= self._until
        if right:
            self._until = float("-inf")
        return right


class Bucket:
    """At most `burst` messages at once and `per_second` in the long run."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second, self.burst = per_second, burst
        self._left, self._last = float(burst), 0.0

    def take(self, now: float) -> bool:
        """Whether one more is allowed at the time `now`, s."""
        if self._last:
            self._left = min(float(self.burst), self._left + max(0.0, now - self._last) * self.per_second)
        self._last = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
