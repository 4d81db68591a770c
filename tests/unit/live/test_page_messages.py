"""What goes over the wire and who may say what: packing, checked messages, tokens, hosts, rates."""

import json
import random
from socket import gethostname

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from exitwave.core.errors import ExitwaveError, FormatError, InputError
from exitwave.live.page.guard import Bucket, Guard, guard_of, loopback
from exitwave.live.page.settings import NUMBERS, Change, Command, Settings, Shown, changed, message_of
from exitwave.live.page.wire import packed, unpacked

GUARD = Guard(token="x" * 20, hosts=("127.0.0.1:8000", "localhost:8000"))
OURS = {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}


@given(image=arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-1e6, 1e6, width=32)),
       curve=arrays.arrays(np.float32, st.integers(0, 9), elements=st.floats(-1e6, 1e6, width=32)),
       bits=arrays.arrays(np.uint8, st.integers(0, 20)), word=st.text(max_size=20))
def test_messages_come_back_to_a_level(image: np.ndarray, curve: np.ndarray, bits: np.ndarray, word: str) -> None:
    message = packed("image", {"title": word}, {"bits": bits, "image": image, "curve": curve})
    header, got = unpacked(message)
    assert header == {"kind": "image", "title": word} and len(message) % 8 == 0
    assert np.array_equal(got["bits"], bits) and np.array_equal(got["curve"], curve)
    level = (float(image.max()) - float(image.min())) / 65535
    assert np.abs(got["image"] - image).max() <= 0.51 * level + 1e-9
    with pytest.raises(FormatError, match="cut off"):
        unpacked(message[:3])


def test_what_is_not_finite_does_not_spoil_an_image() -> None:
    _, got = unpacked(packed("image", {}, {"image": np.array([[np.nan, 1.0], [3.0, np.inf]])}))
    assert got["image"][0, 1] == 1.0 and got["image"][1, 0] == 3.0 and np.isfinite(got["image"]).all()
    with pytest.raises(ValueError, match="JSON"):
        packed("image", {"sigma": float("nan")}, {})
    least = np.array([[np.finfo(np.float32).tiny, 0.0]], np.float32)
    assert np.abs(unpacked(packed("image", {}, {"image": least}))[1]["image"]).max() < 1e-30


@pytest.mark.parametrize("text", [
    "", "x", "[]", "1", "null", "{}", b"\0\1", '{"type": 1}', '{"type": "shown", "more": 1}', '{"type": "set"}', '{"type": "set", "settings": {}}',
    '{"type": "set", "settings": {"C10_A": NaN}}', '{"type": "set", "settings": {"C10_A": true}}', '{"type": "set", "settings": {"C10_A": 1e8}}',
    '{"type": "set", "settings": {"C10_A": "1"}}', '{"type": "set", "settings": {"upsample": 2.0}}', '{"type": "set", "settings": {"upsample": 99}}',
    '{"type": "set", "settings": {"method": "exec"}}', '{"type": "set", "settings": {"__class__": 1}}',
    '{"type": "set", "settings": {"position": [1]}}',
    '{"type": "set", "settings": {"position": [-1, 2]}}', '{"type": "set", "settings": {"view": ["phase"]}}', '{"type": "record"}',
    '{"type": "record", "on": 1}', '{"type": "save", "path": "/etc/passwd"}', "[" * 4000, '{"type": "' + "a" * 5000 + '"}',
    '{"type": "set", "settings": {"C10_A": ' + "9" * 400 + "}}", '{"type": "set", "settings": {"position": [true, false]}}',
])
def test_messages_that_are_none_are_refused_in_a_sentence(text: str | bytes) -> None:
    with pytest.raises(InputError) as refused:
        message_of(text)
    assert 20 < len(str(refused.value)) < 300 and "Traceback" not in str(refused.value)


def test_messages_of_the_page() -> None:
    assert isinstance(message_of('{"type":"shown"}'), Shown)
    made = message_of('{"type": "set", "settings": {"C10_A": -12, "position": [3, 4], "method": "wdd", "transpose": true, "view": "wave"}}')
    assert isinstance(made, Change) and made.values == {"C10_A": -12.0, "position": (3, 4), "method": "wdd", "transpose": True, "view": "wave"}
    assert changed(Settings(), made.values).position == (3, 4)
    for name in ("start", "stop", "save", "calibrate"):
        command = message_of(json.dumps({"type": name}))
        assert isinstance(command, Command) and command.name == name
    off = message_of('{"type": "record", "on": false}')
    assert isinstance(off, Command) and not off.on
    assert {name for name in NUMBERS} <= set(Settings.__dataclass_fields__)


