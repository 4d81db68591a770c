"""Sending what was measured or simulated as a detector would."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

import exitwave.io
from exitwave.cli.live_log import quantity
from exitwave.cli.session import emit
from exitwave.core import InputError
from exitwave.data import Dataset4D
from exitwave.io.streams import Packing, Recorder
from exitwave.io.streams.frame_sender import MerlinSender, merlin_messages
from exitwave.io.streams.recognise import LOOK, kind_of
from exitwave.io.streams.replay import Pace
from exitwave.io.streams.sending import send
from exitwave.io.streams.simplon_sender import SimplonSender, simplon_messages_of
from exitwave.io.streams.tcp import parse_address
from exitwave.live import Microscope

LOOK_S = 0.1
END_S = 1.0  # for what follows the last frame
BESIDE = {"merlin": (1, 0), "simplon": (1, 1)}  # messages before the frames and after them


def run(file: str, *, kind: str, address: str, rate: float | None, speed: float | None, loops: int, dwell_s: float, wait_s: float, seed: int,
        as_json: bool) -> None:
    """Wait for a receiver and send everything; say what that took.

    Raises:
        InputError: a file that cannot be sent like this, an address that is taken, nobody who connects.
    """
    parse_address(address)
    for flag, value in (("--rate", rate), ("--dwell-s", dwell_s), ("--wait-s", wait_s)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{flag} must be positive", got=value)
    if kind != "events" and (speed is not None or loops > 1):
        raise InputError("--speed and --loops are for events", got=f"--as {kind}", remedy="leave them out")
    if kind != "events":
        frames(exitwave.io.open(file), kind, address, rate, wait_s, as_json)
        return
    pace = Pace(events_per_s=rate, speed=speed, loops=loops)
    with as_events(file, dwell_s, seed) as path, receiver(address, wait_s, as_json) as peer:
        done = send(path, peer, pace)
    if as_json:
        emit({"events": done.events, "bytes": done.sent_bytes, "seconds": done.wall_s, "cpu_s": done.cpu_s, "complete": done.complete,
              "left": done.left})
        return
    click.echo(f"{quantity(done.events)} events, {done.sent_bytes / 1e6:.4g} MB in {done.wall_s:.3g} s ({done.cpu_s:.3g} s of a core)"
               + ("" if done.complete else "; the receiver left before the end"))
    if done.left:
        click.echo(f"exitwave: {file}: {done.left}; what was whole has been", err=True)


@contextmanager
def as_events(file: str, dwell_s: float, seed: int) -> Iterator[str]:
    """A file of events: the file itself, or the electrons of a scan in a file that goes again."""
    with open_bytes(file) as head:
        known = kind_of(head)
    if known is not None:
        yield file
        return
    data: Dataset4D = exitwave.io.open(file)
    microscope = Microscope(data.frames, dwell_ns=max(1, round(dwell_s * 1e9)), seed=seed)
    packing = Packing(frame=microscope.frame, scan=microscope.scan, columns={"time_ns": "<i8"}, calibration=data.calibration.as_json())
    with tempfile.TemporaryDirectory(prefix="exitwave-send-") as folder:
        path = os.path.join(folder, "events.ewe")
        with Recorder(path, packing) as recorder:
            for chunk in microscope.chunks():
                recorder.write(chunk)
        yield path


@contextmanager
def open_bytes(file: str) -> Iterator[bytes]:
    """The first bytes of a file, none of what is no plain file (a folder, FILE::/path)."""
    head = b""
    if os.path.isfile(file):
        try:
            with open(file, "rb") as opened:
                head = opened.read(8 * LOOK)
        except OSError as error:
            raise InputError(f"{file} cannot be read", got=error.strerror or str(error)) from error
    yield head


@contextmanager
def receiver(address: str, wait_s: float, quiet: bool) -> Iterator[socket.socket]:
    """The first that connects."""
    try:
        server = socket.create_server(parse_address(address))
    except (OSError, OverflowError) as error:
        raise InputError(f"{address} cannot be listened at", got=getattr(error, "strerror", None) or str(error),
                         remedy="choose a free port, or 0 for any") from error
    with server:
        if not quiet:
            click.echo("waiting at tcp://{}:{}".format(*server.getsockname()[:2]), err=True)
        server.settimeout(wait_s)
        try:
            peer, _ = server.accept()
        except TimeoutError as error:
            raise InputError("nobody connected", expected=f"a receiver within {wait_s:g} s", remedy="start it, or pass a longer --wait-s") from error
    peer.settimeout(None)
    with peer:
        yield peer


def frames(data: Dataset4D, kind: str, address: str, rate: float | None, wait_s: float, as_json: bool) -> None:
    """Frames as a camera sends them, to the end."""
    total = data.shape[0] * data.shape[1]
    if kind == "merlin":
        next(iter(merlin_messages(data.frames)))  # what it does not send is said before anybody connects
        sender: MerlinSender | SimplonSender = MerlinSender(lambda: merlin_messages(data.frames), address, rate)
    else:
        sender = SimplonSender(lambda: simplon_messages_of(data.frames), address, rate, linger_s=wait_s)
    beside = BESIDE[kind]
    with sender:
        if not as_json:
            click.echo(f"waiting at {sender.address.replace('tcp', kind)}", err=True)
        seconds = _until_sent(lambda: sender.sent, beside[0] + total, wait_s)
        _until_sent(lambda: sender.sent, total + sum(beside), END_S + (1 / rate if rate else 0.0))  # who has all frames may leave before the end
    sent = min(max(0, sender.sent - beside[0]), total)
    if as_json:
        emit({"frames": sent, "seconds": seconds})
    else:
        click.echo(f"{sent} of {total} frames in {seconds:.3g} s")


def _until_sent(sent: Callable[[], int], wanted: int, wait_s: float) -> float:
    """Seconds from the first message to the last, or to a receiver that takes no more."""
    begun, last, since = None, 0, time.monotonic()
    while (now := sent()) < wanted:
        if now > last:
            begun = begun or time.monotonic()
            last, since = now, time.monotonic()
        if time.monotonic() - since > wait_s:
            if begun is None:
                raise InputError("nobody connected", expected=f"a receiver within {wait_s:g} s", remedy="start it, or pass a longer --wait-s")
            break
        time.sleep(LOOK_S)
    return time.monotonic() - (begun or time.monotonic())
