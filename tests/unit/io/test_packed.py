"""Packed events: what was written comes back, and what is damaged, missing or repeated around it is counted."""

import os
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.core.errors import FormatError, InputError
from exitwave.data import EventChunk, LiveStream
from exitwave.io.streams import PackedFile, PackedStream, Packing, Recorder
from exitwave.io.streams.packed import HEAD, START, closing, encode_block, encode_header
from tests.packed import COLUMNS, PACKING, some

UNCLOSED = {"streams that ended without saying so": 1}


class Pieces:
    """Bytes that come in pieces of some lengths, with silence between."""

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(cuts), len(data)]
        self.name, self._pieces = "pieces", [data[a:b] for a, b in pairwise(edges)]

    def readinto(self, buffer: memoryview) -> int | None:
        if not self._pieces:
            return 0
        piece = self._pieces[0][: len(buffer)]
        self._pieces[0] = self._pieces[0][len(piece) :]
        if not piece:
            self._pieces.pop(0)
            return None
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._pieces = []


def blocks(*sizes: int, first: int = 0) -> list[bytes]:
    return [encode_block(PACKING, some(n, i), first + i).tobytes() for i, n in enumerate(sizes)]


def read(data: bytes, cuts: list[int] | None = None) -> tuple[list[EventChunk], PackedStream]:
    stream = PackedStream(Pieces(data, cuts or []), wait_s=0.2)
    return [chunk for chunk in stream.chunks() if len(chunk)], stream


def same(got: EventChunk, want: EventChunk) -> bool:
    return all(np.array_equal(getattr(got, name), getattr(want, name)) for name in ("position", "pixel", *COLUMNS))


def test_a_file_is_what_the_description_says_byte_by_byte(tmp_path: Path) -> None:
    """Written here from the description, with struct alone."""
    text = b'{"version": 1, "frame": [9, 14], "scan": null, "columns": {"energy": "<u2"}, "more": [1]}'
    text += b" " * (-len(text) % 8)
    columns = struct.pack("<3I4x", 4, 0xFFFFFFFF, 70000) + struct.pack("<3I4x", 125, 0, 3) + struct.pack("<3H2x", 1, 2, 65535)
    start = b"\x95EWB" + struct.pack("<IQqIII", 3, 0, -5, 0, crc32(columns), 0)
    head = b"\x95EWEVT\r\n" + struct.pack("<II", len(text), crc32(text))
    (tmp_path / "a").write_bytes(head + text + start + struct.pack("<I", crc32(start)) + columns)
    (chunk,) = PackedFile(tmp_path / "a").chunks()
    assert chunk.position.tolist() == [4, -1, 70000]
    assert chunk.pixel.tolist() == [125, 0, 3]
    assert chunk.energy is not None and chunk.energy.tolist() == [1, 2, 65535]
    assert chunk.time_ns is None
    assert (chunk.position.dtype, chunk.pixel.dtype, chunk.energy.dtype) == (np.int32, np.int32, np.uint16)


@given(sizes=st.lists(st.integers(0, 300), max_size=6), cuts=st.lists(st.integers(0, 40_000), max_size=20))
def test_events_come_back_wherever_the_bytes_are_cut(sizes: list[int], cuts: list[int]) -> None:
    data = encode_header(PACKING) + b"".join(blocks(*sizes)) + closing(len(sizes))
    got, stream = read(data, [min(cut, len(data)) for cut in cuts])
    assert all(same(a, some(n, i)) for a, (i, n) in zip(got, ((i, n) for i, n in enumerate(sizes) if n), strict=True))
    assert (stream.complete, dict(stream.rejected)) == (True, {})
    assert (stream.packing.calibration, stream.packing.energy, stream.packing.time) == (PACKING.calibration, PACKING.energy, PACKING.time)


def test_columns_are_the_bytes_that_came() -> None:
    got, _ = read(encode_header(PACKING) + b"".join(blocks(400)) + closing(1))
    assert all(not getattr(got[0], name).flags.owndata and getattr(got[0], name).ctypes.data % 8 == 0 for name in ("position", "pixel", *COLUMNS))


