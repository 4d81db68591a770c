"""The live page in a real Chromium: opens, grows, switches method, refocuses, draws a detector, saves, survives a reload and a dead source; fits,
frames, and the same page inside another one."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.data import ArrayFrames, Dataset4D
from exitwave.io import read_result
from exitwave.live.page import Change, Command
from exitwave.live.page.frames import Frames
from exitwave.live.page.notebook import Pump, bundled
from exitwave.live.page.wire import packed, unpacked
from tests.chromium import Page, browsing, found
from tests.unit.live.page_scan import CALIBRATION, TOKEN, served, until

for package in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(package, reason="the extra `live` is not installed")
pytestmark = pytest.mark.skipif(found() is None, reason="there is no Chromium on this machine (Debian: apt install chromium)")

ROOT = Path(__file__).parents[2]
KNOWN = "--energy-eV 200e3 --semiangle-mrad 20 --aberration C10_A=-200 --detector-mrad 2.6 --scan-step-A 0.6 --rotation-deg 9 --no-transpose"
REACHED = "Number(document.querySelector('.progress').getAttribute('aria-valuenow'))"
TITLE = "document.getElementById('title').textContent"
STATUS = "document.getElementById('status').textContent"
# A number that changes with any pixel that is drawn.
DRAWN = """(() => { const c = document.getElementById('NAME'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let s = 0; for (let i = 0; i < d.length; i += 4) s = (s * 31 + d[i] + 7 * d[i + 1] + 13 * d[i + 2]) >>> 0; return s; })()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One for all."""
    with browsing(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Page:
    """The browser with what it complained of forgotten."""
    browser.open("about:blank")
    browser.until("location.href == 'about:blank'")
    browser.complaints.clear()
    browser.size(1300, 900)
    return browser


def disks() -> np.ndarray:
    """Counts (20, 23, 24, 25): a bright disk that moves and brightens with the scan."""
    ry, rx, ky, kx = np.ogrid[:20, :23, :24, :25]
    inside = np.hypot(ky - 11.5 - 0.4 * np.sin(0.5 * rx), kx - 12 + 0.4 * np.cos(0.4 * ry)) < 7.7
    made: np.ndarray = np.random.default_rng(4).poisson(np.where(inside, 6.0 + np.sin(0.8 * ry) * np.cos(0.6 * rx), 0.1)).astype(np.uint16)
    return made


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a page on a scan that takes a few seconds, and its process."""
    np.save(tmp_path / "scan.npy", disks())
    command = [sys.executable, "-m", "exitwave", "live", str(tmp_path / "scan.npy"), *KNOWN.split(), "--rate", "220", "--no-browser", "--save-to",
               str(tmp_path), "--no-hash"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            told = re.search(r"http://\S+", line)
            assert told is not None, line + process.stdout.read()
            yield told[0], process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()


def chosen(page: Page, name: str, value: str) -> None:
    """What a person does with a drop-down list."""
    page.run(f"(() => {{ const b = document.getElementById('{name}'); b.value = '{value}'; b.dispatchEvent(new Event('change')); }})()")


def drawn(page: Page, name: str) -> int:
    return int(page.run(DRAWN.replace("NAME", name)))


def text(name: str) -> str:
    return f"document.getElementById('{name}').textContent"


def middle(page: Page, name: str) -> tuple[float, float, float]:
    """Centre and side of a canvas on the screen, scrolled to."""
    box = page.run(f"(() => {{ const e = document.getElementById('{name}'); e.scrollIntoView(); const r = e.getBoundingClientRect();"
                   " return [r.x + r.width / 2, r.y + r.height / 2, r.width]; })()")
    return float(box[0]), float(box[1]), float(box[2])


def test_an_operator_watches_a_scan(page: Page, address: tuple[str, subprocess.Popen[str]], tmp_path: Path) -> None:
    url, process = address
    page.open(url)
    early = page.until(f"{REACHED} > 0 && {REACHED}")
    assert "token" not in page.run("location.href")  # nothing to be read over a shoulder
    later = page.until(f"{REACHED} > {early} && {REACHED}")
    assert 0 < early < later
    page.until(f"{REACHED} == 100 && {STATUS} == 'complete'", 20)

    before = drawn(page, "image")
    chosen(page, "method", "parallax")
    page.until(f"{TITLE}.startsWith('parallax')")
    page.until(f"{DRAWN.replace('NAME', 'image')} != {before}")
    switched = drawn(page, "image")

    chosen(page, "knob-C10_A", "12.5")
    page.until("document.querySelector('.said').textContent == 'underfocus 12.5 nm'")
    page.until(f"{DRAWN.replace('NAME', 'image')} != {switched}")

    shown = drawn(page, "detector")
    x, y, side = middle(page, "pattern")
    outer = page.run("Number(document.getElementById('outer').value)")
    page.drag((x + 4, y + 3), (x + 0.2 * side, y))  # the whole detector
    page.until(f"{DRAWN.replace('NAME', 'detector')} != {shown}")
    page.run("document.getElementById('pattern').focus()")
    page.key("+", 187)
    page.until(f"Number(document.getElementById('outer').value) > {outer}")

    page.run("document.getElementById('save').click()")
    page.until("document.getElementById('word').textContent.startsWith('saved as')")
    saved = read_result(next(tmp_path.glob("exitwave-parallax-*.h5")))
    assert saved.calibration.aberrations["C10_A"].value == pytest.approx(-125.0)

    page.run("document.getElementById('theme').click()")
    theme = page.run("document.documentElement.dataset.theme")
    page.run("window.before = true; location.reload()")
    page.until(f"!window.before && {TITLE}.startsWith('parallax') && document.getElementById('method').value == 'parallax'")
    assert page.run("document.documentElement.dataset.theme") == theme
    page.until("document.getElementById('knob-C10_A').value == '12.5'")

    page.until(f"{DRAWN.replace('NAME', 'image')} != {before}")
    kept = drawn(page, "image")
    process.kill()
    page.until(f"{STATUS}.includes('no connection')")
    assert drawn(page, "image") == kept  # the image stays
    time.sleep(0.2)
    real = [text for text in page.complaints if "ERR_CONNECTION_REFUSED" not in text and "WebSocket" not in text]
    assert not real


class Says:
    """Something to show that says what it is given, and keeps what it is told."""

    def __init__(self, *messages: bytes) -> None:
        self.messages, self.told, self.listener = messages, list[Any](), None

    def open(self) -> None:
        return None

    close = open

    def listen(self, listener: Any) -> None:
        self.listener = listener
        for message in self.messages:
            listener(unpacked(message)[0]["kind"], message)

    def set(self, change: Change) -> None:
        self.told.append(dict(change.values))

    def do(self, command: Command) -> str:
        self.told.append(command.name)
        return ""


def a_fit(done: int) -> list[bytes]:
    """What a fit sends after so many iterations."""
    rng = np.random.default_rng(done)
    phase, probe = rng.normal(size=(15, 18)), np.exp(1j * rng.normal(size=(16, 32))) * rng.random((16, 32))
    header = {"reached": 1.0, "scan": [15, 18], "pitch_A": [0.5, 0.6], "unit": "rad", "view": "plane", "title": "phase", "sigma": 0.0}
    status = {"scene": "fit", "name": "a fit", "status": "running", "because": "", "busy": "", "note": "", "notes": 0, "can": ["stop"], "layers": 3,
              "part": done / 40, "iteration": done, "iterations": 40, "each_s": 2.0, "planes": [["phase", "phase"], ["slices", "slice by slice"]],
              "plane": "slices", "layer": None, "loss": 100.0 / done, "held_out": 110.0 / done, "settings": None}
    losses = 100.0 / np.arange(1, done + 1, dtype=np.float32)
    return [packed("status", status, {}), packed("image", header, {"image": phase, "seen": np.full(34, 255, np.uint8)}),
            packed("history", {}, {"loss": losses, "held_out": 1.1 * losses}), packed("spectrum", {}, {}),
            packed("probe", {"pitch_A": [0.4, 0.4], "shares": [0.9, 0.1]}, {"image": np.abs(probe), "angle": np.angle(probe)}),
            packed("timing", {"lines": 4, "dwell_us": 5.0, "rms_us": 1.0},
                   {"late_us": np.array([0.0, 2.0, -1.0, 0.0], np.float32), "error_us": np.array([0.5, 0.5, 0.5, -1.0], np.float32)})]


def test_a_fit_is_watched_and_stopped(page: Page) -> None:
    shows = Says(*a_fit(3))
    with served(shows) as port:
        page.open(f"http://127.0.0.1:{port}/?token={TOKEN}")
        page.until(f"{REACHED} == 7.5 && {text('iteration')} == '3 of 40'")
        assert page.run(text("left")) == "74 s" and page.run(text("layer-said")) == "2 of 3"
        assert not page.run("document.getElementById('stop').disabled") and page.run("document.getElementById('save').hidden")
        before = {name: drawn(page, name) for name in ("image", "history", "probe", "timing")}
        for message in a_fit(20):
            shows.listener(unpacked(message)[0]["kind"], message)
        page.until(f"{text('iteration')} == '20 of 40'")
        for name in ("image", "history", "probe"):
            page.until(f"{DRAWN.replace('NAME', name)} != {before[name]}")
        page.run("(() => { const l = document.getElementById('layer'); l.value = 2; l.dispatchEvent(new Event('input')); })()")
        page.run("document.getElementById('stop').click()")
        until(lambda: shows.told == ["stop", {"layer": 2}] or shows.told == [{"layer": 2}, "stop"])
        assert not page.complaints
    page.until(f"{STATUS}.includes('no connection')")


def test_frames_follow_the_cursor_and_the_keyboard(page: Page) -> None:
    disk = ArrayFrames(array=disks())
    shows = Frames(Dataset4D(frames=disk, calibration=CALIBRATION, origin={}), None, "a scan", 2**26)
    with served(shows) as port:
        shows.open()
        page.open(f"http://127.0.0.1:{port}/?token={TOKEN}")
        page.until(f"{REACHED} == 100 && {text('which')} == 'mean'")
        mean, image = drawn(page, "pattern"), drawn(page, "image")
        page.run("window.scrollTo(0, 0)")
        x, y, _ = middle(page, "image")
        page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        page.until(f"{text('which')} == 'of row 10, column 11'")
        page.until(f"{DRAWN.replace('NAME', 'pattern')} != {mean}")
        page.run("document.getElementById('image').focus()")
        page.key("ArrowRight", 39)
        page.until(f"{text('which')} == 'of row 10, column 12'")
        page.key("Enter", 13)  # held: the pointer may leave
        page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x + 60, y=y + 60)
        page.until(f"{text('which')} == 'of row 10, column 12, held'")
        page.run("document.getElementById('pattern').focus()")
        for _ in range(3):
            page.key("-", 189)
        page.until(f"{DRAWN.replace('NAME', 'image')} != {image} && {REACHED} == 100")
        page.run("document.getElementById('mean').click()")
        page.until(f"{text('which')} == 'mean'")
        assert not page.complaints
        shows.close()


def test_the_widget_draws_in_a_page_of_another(page: Page) -> None:
    """A notebook in short: an element and a model whose messages this test carries."""
    shows = Says(*a_fit(3))
    pump = Pump(shows, lambda content, buffers: waiting.append((dict(content), buffers)))
    waiting: list[tuple[dict[str, Any], list[bytes]]] = []
    page.open("about:blank")
    page.run("""(() => { window.out = []; window.heard = new Set(); document.body.style.width = '700px';
      window.model = { send: (m) => window.out.push(m), on: (_, f) => window.heard.add(f), off: (_, f) => window.heard.delete(f) };
      const bytes = (t) => new DataView(Uint8Array.from(atob(t), (c) => c.charCodeAt(0)).buffer);
      window.tell = (content, data) => heard.forEach((f) => f(content, data.map(bytes))); })()""")
    page.run(f"(async () => {{ const url = URL.createObjectURL(new Blob([{json.dumps(bundled())}], {{ type: 'text/javascript' }}));"
             " const made = (await import(url)).default; window.end = await made.render({ model, el: document.body }); })()")
    inside = "document.body.firstElementChild.shadowRoot.getElementById"
    pump.open()
    for _ in range(100):
        for content in page.run("window.out.splice(0)"):
            pump.hear(content)
        while waiting:
            content, buffers = waiting.pop(0)
            page.run(f"tell({json.dumps(content)}, {json.dumps([base64.b64encode(data).decode() for data in buffers])})")
        if page.run(f"{inside}('iteration').textContent") == "3 of 40" and "stop" in shows.told:
            break
        page.run(f"{inside}('stop').disabled || {inside}('stop').click()")
        time.sleep(0.02)
    assert "stop" in shows.told
    page.until(DRAWN.replace("document.getElementById('NAME')", f"{inside}('image')"))
    assert page.run(f"getComputedStyle({inside}('image')).height") == "440px" and not page.complaints
    page.run("window.end()")
    assert page.run("window.heard.size") == 0
