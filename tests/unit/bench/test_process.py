"""Processes of a benchmark: answers, deaths that are told, memory that is seen."""

import sys
import textwrap
from pathlib import Path

import pytest

from exitwave.bench.direct import PEERS, peer_python
from exitwave.bench.process import THREAD_VARIABLES, ProcessDied, environment, server, status_bytes, timed, watched

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
SERVING = textwrap.dedent("""
    import sys
    sys.path.insert(0, sys.argv[1])
    from serve import serve

    def fill(asked):
        print("words that are no answer")
        return sum(bytearray(b"\\1") * asked["size"])

    def fail(asked):
        raise ValueError("this cannot be done")

    serve({"fill": fill, "fail": fail}, {"name": "helper"})
""")


def test_a_server_answers_with_seconds_memory_and_result() -> None:
    with server([sys.executable, "-c", SERVING, str(PEERS)], 1) as helper:
        assert helper.about == {"name": "helper"}
        large = helper.ask("fill", {"size": 60_000_000})
        small = helper.ask("fill", {"size": 1000})
    assert (large["result"], small["result"]) == (60_000_000, 1000)
    assert large["seconds"] > 0 and large["peak_bytes"] > 60_000_000
    if sys.platform == "linux":
        assert small["peak_bytes"] < large["peak_bytes"] - 40_000_000, "each job has a peak of its own"


def test_a_server_that_fails_says_why() -> None:
    with server([sys.executable, "-c", SERVING, str(PEERS)], 1) as helper, pytest.raises(ProcessDied, match="this cannot be done"):
        helper.ask("fail")
    with pytest.raises(ProcessDied, match="no module named here"), server([sys.executable, "-c", "raise SystemExit('no module named here')"], 1):
        pass


@LINUX
def test_a_whole_process_is_timed_and_its_peak_is_its_own() -> None:
    small, large = (f"import sys, time; sys.stdin.read(); x = bytearray(b'1') * {size}; time.sleep(0.05)" for size in (1000, 80_000_000))
    _, little = timed([sys.executable, "-c", small], 1, "words")
    took, much = timed([sys.executable, "-c", large], 1)
    assert took > 0 and 70_000_000 < much - little < 100_000_000
    with pytest.raises(ProcessDied, match="broken"):
        timed([sys.executable, "-c", "raise SystemExit('broken')"], 1)


@LINUX
def test_anonymous_memory_is_watched_from_the_line_on() -> None:
    code = textwrap.dedent("""
        import sys, time
        before = bytearray(b"1") * 30_000_000
        print("ready", flush=True)
        sys.stdin.readline()
        after = bytearray(b"1") * 50_000_000
        time.sleep(0.1)
        print('{"kept": %d}' % len(after))
    """)
    _, base, peak, said = watched([sys.executable, "-c", code], 1)
    assert base > 30_000_000 and 45_000_000 < peak - base < 70_000_000 and said == {"kept": 50_000_000}
    assert status_bytes(2**22 + 1, "RssAnon") == 0
    with pytest.raises(ProcessDied, match="before it began"):
        watched([sys.executable, "-c", "raise SystemExit('before it began')"], 1)


def test_peers_get_threads_but_not_our_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    ours, peers = environment([sys.executable], 3), environment([str(tmp_path / "python")], 3)
    assert all(ours[name] == peers[name] == "3" for name in THREAD_VARIABLES)
    assert "PYTHONPATH" not in peers and ours["PYTHONPATH"].endswith("/somewhere")


def test_a_peer_is_found_where_it_is_told_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXITWAVE_PEERS", str(tmp_path))
    assert peer_python("quantem") is None
    python = tmp_path / "quantem" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert peer_python("quantem") == python
