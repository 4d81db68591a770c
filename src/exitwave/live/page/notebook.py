"""The page as a widget of a notebook: the same modules and messages, carried by the notebook's own connection (extra `notebook`: anywidget)."""

import base64
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from exitwave.core.errors import ExitwaveError, InputError
from exitwave.data import Dataset4D
from exitwave.flow import memory_budget
from exitwave.io import open as open_scan
from exitwave.live.page.frames import Frames
from exitwave.live.page.result import browsed, folder_of, is_result
from exitwave.live.page.settings import Change, Command, Shown, message_of
from exitwave.live.page.wire import packed
from exitwave.live.watch import in_words
from exitwave.plot.maps import tables

MODULES = ("draw", "charts", "panels", "page")  # each after those that it imports
HELLO, DRAWN, MESSAGE = "hello", "drawn?", "message"
Send = Callable[[Mapping[str, Any], list[bytes]], None]


def widget(what: Any) -> Any:
    """A page in a notebook cell.

    `what` is what is looked at: the path of a result, of a folder of results or of a 4D scan; a `Dataset4D`; or anything that a server of the page
    shows, such as `exitwave.live.page.Session` or `exitwave.live.page.fitting.Fitting`, which is opened here. `close()` of the widget ends it.

    Raises:
        InputError: anywidget is not installed, or `what` is nothing of these; as `exitwave.io.open`.
    """
    try:
        from anywidget import AnyWidget
    except ModuleNotFoundError as error:
        raise InputError(f"the notebook widget needs {error.name}", remedy='pip install "exitwave[notebook]"') from error
    shows = shows_of(what)

    class Page(AnyWidget):  # type: ignore[misc]
        _esm = bundled()

        def __init__(self) -> None:
            super().__init__()
            self._pump = Pump(shows, lambda content, buffers: self.send(content, buffers))
            self.on_msg(lambda _, content, buffers: self._pump.hear(content))
            self._pump.open()

        def close(self) -> None:
            """End what is shown."""
            self._pump.close()
            super().close()

    return Page()


def shows_of(what: Any) -> Any:
    """What a page shows of a path, a scan, or something that can be shown already.

    Raises:
        InputError, FormatError: as `widget`.
    """
    if isinstance(what, str | os.PathLike):
        path = os.fspath(what)
        if is_result(path):
            return browsed(path)
        if os.path.isdir(path) and not path.endswith(".zarr"):
            return folder_of(path)
        what = open_scan(path)
    if isinstance(what, Dataset4D):
        name = os.path.basename(str(what.origin.get("path", ""))) or "a scan"
        return Frames(what, what.origin.get("alive"), name, memory_budget())
    if not all(callable(getattr(what, name, None)) for name in ("listen", "set", "do", "open", "close")):
        raise InputError("a page shows results, scans and sessions", expected="a path, a Dataset4D, a Session", got=type(what).__name__)
    return what


class Pump:
    """Messages of what is shown to a browser, one place for each kind: what is not taken when the next comes is never sent. `send` takes a small
    header and buffers; it may be called from any thread, by one at a time."""

    def __init__(self, shows: Any, send: Send) -> None:
        self.shows, self._send = shows, send
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._latest: dict[str, bytes] = {}
        self._slots: dict[str, bytes] = {}
        self._viewed = self._shown = False

    def open(self) -> None:
        """Begin."""
        self.shows.listen(self._offer)
        self.shows.open()

    def close(self) -> None:
        """End what is shown; nothing more is sent."""
        self._viewed = False
        self.shows.close()

    def hear(self, content: Any) -> None:
        """A message of the browser. What cannot be done is told there."""
        if content == {"type": HELLO}:
            with self._lock:
                self._slots, self._viewed, self._shown = dict(self._latest), True, True
            return self._flush()
        try:
            message = message_of(json.dumps(content))
            if isinstance(message, Shown):
                self._shown = True
                return self._flush()
            if isinstance(message, Change):
                return self.shows.set(message)
            threading.Thread(target=self._do, args=(message,), name="exitwave-page-do", daemon=True).start()
        except (ExitwaveError, TypeError, ValueError) as error:
            self._word(str(error), True)

    def _do(self, command: Command) -> None:
        try:
            words, refused = self.shows.do(command), False
        except Exception as error:  # noqa: BLE001 - the one who asked is told, whatever it is
            words, refused = in_words(error), True
        if words:
            self._word(words, refused)

    def _word(self, words: str, refused: bool) -> None:
        self._offer("word", packed("word", {"words": words, "refused": refused}, {}), kept=False)

    def _offer(self, kind: str, message: bytes, kept: bool = True) -> None:
        with self._lock:
            if kept:
                self._latest[kind] = message
            self._slots[kind] = message
        self._flush()

    def _flush(self) -> None:
        """Send what waits, where the browser has drawn what it got before."""
        with self._sending:
            with self._lock:
                if not (self._viewed and self._shown and self._slots):
                    return
                messages, self._slots, self._shown = list(self._slots.values()), {}, False
            for message in messages:
                self._send({"kind": MESSAGE}, [message])
            self._send({"kind": DRAWN}, [])


def bundled() -> str:
    """The widget's one module: the page's modules, its elements and its style in it, brought together in the browser."""
    folder = files("exitwave.live.page").joinpath("assets")
    text = {name: folder.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css", "widget.js", *(f"{m}.js" for m in MODULES))}
    found = re.search(r"<body>(.*?)<noscript>", text["page.html"], re.DOTALL)
    parts = {"modules": {name: text[f"{name}.js"] for name in MODULES}, "body": found[1] if found else "", "style": _inside(text["page.css"]),
             "maps": base64.b64encode(tables()).decode()}
    return f"const PARTS = {json.dumps(parts)};\n{text['widget.js']}"


def _inside(style: str) -> str:
    """The page's style for an element in another page: what was said of the document is said of the element, widths are the element's own."""
    for old, new in ((':root[data-theme="dark"]', ':host([data-theme="dark"])'), (":root", ":host"), ("html {", ":host {"), ("body {", ".inside {"),
                     ("@media (max-width", "@container (max-width")):
        style = style.replace(old, new)
    return style + "\n:host { display: block; container-type: inline-size; position: relative; }\n#image, #colours { height: 440px; }\n"
