"""The live page in a real Chromium: opens, grows, switches method, refocuses, draws a detector, saves, survives a reload and a dead source."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exitwave.cli.main import run
from exitwave.io import read_result
from tests.chromium import Page, browsing, found

for package in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(package, reason="the extra `live` is not installed")
pytestmark = pytest.mark.skipif(found() is None, reason="there is no Chromium on this machine (Debian: apt install chromium)")

ROOT = Path(__file__).parents[2]
SCAN = "--energy-eV 200e3 --semiangle-mrad 20 --aberration C10_A=-200 --dose-e-per-A2 4000 --scan-shape 20,23 --detector-px 24,24 " \
    "--detector-mrad 2.6 --scan-step-A 0.6"
REACHED = "Number(document.querySelector('.progress').getAttribute('aria-valuenow'))"
TITLE = "document.getElementById('title').textContent"
STATUS = "document.getElementById('status').textContent"
# A number that changes with any pixel that is drawn.
DRAWN = """(() => { const c = document.getElementById('NAME'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let s = 0; for (let i = 0; i < d.length; i += 4) s = (s * 31 + d[i] + 7 * d[i + 1] + 13 * d[i + 2]) >>> 0; return s; })()"""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "scan.h5"
    assert run(["simulate", "MoS2", "-o", str(path), *SCAN.split()]) == 0
    return path


@pytest.fixture
def address(scan: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a page on a scan that takes a few seconds, and its process."""
    command = [sys.executable, "-m", "exitwave", "live", str(scan), "--rate", "120", "--no-browser", "--save-to", str(tmp_path), "--no-hash"]
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


def middle(page: Page, name: str) -> tuple[float, float, float]:
    """Centre and side of a canvas on the screen, scrolled to."""
    box = page.run(f"(() => {{ const e = document.getElementById('{name}'); e.scrollIntoView(); const r = e.getBoundingClientRect();"
                   " return [r.x + r.width / 2, r.y + r.height / 2, r.width]; })()")
    return float(box[0]), float(box[1]), float(box[2])


def test_an_operator_watches_a_scan(address: tuple[str, subprocess.Popen[str]], tmp_path: Path) -> None:
    url, process = address
    with browsing(tmp_path / "profile") as page:
        page.size(1300, 900)
        page.open(url)
        early = page.until(f"{REACHED} > 0 && {REACHED}")
        assert "token" not in page.run("location.href")  # nothing to be read over a shoulder
        later = page.until(f"{REACHED} > {early} && {REACHED}")
        assert 0 < early < later
        page.until(f"{REACHED} == 100 && {STATUS} == 'complete'", 20)

        before = drawn(page, "image")
        chosen(page, "method", "parallax")
        page.until(f"{TITLE}.startsWith('parallax')")
        switched = drawn(page, "image")
        assert switched != before

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

        kept = drawn(page, "image")
        process.kill()
        page.until(f"{STATUS}.includes('no connection')")
        assert drawn(page, "image") == kept  # the image stays
        time.sleep(0.2)
        real = [text for text in page.complaints if "ERR_CONNECTION_REFUSED" not in text and "WebSocket" not in text]
        assert not real
