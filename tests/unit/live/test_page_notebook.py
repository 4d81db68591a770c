"""The page in a notebook: its messages without one, and the widget itself where anywidget is installed."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, Dataset4D
from exitwave.io import Plane, write_result
from exitwave.live.page import Command, widget
from exitwave.live.page.frames import Frames
from exitwave.live.page.notebook import MODULES, Pump, bundled, shows_of
from exitwave.live.page.result import Browsing
from exitwave.live.page.wire import packed, unpacked
from tests.unit.live.page_scan import CALIBRATION, counts, until


class Sends:
    """Something to show that says what it is told to."""

    def __init__(self) -> None:
        self.listener: Any = None
        self.heard: list[Any] = []

    def listen(self, listener: Any) -> None:
        self.listener = listener

    def open(self) -> None:
        self.heard.append("open")

    def close(self) -> None:
        self.heard.append("close")

    def set(self, change: Any) -> None:
        self.heard.append(dict(change.values))

    def do(self, command: Command) -> str:
        if command.name == "save":
            raise InputError("the disk is full")
        return f"{command.name} it is"

    def say(self, number: int) -> None:
        self.listener("image", packed("image", {"number": number}, {}))


def test_a_slow_browser_gets_the_newest_and_one_that_comes_later_gets_all() -> None:
    shows, sent = Sends(), list[tuple[Any, list[bytes]]]()
    pump = Pump(shows, lambda content, buffers: sent.append((dict(content), buffers)))
    pump.open()
    shows.say(1)
    assert not sent  # nobody looks
    pump.hear({"type": "hello"})
    assert [content["kind"] for content, _ in sent] == ["message", "drawn?"]
    for number in range(2, 9):
        shows.say(number)
    assert len(sent) == 2
    pump.hear({"type": "shown"})
    assert len(sent) == 4 and unpacked(sent[2][1][0])[0] == {"kind": "image", "number": 8}
    pump.hear({"type": "hello"})  # another view of the same widget
    assert unpacked(sent[4][1][0])[0]["number"] == 8
    pump.close()
    assert shows.heard == ["open", "close"]


def test_what_a_browser_says_is_checked_and_answered() -> None:
    shows, sent = Sends(), list[bytes]()
    pump = Pump(shows, lambda content, buffers: sent.extend(buffers))
    pump.open()
    pump.hear({"type": "hello"})

    def answered(content: Any) -> dict[str, Any]:
        sent.clear()
        pump.hear(content)
        pump.hear({"type": "shown"})
        until(lambda: sent)
        return unpacked(sent[-1])[0]

    pump.hear({"type": "set", "settings": {"C10_A": -5}})
    assert shows.heard[-1] == {"C10_A": -5.0}
    assert answered({"type": "stop"})["words"] == "stop it is"
    assert answered({"type": "save"})["refused"] and answered({"type": "set", "settings": {"C10_A": "x"}})["refused"]
    for content in (None, {}, {"type": 3}, {"type": "set", "settings": {"file": "x" * 300}}, {1: 2}):
        assert answered(content)["refused"]


def test_the_module_holds_all_of_the_page() -> None:
    text = bundled()
    first, _, rest = text.partition(";\n")
    parts = json.loads(first.removeprefix("const PARTS = "))
    wanted = {name for module in parts["modules"].values() for name in re.findall(r'from "\./(\w+)\.js"', module)}
    assert wanted < set(MODULES) == set(parts["modules"]) and "export default { render }" in rest
    for i, name in enumerate(MODULES):  # each comes after what it imports
        assert set(re.findall(r'from "\./(\w+)\.js"', parts["modules"][name])) <= set(MODULES[:i])
    assert 'id="image"' in parts["body"] and ":root" not in parts["style"] and "@media (max" not in parts["style"]


def test_what_is_shown_of_paths_and_scans(tmp_path: Path) -> None:
    image = Plane(name="phase", array=np.ones((3, 4), np.float32), pitch=(1.0, 1.0))
    write_result(tmp_path / "a.h5", images=[image], recipe={}, calibration=CALIBRATION, metrics={}, provenance={})
    np.save(tmp_path / "scan.npy", counts())
    assert isinstance(shows_of(tmp_path / "a.h5"), Browsing) and isinstance(shows_of(str(tmp_path)), Browsing)
    assert isinstance(shows_of(tmp_path / "scan.npy"), Frames)
    assert isinstance(shows_of(Dataset4D(frames=ArrayFrames(array=counts()), calibration=CALIBRATION, origin={})), Frames)
    for wrong in (3, None, counts()):
        with pytest.raises(InputError):
            shows_of(wrong)


def test_the_widget_carries_messages(tmp_path: Path) -> None:
    pytest.importorskip("anywidget", reason="the extra `notebook` is not installed")
    shows = Sends()
    made, sent = widget(shows), list[Any]()
    made._pump._send = lambda content, buffers: sent.append(content["kind"])
    shows.say(3)
    made._handle_custom_msg({"type": "hello"}, [])
    assert sent == ["message", "drawn?"]
    made.close()
    assert shows.heard == ["open", "close"]
