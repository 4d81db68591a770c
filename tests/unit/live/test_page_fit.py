"""An iterative fit on the page: watching changes nothing, a stop from the browser leaves a result that can be gone on with."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from exitwave.cli.main import run
from exitwave.cli.serving import Serving
from exitwave.cli.watched import watched
from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames
from exitwave.io import read_result
from exitwave.live.page import Change, Command
from exitwave.live.page.board import Newest
from exitwave.live.page.fitting import Fitting
from exitwave.live.page.wire import unpacked
from exitwave.recon.iterative.checkpoint import checkpoint_path
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.result import projected, scan_image
from exitwave.recon.iterative.run import Kept, Prepared, follow, prepare
from tests.iterative import calibration
from tests.unit.live.page_scan import TOKEN, Heard, until

RASTER, FRAME = (7, 8), (18, 20)
OPTIONS = PtychoOptions(iterations=6, modes=2, batch=8, checkpoint_every=0, patience=0, slices=2, thickness_A=8.0)


def disks(raster: tuple[int, int]) -> np.ndarray:
    """A disk in every frame, with noise."""
    y, x = np.indices(FRAME)
    mean = 40.0 * (np.hypot(y - 8.3, x - 10.4) < 4.5) + 0.2
    made: np.ndarray = np.random.default_rng(3).poisson(mean, (*raster, *FRAME)).astype(np.uint16)
    return made


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """No specimen: enough to step on."""
    return prepare(ArrayFrames(array=disks(RASTER)), calibration(FRAME, semiangle_px=4.5), None, OPTIONS, memory_bytes=2**28)


def test_a_stop_ends_the_fit_where_it_can_go_on_and_watching_changes_nothing(prepared: Prepared) -> None:
    page, heard = Fitting("a fit"), Heard()
    page.listen(heard)
    page.open()
    try:
        with pytest.raises(InputError, match="no iterations under way"):
            page.do(Command(name="stop"))
        page.stage("reading", 3, 4)
        assert heard.header("status")["busy"] == "reading 3 of 4" and heard.header("status")["part"] == 0.75
        page.begins(prepared)

        def took(kept: Kept) -> None:
            if len(kept.history) == 3:
                assert "--resume" in page.do(Command(name="stop"))
            page.took(kept)

        stopped = follow(prepared, None, took)
        assert stopped.status == "interrupted" and len(stopped.kept.history) == 3
        until(lambda: len(heard.arrays("history")["loss"]) == 3 if "history" in heard.last else False)
    finally:
        page.close()
    gone_on, straight = follow(prepared, stopped.kept), follow(prepared)
    for name, value in straight.leaves.items():
        assert np.array_equal(gone_on.leaves[name].numpy(), value.numpy()), name
    assert [turn["loss"] for turn in gone_on.kept.history] == [turn["loss"] for turn in straight.kept.history]


def test_what_is_drawn_is_what_the_fit_has(prepared: Prepared) -> None:
    page, heard = Fitting("a fit"), Heard()
    page.listen(heard)
    page.open()
    try:
        page.begins(prepared)
        outcome = follow(prepared, None, page.took)
        until(lambda: heard.header("status").get("iteration") == 6 and len(heard.arrays("history")["loss"]) == 6)
        state = outcome.kept.state.leaves
        layers = scan_image(prepared.problem.setup, state["phase"].real.mean(0))
        level = np.ptp(projected(layers)) / 65535
        assert np.abs(heard.arrays("image")["image"] - projected(layers)).max() <= level
        assert heard.header("image")["pitch_A"] == pytest.approx(list(layers.pitch_A))
        history = heard.arrays("history")
        assert history["held_out"] == pytest.approx([turn["held_out"] for turn in outcome.kept.history], rel=1e-6)
        shares = heard.header("probe")["shares"]
        assert len(shares) == 2 and sum(shares) == pytest.approx(1.0)
        assert heard.arrays("probe")["angle"].shape == heard.arrays("probe")["image"].shape
        for layer in (0, 1):
            page.set(Change(values={"plane": "slices", "layer": layer}))
            wanted = layers.slices[layer] - layers.slices[layer].mean()
            until(lambda layer=layer: heard.header("image")["title"] == f"phase of slice {layer + 1} of 2")
            assert np.abs(heard.arrays("image")["image"] - wanted).max() <= np.ptp(wanted) / 65535
        for values in ({"plane": "probe"}, {"layer": 2}, {"C10_A": 1.0}):
            with pytest.raises(InputError):
                page.set(Change(values=values))
        page.stage("residuals", 1, 2)
        with pytest.raises(InputError, match="residuals"):
            page.do(Command(name="stop"))
        page.ended("complete", "written to fit.h5")
        assert heard.header("status")["because"] == "written to fit.h5" and heard.header("status")["can"] == []
    finally:
        page.close()


def test_reconstruct_live_is_stopped_from_a_browser(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("starlette", "uvicorn", "websockets"):
        pytest.importorskip(package, reason="the extra `live` is not installed")
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    scan, fit = tmp_path / "scan.npy", tmp_path / "fit.h5"
    np.save(scan, disks((6, 7)))
    known = "--energy-eV 80e3 --semiangle-mrad 24 --detector-mrad 5.3 --scan-step-A 1 --rotation-deg 9 --no-transpose --aberration C10_A=-60".split()
    assert run(["reconstruct", str(scan), "--method", "ssb", "-o", str(fit), "--live", *known]) == 2
    assert "--live is for --method ptycho" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    last: dict[str, dict[str, object]] = {}

    def listening() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    def watch() -> None:
        until(listening)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        with suppress(ConnectionClosed), connect(f"ws://127.0.0.1:{port}/ws", additional_headers=bearer, compression=None, max_size=2**24) as link:
            for got in link:
                if isinstance(got, str):
                    link.send('{"type":"shown"}')
                    continue
                header, _ = unpacked(got)
                if header["kind"] == "history" and "history" not in last:
                    link.send(json.dumps({"type": "stop"}))
                last[header["kind"]] = header

    viewer = threading.Thread(target=watch, daemon=True)
    viewer.start()
    status = run(["reconstruct", str(scan), "--method", "ptycho", "-o", str(fit), "--iterations", "5000", "--patience", "0", "--live", "--no-browser",
                  "--port", str(port), "--token", TOKEN, *known])
    viewer.join(timeout=10)
    assert status == 3 and checkpoint_path(str(fit)).exists()
    assert read_result(fit).metrics["status"] == "interrupted"
    assert last["status"]["status"] == "stopped" and str(fit) in str(last["status"]["because"])


def test_a_stop_in_the_last_iteration_leaves_a_whole_fit(prepared: Prepared) -> None:
    page = Fitting("a fit")
    page.begins(prepared)

    def took(kept: Kept) -> None:
        if len(kept.history) == OPTIONS.iterations:
            page.do(Command(name="stop"))
        page.took(kept)

    assert follow(prepared, None, took).status == "iterations done"


def test_viewers_are_told_of_whatever_ends_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()

    @contextmanager
    def beside(shows: Fitting, serving: Serving) -> Iterator[None]:
        shows.listen(heard)
        yield

    monkeypatch.setattr("exitwave.cli.watched.beside", beside)
    for error, words in ((OSError("the disk is full"), "the disk is full"), (RuntimeError("a bug"), "please report")):
        with pytest.raises(type(error)), watched("a fit", Serving()):
            raise error
        assert heard.header("status")["status"] == "broken" and words in heard.header("status")["because"]


def test_nothing_rests_once_somebody_waits_for_it() -> None:
    drawn: list[int] = []

    def work(number: int) -> None:
        drawn.append(number)
        made.rest(60.0)

    made = Newest(work, "test")
    made.open()
    made.give(1)
    until(lambda: drawn)
    made.give(2)
    assert made.settle(20.0) and drawn == [1, 2]
    made.close()