WRONG = ['"', "{", "}", "[", "]", ",", ":", "9", "1e999", "null", "\\u0000", "é", "\ud800", "-", "true", ""]


def mutated(rng: random.Random) -> str:
    """A message of the page with something wrong in it, most of the time."""
    sound = ['{"type": "set", "settings": {"C10_A": -12.5, "position": [3, 4]}}', '{"type": "record", "on": true}', '{"type": "save"}']
    text = list(rng.choice(sound))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(text) + 1)
        text[at : at + rng.randint(0, 4)] = rng.choice(WRONG)
    return "".join(text)


def test_two_thousand_mutated_messages_are_taken_or_refused() -> None:
    rng = random.Random(7)
    refused = 0
    for _ in range(2000):
        try:
            message_of(mutated(rng))
        except ExitwaveError:
            refused += 1
    assert 1000 < refused < 2000


@pytest.mark.parametrize(("headers", "cookie", "open_"), [
    (OURS, GUARD.token, True),
    (OURS, None, False),
    (OURS, "y" * 20, False),
    ({**OURS, "origin": "http://evil.example"}, GUARD.token, False),
    ({**OURS, "origin": "http://127.0.0.1:8001"}, GUARD.token, False),
    ({**OURS, "origin": "null"}, GUARD.token, False),
    ({"host": "evil.example:8000", "origin": "http://evil.example:8000"}, GUARD.token, False),
    ({"host": "127.0.0.1:8000"}, GUARD.token, False),
    ({"host": "127.0.0.1:8000", "authorization": "Bearer " + GUARD.token}, None, True),
    ({"host": "127.0.0.1:8000", "authorization": "Bearer nearly"}, GUARD.token, False),
    ({"host": "localhost:8000", "origin": "http://localhost:8000"}, GUARD.token, True),
    ({}, GUARD.token, False),
])
def test_who_may_open_a_websocket(headers: dict[str, str], cookie: str | None, open_: bool) -> None:
    assert GUARD.admits(headers, cookie) is open_


def test_hosts_and_tokens() -> None:
    assert guard_of("127.0.0.1", 80, None).token != guard_of("127.0.0.1", 80, None).token
    assert len(guard_of("localhost", 80, None).token) >= 24 and loopback("::1") and loopback("127.3.2.1") and not loopback("0.0.0.0")
    for host in ("0.0.0.0", "192.168.1.4", "::", "microscope.example"):
        with pytest.raises(InputError, match="--token"):
            guard_of(host, 80, None)
    assert "192.168.1.4:80" in guard_of("192.168.1.4", 80, "a-long-enough-token").hosts
    for every in ("0.0.0.0", "::"):
        guard = guard_of(every, 80, "a-long-enough-token")
        for host, answered in (("192.168.1.4:80", True), ("[fe80::1]:80", True), (f"{gethostname()}:80", True), ("192.168.1.4", True),
                               ("[fe80::1]", True), ("192.168.1.4:81", False), ("evil.example:80", False), ("192.168.1.4.evil.example:80", False),
                               ("", False)):
            assert guard.answers({"host": host}) == answered, host
    assert guard_of("localhost", 80, None).answers({"host": "localhost"}) and not guard_of("localhost", 8000, None).answers({"host": "localhost"})
    assert not guard_of("192.168.1.4", 80, "a-long-enough-token").answers({"host": "192.168.1.5:80"})
    for bad in ("short", "has a blank in the middle", "tökentökentökentöken"):
        with pytest.raises(InputError, match="token"):
            guard_of("127.0.0.1", 80, bad)


def test_a_bucket_lets_through_what_it_says() -> None:
    bucket = Bucket(10.0, 5)
    assert [bucket.take(100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [bucket.take(100.25) for _ in range(3)] == [True, True, False]
    assert sum(bucket.take(101.0 + n / 100) for n in range(500)) == pytest.approx(5 + 50, abs=2)