def test_a_time_of_the_block_is_added_to_its_events() -> None:
    data = encode_header(PACKING) + encode_block(PACKING, some(50), 0, base_ns=10**12).tobytes() + closing(1)
    got, _ = read(data)
    want = some(50).time_ns
    assert got[0].time_ns is not None and want is not None and np.array_equal(got[0].time_ns, want + 10**12)


def test_lost_late_repeated_and_damaged_blocks_are_told_and_the_rest_is_read() -> None:
    parts = blocks(10, 11, 12, 13, 14, 15)
    damaged, torn = bytearray(parts[4]), parts[5][:100]
    damaged[HEAD.size + 9] ^= 4
    order = [parts[0], parts[2], parts[1], parts[2], bytes(damaged), torn, *blocks(0, 0, 0, 0, 0, 0, 0, 0, 40)[8:]]
    got, stream = read(encode_header(PACKING) + b"".join(order) + closing(9))
    assert [len(chunk) for chunk in got] == [10, 12, 11, 40]
    assert stream.rejected == {"events in damaged blocks": 14 + 15, "blocks missing": 3, "blocks sent twice": 1}
    assert stream.complete


def test_damage_of_any_byte_costs_one_block_at_most() -> None:
    sizes = (20, 1, 33)
    start, parts = encode_header(PACKING), blocks(*sizes)
    for at in range(0, sum(map(len, parts)), 3):
        body = bytearray(b"".join(parts))
        body[at] ^= 0x10
        got, stream = read(start + body + closing(3))
        missing = [n for n in sizes if n not in [len(chunk) for chunk in got]]
        assert len(missing) == 1 and len(got) == 2
        assert stream.complete and sum(stream.rejected.values()) > 0


@given(cut=st.integers(0, 4000))
def test_a_stream_cut_anywhere_holds_every_block_before(cut: int) -> None:
    start, parts = encode_header(PACKING), blocks(30, 40, 50)
    ends = np.cumsum([len(part) for part in parts])
    cut = min(cut, int(ends[-1]))
    got, stream = read(start + b"".join(parts)[:cut])
    whole = int(np.searchsorted(ends, cut, side="right"))
    left = cut - (int(ends[whole - 1]) if whole else 0)
    assert [len(chunk) for chunk in got] == [30, 40, 50][:whole]
    assert stream.rejected == UNCLOSED | ({"bytes of an unfinished block at the end": left} if left else {})
    assert not stream.complete


def test_arbitrary_bytes_between_blocks_are_passed_over() -> None:
    rng = np.random.default_rng(0)
    parts, noise = blocks(*[25] * 40), [rng.integers(0, 256, n, np.uint8).tobytes() for n in rng.integers(0, 5000, 40)]
    noise[7] = b"\x95EWB" * 30
    got, stream = read(encode_header(PACKING) + b"".join(a + b for a, b in zip(noise, parts, strict=True)) + closing(40), [333, 9999, 70_001])
    assert all(same(chunk, some(25, i)) for i, chunk in enumerate(got))
    assert (len(got), stream.rejected) == (40, {"bytes between blocks": sum(map(len, noise))})


@pytest.mark.parametrize(("damage", "says"), [
    (lambda b: b[:12], "ends inside its header"), (lambda b: b[:40], "damaged"), (lambda b: b[:30] + b"x" + b[31:], "damaged"),
    (lambda b: b"", "sent nothing"), (lambda b: b"P" + b[1:], "does not begin"),
])
def test_a_header_that_is_damaged_says_so(damage, says: str) -> None:
    with pytest.raises((FormatError, InputError), match=says):
        read(damage(encode_header(PACKING)))


@pytest.mark.parametrize(("text", "says"), [(b'{"version": 2}', "another version"), (b'{"version": 1}', "lacks"), (b"[1]", "lacks"),
                                            (b"\xff\xfe", "lacks"),
                                            (b'{"version": 1, "frame": [0, 5], "scan": null, "columns": {}}', "does not have|do not have"),
                                            (b'{"version": 1, "frame": [4, 5], "scan": null, "columns": {"time_ns": "<f8"}}', "do not have"),
                                            (b'{"version": 1, "frame": [4.5, 5], "scan": null, "columns": {}}', "no whole numbers"),
                                            (b'{"version": 1, "frame": [4, 5], "scan": null, "columns": {}, "dead_px": [[4, 0]]}', "do not have"),
                                            (b'{"version": 1, "frame": 4, "scan": null, "columns": {}}', "lacks")])
