"""Frames that are sent to the last one, and how many are said to have been."""

import json
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
import pytest

from exitwave.cli import send
from exitwave.data import ArrayFrames, Calibration, Dataset4D
from exitwave.io.streams.frame_sender import merlin_messages

FRAMES = ArrayFrames(array=np.random.default_rng(0).poisson(2, (2, 3, 8, 9)).astype(np.uint8))
SCAN = Dataset4D(frames=FRAMES, calibration=Calibration())


class Slow:
    """Sends `most` messages of a list, one at a time, and stops when it is left."""

    address = "tcp://127.0.0.1:0"
    most = 99

    def __init__(self, messages: Callable[[], Iterator[object]], address: str, rate: float | None, linger_s: float = 1.0) -> None:
        self.sent, self._messages, self._stop = 0, messages, threading.Event()
        self._thread = threading.Thread(target=self._send)
        type(self).last = self

    last: "Slow"

    def _send(self) -> None:
        for _ in list(self._messages())[: self.most]:
            self.sent += 1
            if self._stop.wait(0.15):  # slower than the count is looked at
                return

    def __enter__(self) -> "Slow":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()


def test_every_message_is_sent_before_a_sender_hangs_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    messages = {"merlin": lambda frames: merlin_messages(frames), "simplon": lambda frames: iter(["start", *"frames", "end"])}
    for name in ("MerlinSender", "SimplonSender"):
        monkeypatch.setattr(send, name, Slow)
    monkeypatch.setattr(send, "simplon_messages_of", messages["simplon"])
    for kind, made in messages.items():
        send.frames(SCAN, kind, "tcp://127.0.0.1:0", None, 5.0, True)
        assert Slow.last.sent == len(list(made(FRAMES)))
        assert json.loads(capsys.readouterr().out)["frames"] == 6
        monkeypatch.setattr(Slow, "most", 4)
        monkeypatch.setattr(send, "END_S", 0.1)
        send.frames(SCAN, kind, "tcp://127.0.0.1:0", None, 0.4, True)
        assert json.loads(capsys.readouterr().out)["frames"] == 3  # the first message is no frame
        monkeypatch.setattr(Slow, "most", 99)
        monkeypatch.setattr(send, "END_S", 1.0)
