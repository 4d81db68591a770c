"""The synthetic Timepix3 writer against an encoder that shares nothing with it, and through the decoder back."""

import numpy as np
import pytest

from exitwave.io.streams import Placement, begin, decode, one_chip, quad
from exitwave.io.streams.tpx3 import merged
from exitwave.testing.timepix import Edges, LitPixels, chip_pixels, edge_words, global_words, hit_words, lit_pixels, tpx3_bytes
from tests.timepix import SECOND, global_time, hit, trigger

RNG = np.random.default_rng(9)


def test_words_are_those_of_the_other_encoder() -> None:
    y, x, tot = RNG.integers(0, 256, 300), RNG.integers(0, 256, 300), RNG.integers(0, 1024, 300)
    time = RNG.integers(0, 600 * SECOND, 300)
    assert hit_words(y, x, tot, time).tolist() == [hit(*map(int, row)) for row in zip(y, x, tot, time, strict=True)]
    edges = Edges(time=time, channel=RNG.integers(1, 3, 300), rising=RNG.integers(0, 2, 300) > 0)
    want = [trigger(int(c), bool(r), i, 6 * int(t)) for i, (c, r, t) in enumerate(zip(edges.channel, edges.rising, time, strict=True))]
    assert edge_words(edges).tolist() == want
    within = 2**48 - 1  # the bits that both say: the rest repeats the clock
    for got, told in zip(global_words(time).tolist(), map(global_time, time.tolist()), strict=True):
        assert [word >> 16 & within for word in got] == [word >> 16 & within for word in told]


@pytest.mark.parametrize("placement", [one_chip(), quad(), quad(gap=2)])
def test_what_was_written_is_decoded(placement: Placement) -> None:
    n, size = 5000, placement.shape[0] * placement.shape[1]
    lit = LitPixels(pixel=RNG.integers(0, size, n), time=SECOND + np.sort(RNG.integers(0, 200 * SECOND, n)), tot=RNG.integers(0, 1024, n),
                    electron=np.arange(n))
    edges = Edges(time=lit.time[::25] + 3, channel=np.ones(200, np.int64), rising=np.ones(200, bool))
    data = tpx3_bytes(lit, placement, edges=edges, disorder=9000, heartbeat=SECOND // 3)
    hits, triggers, state = decode(data, begin(), placement)
    there = chip_pixels(lit.pixel, placement)[0] >= 0
    assert (there.all() or placement.shape == (514, 514)) and there.mean() > 0.98
    got = sorted(zip(hits.time.tolist(), hits.pixel.tolist(), hits.tot.tolist(), strict=True))
    assert got == sorted(zip(lit.time[there].tolist(), lit.pixel[there].tolist(), lit.tot[there].tolist(), strict=True))
    assert np.array_equal(np.sort(merged(iter([triggers])).time), edges.time)
    assert state.counts.rejected == state.counts.cut_chunks == state.counts.unfinished == 0


def test_electrons_light_pixels_around_them() -> None:
    y, x = np.array([10.0, 0.0, 3.25]), np.array([4.0, 19.0, 7.75])
    lit = lit_pixels(y, x, np.array([100, 200, 300]), (20, 20), charge=500.0, spread_px=0.7, threshold=4.0, walk_ticks=100.0)
    for electron in range(3):
        mine = lit.electron == electron
        weight = lit.tot[mine]
        assert weight.sum() == pytest.approx(500 if electron != 1 else 500 * 0.76**2, rel=0.05)  # the corner keeps what falls inside
        if electron != 1:
            assert (lit.pixel[mine] // 20 * weight).sum() / weight.sum() == pytest.approx(y[electron], abs=0.05)
            assert (lit.pixel[mine] % 20 * weight).sum() / weight.sum() == pytest.approx(x[electron], abs=0.05)
        assert (np.diff(lit.time[mine][np.argsort(weight)]) <= 0).all()  # weak hits come late
        assert lit.time[mine].min() >= 100 * (electron + 1)
    assert lit.pixel.min() >= 0 and lit.pixel.max() < 400