def test_a_header_that_says_something_else_is_refused(text: bytes, says: str) -> None:
    text += b" " * (-len(text) % 8)
    with pytest.raises(FormatError, match=says):
        read(START.pack(b"\x95EWEVT\r\n", len(text), crc32(text)) + text)


def test_events_that_cannot_be_packed_are_refused() -> None:
    one = np.zeros(1, np.int64)
    for wrong, says in ((EventChunk(position=one + 2**31, pixel=one), "position"), (EventChunk(position=one, pixel=one - 1), "pixel"),
                        (EventChunk(position=np.zeros(2**18 + 1, np.int32), pixel=np.zeros(2**18 + 1, np.int32)), "too many")):
        with pytest.raises(InputError, match=says):
            encode_block(Packing(frame=(3, 4)), wrong, 0)
    with pytest.raises(InputError, match="no energy"):
        encode_block(PACKING, EventChunk(position=one, pixel=one, time_ns=one), 0)
    energies = Packing(frame=(3, 4), columns={"energy": "<u2"})
    for wrong in (np.array([65536]), np.array([-1]), np.array([0.5])):
        with pytest.raises(InputError, match=r"values of energy that packed events cannot hold here.*uint16, 0 to 65535"):
            encode_block(energies, EventChunk(position=one, pixel=one, energy=wrong), 0)
    assert encode_block(energies, EventChunk(position=one, pixel=one, energy=np.array([65535])), 0)[-8:].tolist() == [255, 255, 0, 0, 0, 0, 0, 0]
    with pytest.raises(InputError, match="what JSON cannot"):
        encode_header(Packing(frame=(3, 4), calibration={"a": np.zeros(3)}))
    with pytest.raises(InputError, match="first block"):
        Packing(frame=(3, 4), first_block=-1)
    with pytest.raises(InputError, match="no scan like this"):
        Packing(frame=(3, 4), scan=(0, 5))
    packed = encode_block(Packing(frame=(3, 4)), EventChunk(position=one - 7, pixel=one), 0)
    assert packed[HEAD.size : HEAD.size + 4].tobytes() == b"\xff" * 4


@pytest.mark.parametrize("block", [7, 64, 2**16])
def test_a_recording_gives_back_what_was_written(tmp_path: Path, block: int) -> None:
    path, pieces = tmp_path / "run.events", [some(n, i) for i, n in enumerate((0, 3, 130, 64, 1, 500))]
    with Recorder(path, PACKING, block_events=block) as recorder:
        for i, piece in enumerate(pieces):
            recorder.write(piece)
            if i == 3:
                recorder.flush(to_disk=True)
                flushed = PackedFile(path)
                assert sum(map(len, flushed.chunks())) == recorder.events == 197
                assert flushed.rejected == UNCLOSED
    file = PackedFile(path)
    assert isinstance(file, LiveStream)
    for _ in range(2):
        got = list(file.chunks())
        for name in ("position", "pixel", *COLUMNS):
            assert np.array_equal(np.concatenate([getattr(c, name) for c in got]), np.concatenate([getattr(p, name) for p in pieces])), name
    assert (file.complete, dict(file.rejected), recorder.events) == (True, {}, 698)
    assert max(map(len, got)) <= block


def interrupted(path: Path) -> None:
    with Recorder(path, PACKING, force=True) as recorder:
        recorder.write(some(5))
        raise KeyError


