"""Hits become electrons: where and when they were, however late their hits came and wherever the bytes were cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.core.errors import InputError
from exitwave.io.streams import Clusterer, Clustering, Electrons, Hits, begin, decode, one_chip, quad, time_walk_table
from exitwave.io.streams.clusters import in_time
from exitwave.testing.timepix import LitPixels, lit_pixels, tpx3_bytes

FRAME = (512, 512)


def specks(n: int, seed: int = 3, gap: int = 3000, frame: tuple[int, int] = FRAME) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Electrons anywhere, on average `gap` ticks apart."""
    rng = np.random.default_rng(seed)
    return rng.uniform(4, frame[0] - 5, n), rng.uniform(4, frame[1] - 5, n), 640_000 + np.cumsum(rng.integers(1, 2 * gap, n))


def as_hits(lit: LitPixels) -> Hits:
    return Hits(pixel=lit.pixel.astype(np.int32), chip=np.zeros(len(lit.pixel), np.uint8), time=lit.time, tot=lit.tot.astype(np.uint16))


def clustered(data: bytes, cuts: list[int], clustering: Clustering) -> tuple[Electrons, Clusterer, int]:
    state, clusterer, found, hits = begin(), Clusterer(FRAME, clustering), [], 0
    for a, b in pairwise([0, *sorted(cuts), len(data)]):
        piece, _, state = decode(data[a:b], state, quad())
        hits += len(piece)
        found.append(clusterer.add(piece))
    found.append(clusterer.finish())
    names = ("pixel", "time", "energy", "subpixel", "hits")
    return Electrons(**{name: np.concatenate([getattr(part, name) for part in found]) for name in names}), clusterer, hits


def slow_clusters(hits: Hits, width: int, window: int) -> set[tuple[tuple[int, int], ...]]:
    """Each hit in the order of time joins every cluster that it touches and that began within the window; those become one."""
    clusters: list[list[tuple[int, int]]] = []
    for i in np.lexsort((np.arange(len(hits)), hits.time)):
        t, p = int(hits.time[i]), int(hits.pixel[i])
        mine = [(t, p)]
        for cluster in sorted(clusters, key=lambda c: c[0]):
            near = any(t - u <= window and abs(p // width - q // width) <= 1 and abs(p % width - q % width) <= 1 for u, q in cluster)
            if near and t - cluster[0][0] <= window:
                clusters.remove(cluster)
                mine = cluster + mine
        clusters.append(sorted(mine))
    return {tuple(cluster) for cluster in clusters}


def test_electrons_come_back_at_their_places() -> None:
    y, x, time = specks(4000)
    inside = (np.abs(y - 255.5) > 4) & (np.abs(x - 255.5) > 4)
    y, x, time = y[inside], x[inside], time[inside]
    lit = lit_pixels(y, x, time, FRAME)
    electrons, clusterer, hits = clustered(tpx3_bytes(lit, quad(), disorder=100_000, heartbeat=10**6), [1000, 77_777], Clustering())
    assert (clusterer.late, clusterer.held, clusterer.clustered, hits) == (0, 0, len(lit.pixel), len(lit.pixel))
    assert len(electrons) == len(y)
    assert electrons.subpixel is not None and electrons.hits is not None
    at_y, at_x = electrons.pixel // 512 + electrons.subpixel[:, 0], electrons.pixel % 512 + electrons.subpixel[:, 1]
    assert np.abs(electrons.subpixel).max() <= 0.5
    assert np.hypot(at_y - y, at_x - x).max() < 0.25
    assert np.sqrt(np.mean((at_y - y) ** 2)) < 0.06
    assert np.array_equal(electrons.energy, np.bincount(lit.electron, lit.tot))
    assert np.array_equal(electrons.hits, np.bincount(lit.electron))
    assert (np.diff(electrons.time) >= 0).all()
    assert 0 <= (electrons.time - time).min() <= (electrons.time - time).max() <= 40


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), window=st.sampled_from([40, 128, 700]))
def test_clusters_are_those_of_asking_every_pair(seed: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    hits = Hits(pixel=rng.integers(0, 9 * 11, 150).astype(np.int32), chip=np.zeros(150, np.uint8), time=10**6 + rng.integers(0, 9000, 150),
                tot=rng.integers(0, 40, 150).astype(np.uint16))
    clusterer = Clusterer((9, 11), Clustering(window_ns=window * 25 / 16))
    first, rest = (Hits(**{name: getattr(hits, name)[part] for name in ("pixel", "chip", "time", "tot")}) for part in (slice(0, 60), slice(60, None)))
    found = [clusterer.add(first), clusterer.add(rest), clusterer.finish()]
    want = slow_clusters(hits, 11, window)
    assert sum(map(len, found)) == len(want)
    got = sorted((int(t), int(n)) for part in found for t, n in zip(part.time, part.hits, strict=True))
    assert got == sorted((cluster[0][0], len(cluster)) for cluster in want)


@given(cuts=st.lists(st.integers(0, 90_000), max_size=8))
def test_electrons_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    data = tpx3_bytes(lit_pixels(*specks(1500, gap=40), FRAME), quad(), disorder=30_000, packets=90)[:90_000]
    clustering = Clustering(hold_us=30.0)  # some hits come later than that
    want, whole, _ = clustered(data, [], clustering)
    got, cut, hits = clustered(data, cuts, clustering)
    assert whole.late > 0
    assert (cut.late, cut.clustered, cut.clustered + cut.late) == (whole.late, whole.clustered, hits)
    for name in ("pixel", "time", "energy", "subpixel", "hits"):
        assert np.array_equal(getattr(got, name), getattr(want, name)), name


def test_one_wrong_time_makes_no_hit_late_and_a_wrong_clock_not_all() -> None:
    y, x, time = specks(3000, frame=(256, 256))
    hits = as_hits(lit_pixels(y, x, time, (256, 256), spread_px=0.1))
    wild = hits.time.copy()
    wild[500] += 10**12
    clusterer = Clusterer((256, 256), Clustering())
    clusterer.add(Hits(pixel=hits.pixel, chip=hits.chip, time=wild, tot=hits.tot))
    assert clusterer.late == 0
    jumped = hits.time.copy()
    jumped[500:600] += 10**12
    clusterer = Clusterer((256, 256), Clustering())
    clusterer.add(Hits(pixel=hits.pixel, chip=hits.chip, time=jumped, tot=hits.tot))
    clusterer.finish()
    assert clusterer.late == 1000 and clusterer.clustered == len(hits) - 1000


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exitwave.io.streams.clusters.MOST_HELD", 1000)
    clusterer = Clusterer((256, 256), Clustering())
    rng = np.random.default_rng(0)
    for _ in range(40):  # all within the hold: nothing would ever be settled
        clusterer.add(Hits(pixel=rng.integers(0, 65536, 300).astype(np.int32), chip=np.zeros(300, np.uint8), time=rng.integers(0, 600_000, 300),
                           tot=np.ones(300, np.uint16)))
        assert clusterer.held <= 1000
    clusterer.finish()
    assert clusterer.clustered + clusterer.late == 12_000


@pytest.mark.parametrize("span", [1, 5, 10**6, 2**61])
def test_hits_are_put_in_time_with_equal_ones_as_they_came(span: int) -> None:
    time = np.random.default_rng(1).integers(-span, span + 1, 777) * 2 - span
    assert np.array_equal(in_time(time), np.argsort(time, kind="stable"))
    assert not len(in_time(time[:0]))


def test_running_numbers_of_hits_begin_again() -> None:
    hits = as_hits(lit_pixels(*specks(400), FRAME))
    parts = [Hits(**{name: getattr(hits, name)[at : at + 97] for name in ("pixel", "chip", "time", "tot")}) for at in range(0, len(hits), 97)]
    found = []
    for begun in (0, 2**31 - 1500):
        clusterer = Clusterer(FRAME, Clustering(hold_us=1.0))
        clusterer._begun = begun
        for part in parts:
            clusterer.add(part)
        clusterer.finish()
        assert begun == 0 or clusterer._begun < begun
        found.append((clusterer.electrons, clusterer.clustered))
    assert found[0] == found[1] == (400, len(hits))


def test_time_walk_is_found_and_corrected() -> None:
    y, x, time = specks(20_000, gap=60_000, frame=(256, 256))
    lit = lit_pixels(y, x, time, (256, 256), charge=300.0, walk_ticks=1500.0)
    hits, peak = as_hits(lit), np.zeros(len(y))
    np.maximum.at(peak, lit.electron, lit.tot)
    table = time_walk_table(hits, (256, 256), window_ns=400.0)
    levels = np.array([15, 25, 40, 60])
    strongest = 1500 / np.median(peak)  # the strongest hit is late itself
    assert np.abs(table[levels] - (1500 / levels - strongest)).max() < 4
    assert (np.diff(table) <= 0).all()
    spreads = []
    for walk in (None, table):
        clusterer = Clusterer((256, 256), Clustering(window_ns=60.0, time_walk=walk))
        clusterer.add(hits)
        clusterer.finish()
        spreads.append(clusterer.electrons)
    assert spreads[0] > 1.2 * len(y)  # a window shorter than the walk tears electrons apart
    assert spreads[1] == pytest.approx(len(y), rel=0.01)


def test_without_hits_there_is_no_walk() -> None:
    none = Hits(pixel=np.zeros(0, np.int32), chip=np.zeros(0, np.uint8), time=np.zeros(0, np.int64), tot=np.zeros(0, np.uint16))
    assert not time_walk_table(none, one_chip().shape).any()


@pytest.mark.parametrize(("arguments", "says"), [({"window_ns": 0.0}, "window"), ({"hold_us": 0.1}, "window"), ({"reach": 4}, "reach"),
                                                 ({"time_walk": np.zeros(9, np.int64)}, "time walk")])
def test_clusterings_that_cannot_be_are_refused(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Clustering(**arguments)