def test_recordings_refuse_what_they_cannot_do(tmp_path: Path) -> None:
    path = tmp_path / "run.events"
    Recorder(path, PACKING).close()
    with pytest.raises(InputError, match="exists"):
        Recorder(path, PACKING)
    with pytest.raises(InputError, match="cannot be written"):
        Recorder(tmp_path / "none" / "a", PACKING)
    recorder = Recorder(path, PACKING, force=True)
    recorder.close()
    with pytest.raises(InputError, match="is over"):
        recorder.write(some(1))
    with pytest.raises(KeyError):
        interrupted(path)  # what failed meanwhile closes nothing
    file = PackedFile(path)
    assert (sum(map(len, file.chunks())), file.complete) == (5, False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"stopped: the disk refuses more.*No space left") as told:
        Recorder("/dev/full", PACKING, force=True)
    assert "\n" not in str(told.value)


FAULTS = """
import os, random, resource, signal, sys, time
from threading import Thread
from tests.packed import PACKING, some
from exitwave.core.errors import InputError
from exitwave.io.streams import Recorder
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
recorder = Recorder(sys.argv[1] + "/full", PACKING, block_events=100)
try:
    for i in range(10**6):
        recorder.write(some(100, i))
        recorder.flush()
except InputError as error:
    print(recorder.events, error)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
parts = [some(1 + i % 90, i % 50) for i in range(450)]
def write(k, told):
    recorder = Recorder(f"{sys.argv[1]}/{k}", PACKING, block_events=700)
    for i in range(10**9):
        recorder.write(parts[i % 450])
        if i % 3 == 0:
            recorder.flush()
            os.write(told, k.to_bytes(8, "little") + recorder.events.to_bytes(8, "little"))
            time.sleep(random.uniform(0, 0.0005))
random.seed(5)
sys.setswitchinterval(1e-4)
for first in range(0, 200, 10):
    told, child_tells = os.pipe()
    child = os.fork()
    if child == 0:
        for k in range(first, first + 10):
            Thread(target=write, args=(k, child_tells)).start()
        time.sleep(60)
    os.close(child_tells)
    data = b""
    while len({data[at:at + 8] for at in range(0, len(data), 16)}) < 10:
        data += os.read(told, 16)
    time.sleep(random.uniform(0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(told, 2**16):
        data += more
    flushed = dict.fromkeys(range(first, first + 10), 0)
    for at in range(0, len(data), 16):
        flushed[int.from_bytes(data[at:at + 8], "little")] = int.from_bytes(data[at + 8:at + 16], "little")
    print(*flushed.values(), flush=True)
    os.close(told)
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of recordings that ended badly, and what was told: a line of the one that met a full disk, then numbers flushed before each kill."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork and a limit on a file's size")
    root, folder = Path(__file__).parents[3], tmp_path_factory.mktemp("faults")
    places = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    command = [sys.executable, "-c", FAULTS, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=root, env=places, timeout=120, check=True)
    return folder, done.stdout.splitlines()


def test_where_the_disk_is_full_what_was_flushed_stays(faults: tuple[Path, list[str]]) -> None:
    file, told = PackedFile(faults[0] / "full"), faults[1][0]
    events = sum(map(len, file.chunks()))
    assert events >= 800
    assert told.startswith(f"{events} the recording") and "disk refuses more" in told
    assert file.rejected == UNCLOSED  # ends with a whole block


def test_killed_at_200_moments_nothing_that_was_flushed_is_lost(faults: tuple[Path, list[str]]) -> None:
    """Twenty processes with ten recordings each, every one at a moment of its own when they are killed."""
    folder, flushed = faults[0], [int(number) for line in faults[1][1:] for number in line.split()]
    parts = [some(1 + i % 90, i % 50) for i in range(450)]
    order = {name: np.concatenate([getattr(parts[i % 450], name) for i in range(9000)]) for name in ("position", "pixel", "time_ns")}
    assert len(flushed) == 200 and min(flushed) > 0 and len(set(flushed)) > 20
    between = 0
    for k, least in enumerate(flushed):
        file = PackedFile(folder / str(k))
        chunks = list(file.chunks())
        events = sum(map(len, chunks))
        between += events > least
        assert events >= least
        assert not set(file.rejected) - {*UNCLOSED, "bytes of an unfinished block at the end"}
        for name, want in order.items():
            assert np.array_equal(np.concatenate([getattr(chunk, name) for chunk in chunks]), want[:events]), (k, name)
    assert between > 0  # some were killed between the write and the word of it
